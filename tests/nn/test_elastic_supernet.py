from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hwnas.data import load_dataset
from hwnas.errors import UsageError
from hwnas.nn.build import build
from hwnas.nn.elastic_supernet import ElasticSupernet, places_of
from hwnas.nn.supernet import (
    PathSampler,
    Supernet,
    calibrate,
    sandwich_probabilities,
    supernet_of,
)
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.elastic import ElasticSpace, ElasticStage
from hwnas.space.mobile.space import MobileSpace
from hwnas.space.mobile.stages import BlockMenu, MobileStage
from hwnas.train import Recipe, evaluate, fit

ELASTIC = ElasticSpace(
    "small-elastic",
    num_classes=10,
    stem_width=8,
    stages=(ElasticStage(8, 2, "relu", 0.0), ElasticStage(16, 2, "hswish", 0.25)),
    hidden=32,
    features=24,
    resolutions=(16, 24),
    depths=(1, 2),
    expands=(2, 3),
)
MENU = BlockMenu(
    ("mbconv", "extradw", "convnext_scaled", "mqa"),
    (3, 5),
    (3, 5),
    ("2", "4"),
    ("none", "hidden"),
    ("relu", "hswish"),
)
FIRST = BlockMenu(
    ("mbconv", "fused_mbconv"), (3,), (3, 5), ("1", "3"), ("none", "input"), ("relu",)
)
MOBILE = MobileSpace(
    "small-mobile",
    24,
    10,
    (8, 16),
    (
        MobileStage((0, 1), (8,), 1, FIRST, FIRST),
        MobileStage((1, 2, 3), (16, 24), 2, FIRST, MENU, kv_stride=2),
    ),
)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", input_size=24)


def draw(space, count, seed=0):
    rng = stream(seed, "test archs")
    codes = np.stack([rng.integers(len(choice.options), size=count) for choice in space.choices], 1)
    return space.decode(space.repair(codes.astype(np.int16)))


@pytest.mark.parametrize("space", [ELASTIC, MOBILE], ids=["elastic", "mobile"])
def test_a_path_is_the_plain_network_of_its_architecture(space):
    supernet = ElasticSupernet(space, seed=1).double()  # sums in another order would show
    for arch in draw(space, 12):
        plain, path = supernet.extract(arch).double(), supernet.path_of(arch)
        assert str(plain) == str(build(space, arch))
        images = torch.rand(
            4,
            *space.layers(arch)[0].in_shape,
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(2),
        )
        assert torch.allclose(
            supernet.eval()(images, path), plain.eval()(images), rtol=1e-4, atol=1e-6
        )
        assert torch.allclose(
            supernet.train()(images, path), plain.train()(images), rtol=1e-4, atol=1e-6
        )
        assert supernet.macs(path) == sum(op.macs for op in space.layers(arch))


@pytest.mark.parametrize("space", [ELASTIC, MOBILE], ids=["elastic", "mobile"])
def test_a_step_moves_the_slices_of_its_path_only(space):
    supernet = ElasticSupernet(space, seed=1)
    arch = draw(space, 1)[0]
    path = supernet.path_of(arch)
    images = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    torch.nn.functional.cross_entropy(
        supernet.train()(images, path), torch.tensor([0, 1, 2, 3])
    ).backward()
    on_path = {
        id(whole)
        for number, op in supernet.ops_of(path)
        for whole in supernet.wholes(number, op).values()
    }
    for name, parameter in supernet.named_parameters():
        if not name.endswith("_matrix") and id(parameter) not in on_path:
            assert parameter.grad is None, name
    moved = sum(int((p.grad != 0).sum()) for p in supernet.parameters() if p.grad is not None)
    own = sum(p.numel() for p in supernet.extract(arch).parameters())
    matrices = sum(p.numel() for name, p in supernet.named_parameters() if name.endswith("_matrix"))
    assert 0 < moved <= own + 25 * matrices


