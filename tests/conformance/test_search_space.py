"""What every search space promises (hwnas.protocols.SearchSpace), for all there are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.arch import Arch
from hwnas.errors import InputError
from hwnas.nn.build import build
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, Factor, SearchSpace
from hwnas.rng import stream
from hwnas.space.catalogue import SPACES, load_space

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_space.yaml"
NAMES = (*SPACES, str(EXAMPLE))


@pytest.fixture(scope="module", params=NAMES, ids=lambda name: Path(name).stem)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return load_space(request.param)


@pytest.fixture(scope="module")
def archs(space: SearchSpace) -> list[Arch]:
    """100 random architectures: random options, repaired."""
    return space.decode(space.repair(_random_codes(space, 100)))


def _random_codes(space: SearchSpace, count: int) -> Codes:
    sizes = [len(choice.options) for choice in space.choices]
    return stream(0, "conformance").integers(sizes, size=(count, len(sizes))).astype(np.int16)


def test_choices_have_distinct_names_and_options(space):
    names = [choice.name for choice in space.choices]
    assert len(set(names)) == len(names) > 0
    assert all(len(set(choice.options)) == len(choice.options) for choice in space.choices)
    assert all(isinstance(o, (str, int)) for choice in space.choices for o in choice.options)
    assert space.choices == space.choices  # the columns of codes: the same order at every call


def test_an_arch_carries_the_spaces_name_and_one_option_per_choice(space, archs):
    for arch in archs:
        assert arch.space == space.name
        assert set(arch.choices) <= {choice.name for choice in space.choices}
        assert space.arch(arch.choices) == arch
        assert space.arch(dict(reversed(arch.choices.items()))).arch_id == arch.arch_id


def test_arch_tells_every_impossible_choice_at_once(space, archs):
    good = archs[0].choices
    first, last = space.choices[0].name, [c.name for c in space.choices if c.name in good][-1]
    bad = {**good, first: "no-such-option", "no-such-choice": 1}
    del bad[last]
    with pytest.raises(InputError) as caught:
        space.arch(bad)
    text = str(caught.value)
    assert f"{first!r} is 'no-such-option'; allowed: " in text
    assert "unknown choice 'no-such-choice'" in text
    assert f"{last!r} is missing; allowed: " in text
    assert len(caught.value.problems) == 3


def test_encode_gives_option_indices_and_decode_gives_the_archs_back(space, archs):
    codes = space.encode(archs)
    assert codes.shape == (len(archs), len(space.choices))
    assert codes.dtype == np.int16
    for arch, row in zip(archs, codes.tolist(), strict=True):
        for choice, index in zip(space.choices, row, strict=True):
            if index == -1:
                assert choice.name not in arch.choices
            else:
                assert choice.options[index] == arch.choices[choice.name]
    assert space.decode(codes) == archs


def test_no_archs_are_codes_of_no_rows(space):
    codes = space.encode([])
    assert codes.shape == (0, len(space.choices))
    assert space.decode(codes) == []


def test_encode_refuses_an_option_of_another_space(space, archs):
    foreign = Arch.make(space.name, {**archs[0].choices, space.choices[0].name: "no-such-option"})
    with pytest.raises(ValueError, match=r"no-such-option"):
        space.encode([archs[0], foreign])


def test_layers_start_at_the_image_end_at_the_classes_and_never_change(space, archs):
    for arch in archs:
        layers = space.layers(arch)
        assert isinstance(layers, tuple)
        assert all(isinstance(op, OpSpec) for op in layers)
        channels, *size = layers[0].in_shape
        assert channels == space.input_shape[0]
        assert all(side <= most for side, most in zip(size, space.input_shape[1:], strict=True))
        assert layers[-1].out_shape == (space.num_classes, 1, 1)
        assert space.layers(arch) == layers
        assert all(
            OpSpec.make(op.kind, op.in_shape, op.out_channels, **dict(op.attrs)) == op
            for op in layers
        )


def _excludes_options(space: SearchSpace, factor: Factor) -> bool:
    """Whether options of choices that all exist cannot be chosen together."""
    sizes = tuple(len(space.choices[choice].options) for choice in factor.choices)
    if factor.possible is None or factor.ops.shape != sizes:  # a longer axis: it may be absent
        return False
    return not factor.possible.all()


def test_repair_makes_codes_of_architectures_and_leaves_those_as_they_are(space):
    rng = stream(1, "conformance")
    sizes = [len(choice.options) for choice in space.choices]
    wild = rng.integers(-1, sizes, size=(200, len(sizes))).astype(np.int16)
    mended = space.repair(wild)
    assert mended.dtype == np.int16
    for arch in space.decode(mended):
        assert space.arch(arch.choices) == arch  # the space's own check
    np.testing.assert_array_equal(space.repair(mended), mended)
    if any(_excludes_options(space, factor) for factor in space.factors()):
        return  # options that exclude each other have to change
    kept = (wild >= 0) & (mended >= 0)
    np.testing.assert_array_equal(mended[kept], wild[kept])


def test_network_keys_are_equal_just_where_network_ids_are(space):
    codes = space.repair(_random_codes(space, 60))
    # neighbours in two choices: pairs that are likely to build one network
    near = np.repeat(codes[:20], 5, axis=0)
    rng = stream(2, "conformance")
    for row in near:
        for column in rng.integers(len(row), size=2):
            row[column] = rng.integers(len(space.choices[column].options))
    codes = np.concatenate([codes, space.repair(near)])
    keys = [tuple(row) for row in space.network_keys(codes).tolist()]
    ids = [space.network_id(arch) for arch in space.decode(codes)]
    assert len(set(keys)) == len(set(ids)) == len(set(zip(keys, ids, strict=True)))


def test_impossible_combinations_are_those_no_code_has(space, archs):
    rows = space.encode(archs)
    for factor in space.factors():
        if factor.possible is not None:
            assert factor.possible.shape == factor.ops.shape
            assert all(factor.possible[tuple(row[c] for c in factor.choices)] for row in rows)


def test_factors_together_are_the_layers_of_every_arch(space, archs):
    factors = space.factors()
    for arch, row in zip(archs, space.encode(archs), strict=True):
        # -1, absent, is the last entry of an axis
        picked = [factor.ops[tuple(row[c] for c in factor.choices)] for factor in factors]
        assert Counter(op for op in picked if op is not None) == Counter(space.layers(arch))


def test_factors_name_increasing_choices_and_have_an_axis_for_each(space):
    for factor in space.factors():
        assert list(factor.choices) == sorted(set(factor.choices))
        assert factor.ops.ndim == len(factor.choices)
        for choice, length in zip(factor.choices, factor.ops.shape, strict=True):
            assert length - len(space.choices[choice].options) in (0, 1)
        assert all(op is None or isinstance(op, OpSpec) for op in factor.ops.ravel())


def test_every_choice_matters_to_some_factor(space):
    decided = {choice for factor in space.factors() for choice in factor.choices}
    assert decided == set(range(len(space.choices)))


def test_network_ids_are_ids_and_equal_ones_mean_equal_operations(space, archs):
    by_id: dict[str, Counter[OpSpec]] = {}
    for arch in archs:
        identity = space.network_id(arch)
        assert len(identity) == 16
        assert int(identity, 16) >= 0
        assert identity == space.network_id(space.arch(arch.choices))
        assert by_id.setdefault(identity, Counter(space.layers(arch))) == Counter(
            space.layers(arch)
        )
    assert len(by_id) > 1


@torch.no_grad()
def test_the_network_of_an_arch_maps_images_to_logits(space, archs):
    network = build(space, archs[0]).eval()
    logits = network(torch.zeros(2, *space.input_shape))
    assert logits.shape == (2, space.num_classes)
    assert sum(op.params for op in space.layers(archs[0])) == sum(
        p.numel() for p in network.parameters()
    )
