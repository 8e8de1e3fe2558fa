"""The Once-for-All space against its published supernet's sub-networks, and by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.ops import make_divisible
from hwnas.rng import stream
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.space.catalogue import load_space
from hwnas.space.codes import to_codes


@pytest.fixture(scope="module")
def space():
    return load_space("ofa-mbv3")


def _random_codes(space, count):
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(3, "elastic test").integers(sizes, size=(count, len(sizes)))
    return space.repair(codes.astype(np.int16))


def _choices(space, resolution, depths, kernels, expands):
    """Name a sub-network given as Once-for-All does: 20 slots, those beyond a depth unused."""
    choices = {"resolution": resolution}
    for stage, depth in enumerate(depths):
        choices[f"stage{stage + 1}.depth"] = int(depth)
        for block in range(int(depth)):
            slot = f"stage{stage + 1}.block{block + 1}"
            choices[f"{slot}.kernel_size"] = int(kernels[4 * stage + block])
            choices[f"{slot}.expand_ratio"] = int(expands[4 * stage + block])
    return choices


def test_parameters_are_those_of_the_published_supernets_sub_networks(space, shared_data):
    golden = np.load(shared_data("ofa-supernet/golden.npz"))
    for index, params in enumerate(golden["params"].tolist()):
        choices = _choices(space, 128, golden["d"][index], golden["ks"][index], golden["e"][index])
        assert sum(op.params for op in space.layers(space.arch(choices))) == params


def test_the_published_checkpoint_has_the_widths_of_the_largest_network(space, shared_data):
    import json

    shapes = json.loads(shared_data("ofa-supernet/state_dict_shapes.json").read_text())
    choices = _choices(space, 224, [4] * 5, [7] * 20, [6] * 20)
    stem, first, *blocks, head = space.layers(space.arch(choices))
    assert shapes["first_conv.conv.weight"] == [stem.out_channels, 3, 3, 3]
    assert not first["expand"]
    assert "blocks.0.conv.inverted_bottleneck.conv.weight" not in shapes
    for number, op in enumerate(blocks, start=1):
        prefix = f"blocks.{number}.conv."
        assert shapes[prefix + "depth_conv.conv.conv.weight"] == [op["hidden"], 1, 7, 7]
        assert shapes[prefix + "point_linear.conv.conv.weight"][:2] == [
            op.out_channels,
            op["hidden"],
        ]
        squeeze = shapes.get(prefix + "depth_conv.se.fc.reduce.weight", [0])
        assert squeeze[0] == op["se_width"]
    assert shapes["final_expand_layer.conv.weight"][:2] == [head["hidden"], head.in_shape[0]]
    assert shapes["feature_mix_layer.conv.weight"][:2] == [head["features"], head["hidden"]]
    assert "feature_mix_layer.conv.bias" not in shapes
    assert not head["features_bias"]


def test_shapes_and_activations_of_a_network_by_hand(space):
    choices = _choices(space, 160, [2, 3, 2, 4, 2], [3, 5, 7, 3] * 5, [3, 4, 6, 3] * 5)
    stem, first, *blocks, head = space.layers(space.arch(choices))
    assert (stem.in_shape, stem["act"], stem["stride"]) == ((3, 160, 160), "hswish", 2)
    assert (first.in_shape, first["act"], first["residual"]) == ((16, 80, 80), "relu", True)
    assert [op.out_shape[:2] for op in blocks] == [
        (24, 40),
        (24, 40),
        (40, 20),
        (40, 20),
        (40, 20),
        (80, 10),
        (80, 10),
        (112, 10),
        (112, 10),
        (112, 10),
        (112, 10),
        (160, 5),
        (160, 5),
    ]
    assert [op["act"] for op in blocks] == ["relu"] * 5 + ["hswish"] * 8
    assert [op["kernel"] for op in blocks] == [3, 5, 3, 5, 7, 3, 5, 3, 5, 7, 3, 3, 5]
    assert [op["se_width"] > 0 for op in blocks] == [False] * 2 + [True] * 3 + [False] * 2 + [
        True
    ] * 6
    assert blocks[3]["hidden"] == 160
    assert blocks[3]["se_width"] == make_divisible(40.0)
    assert [op["residual"] for op in blocks] == [
        False,
        True,
        False,
        True,
        True,
        False,
        True,
        False,
        True,
        True,
        True,
        False,
        True,
    ]
    assert (head.in_shape, head["hidden"], head["features"]) == ((160, 5, 5), 960, 1280)


def test_widths_of_the_wide_supernet_are_those_of_its_latency_tables():
    wide = load_space("ofa-mbv3:width_mult=1.2")
    codes = wide.repair(np.zeros((1, len(wide.choices)), dtype=np.int16))
    ops = wide.layers(wide.decode(codes)[0])
    assert [op.out_channels for op in ops[:-1]] == [
        24,
        24,
        32,
        32,
        48,
        48,
        96,
        96,
        136,
        136,
        192,
        192,
    ]
    assert (ops[-1]["hidden"], ops[-1]["features"]) == (1152, 1536)


def test_there_are_as_many_networks_as_the_paper_counts(space):
    # §4.1: ((3 x 3)^2 + (3 x 3)^3 + (3 x 3)^4)^5, about 2 x 10^19, for each resolution
    limited = LimitedSpace(space, (Limit("macs", 1e12),), {})
    assert limited.num_codes == 7 * (9**2 + 9**3 + 9**4) ** 5


def test_what_lies_beyond_a_depth_is_absent_and_a_wrong_depth_is_one_problem(space):
    choices = _choices(space, 128, [2, 3, 4, 2, 2], [3] * 20, [3] * 20)
    arch = space.arch(choices)
    names = [choice.name for choice in space.choices]
    row = dict(zip(names, space.encode([arch])[0].tolist(), strict=True))
    assert [row[f"stage2.block{b}.kernel_size"] for b in (1, 2, 3, 4)] == [0, 0, 0, -1]
    with pytest.raises(InputError, match=r"stage1.block3.kernel_size.*does not exist"):
        space.arch({**choices, "stage1.block3.kernel_size": 3})
    with pytest.raises(InputError) as caught:
        space.arch({**choices, "stage3.depth": 5})
    assert len(caught.value.problems) == 1
    assert "'stage3.depth' is 5; allowed: 2, 3, 4" in str(caught.value)
    with pytest.raises(InputError, match=r"stage2.block4.expand_ratio' is missing"):
        space.arch({**choices, "stage2.depth": 4})
    with pytest.raises(InputError, match=r"'resolution' is '128'"):
        space.arch({**choices, "resolution": "128"})


def test_repair_follows_the_depths(space):
    codes = np.zeros((3, len(space.choices)), dtype=np.int16)
    names = [choice.name for choice in space.choices]
    depth = names.index("stage4.depth")
    codes[:, depth] = [0, 1, 2]
    codes[2, :depth] = -1
    mended = space.repair(codes)
    for row, blocks in zip(mended, (2, 3, 4), strict=True):
        there = [row[names.index(f"stage4.block{b}.expand_ratio")] for b in (1, 2, 3, 4)]
        assert there == [0] * blocks + [-1] * (4 - blocks)
    assert mended[2, 0] == 0


def test_exact_answers_are_those_of_a_sum_over_layers_and_come_fast(space):
    limited = LimitedSpace(space, (Limit("macs", 250e6), Limit("params", 5e6)), {})
    started = time.perf_counter()
    limited.check()
    low, high = limited.extremes()
    drawn = [
        arch
        for arch, _ in zip(limited.draws(240e6, 250e6, stream(0, "draws")), range(50), strict=False)
    ]
    assert time.perf_counter() - started < 5.0
    for arch in drawn:
        layers = space.layers(arch)
        assert 240e6 <= sum(op.macs for op in layers) <= 250e6
        assert sum(op.params for op in layers) <= 5e6
    assert len({arch.choices["resolution"] for arch in drawn}) > 1
    smallest = space.arch(_choices(space, 128, [2] * 5, [3] * 20, [3] * 20))
    largest = space.arch(_choices(space, 224, [4] * 5, [7] * 20, [6] * 20))
    assert low == sum(op.macs for op in space.layers(smallest))
    assert high == sum(op.macs for op in space.layers(largest))


def test_the_most_params_under_a_limit_on_macs_is_no_less_than_any_random_networks(space):
    from hwnas.search.problem.limits import counted_terms

    limited = LimitedSpace(space, (Limit("macs", 300e6),), {}, counted_terms(space, "params"))
    [(best, params)] = limited.best(1)
    assert params == sum(op.params for op in space.layers(best))
    codes = _random_codes(space, 2000)
    totals = [
        (sum(op.macs for op in ops), sum(op.params for op in ops))
        for ops in map(space.layers, space.decode(codes))
    ]
    within = [p for m, p in totals if m <= 300e6]
    assert len(within) > 20
    assert params >= max(within)


def test_a_uniform_sample_has_codes_of_architectures_only(space):
    limited = LimitedSpace(space, (Limit("macs", 1e12),), {})
    symbols = limited.window(0, 1e12).sample(500, stream(1, "sample"))
    codes = to_codes(symbols, space)
    np.testing.assert_array_equal(space.repair(codes), codes)
    # nearly all codes are those of deep stages, where most combinations are
    depths = codes[:, [c.name.endswith("depth") for c in space.choices]]
    assert (depths == 2).mean() > 0.8