def test_a_smaller_kernel_is_the_transformed_centre_of_the_larger_one():
    supernet = ElasticSupernet(ELASTIC, seed=0)
    arch = draw(ELASTIC, 1)[0]
    chosen = dict(arch.choices) | {"stage1.block1.kernel_size": 3}
    arch = ELASTIC.arch(chosen)
    number, op = supernet.ops_of(supernet.path_of(arch))[2]
    conv = supernet.branch(number, op, "body.1.0")
    seven = conv.weight[: op["hidden"]]
    found = supernet.slices(number, op)["body.1.0.weight"]
    assert torch.equal(found, seven[:, :, 2:5, 2:5])  # transforms begin as the identity
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in ("7to5_matrix", "5to3_matrix"):
            matrix = getattr(conv, name)
            matrix.copy_(torch.randn(matrix.shape, generator=generator))
    five = seven[:, 0, 1:6, 1:6].reshape(-1, 25) @ getattr(conv, "7to5_matrix").T
    three = five.reshape(-1, 5, 5)[:, 1:4, 1:4].reshape(-1, 9) @ getattr(conv, "5to3_matrix").T
    found = supernet.slices(number, op)["body.1.0.weight"]
    assert torch.allclose(found.reshape(-1, 9), three, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampling", ["uniform", "fair", "sandwich"])
@pytest.mark.parametrize("space", [ELASTIC, MOBILE], ids=["elastic", "mobile"])
def test_sampled_paths_are_codes_of_the_space(space, sampling):
    sampler = PathSampler(ElasticSupernet(space), 4, sampling=sampling)
    paths = np.array([path for step in range(20) for path in sampler.paths(step)], dtype=np.int16)
    assert np.array_equal(space.repair(paths), paths)
    assert (paths == -1).any()
    assert len(np.unique(paths, axis=0)) > 10
    assert np.array_equal(
        paths[0], PathSampler(ElasticSupernet(space), 4, sampling=sampling).paths(0)[0]
    )


def test_the_sandwich_prefers_the_smallest_and_the_largest_options():
    chances = sandwich_probabilities(ElasticSupernet(load_space("ofa-mbv3:width_mult=0.1")))
    assert np.allclose(chances[1], [0.4, 0.2, 0.4])  # a stage's depth
    assert chances[0][0] == chances[0][-1] == 2 * chances[0][3]  # the resolution


def test_a_trained_supernet_scores_sub_networks_after_calibration(digits):
    """Chance is 10 % and ln 10."""
    recipe = Recipe(epochs=5, batch_size=32, lr=0.3, warmup_epochs=0, augment=False)
    supernet = ElasticSupernet(ELASTIC, seed=2)
    result = fit(supernet, digits, ("train",), recipe, seed=2, companion=PathSampler(supernet, 2))
    assert result.final_loss < 0.9 * math.log(10)
    large = ELASTIC.arch({choice.name: choice.options[-1] for choice in ELASTIC.choices})
    network = supernet.extract(large)
    calibrate(network, digits, num_images=500)
    assert evaluate(network, digits, "val").top1 > 0.3


def test_a_training_that_was_stopped_ends_as_an_unbroken_one(digits, tmp_path):
    recipe = Recipe(epochs=2, batch_size=256, warmup_epochs=0)

    def trained(**options):
        supernet = ElasticSupernet(ELASTIC, seed=2)
        fit(
            supernet,
            digits,
            ("train",),
            recipe,
            seed=2,
            companion=PathSampler(supernet, 2),
            **options,
        )
        return supernet

    def stop(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=tmp_path / "state", on_epoch=stop)
    found, expected = trained(checkpoint=tmp_path / "state"), trained()
    assert all(
        torch.equal(value, found.state_dict()[name])
        for name, value in expected.state_dict().items()
    )


def test_spaces_of_single_choices_keep_candidates_of_their_own():
    assert isinstance(supernet_of(load_space("tiny")), Supernet)
    assert isinstance(supernet_of(ELASTIC), ElasticSupernet)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nasbench201", "networks that are no chains"),
        ("darts", "networks that are no chains"),
        ("fbnet:input_size=32", "no slices of mbconv in groups"),
    ],
)
def test_spaces_that_cannot_be_sliced_are_refused(name, message):
    with pytest.raises(UsageError, match=message):
        places_of(load_space(name))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    ElasticSupernet(ELASTIC)
    assert torch.equal(torch.rand(2), expected)
