from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hwnas.data import Dataset, load_dataset
from hwnas.errors import UsageError
from hwnas.nn.build import build_layers
from hwnas.nn.supernet import (
    PathSampler,
    Supernet,
    calibrate,
    fair_paths,
    num_options,
    sandwich_probabilities,
    slots_of,
    uniform_path,
)
from hwnas.protocols import Factor
from hwnas.space.catalogue import load_space
from hwnas.train import Recipe, evaluate, fit

TINY = load_space("tiny:input_size=16,stem_channels=4")
PROXYLESS = load_space("proxyless:input_size=32,num_classes=10,width_mult=0.25")
RECIPE = Recipe(epochs=1, batch_size=128, warmup_epochs=0)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", input_size=16)


def _arch(space, code):
    return space.decode(np.array([code], dtype=np.int16))[0]


def _snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("space", [TINY, PROXYLESS], ids=["tiny", "proxyless"])
def test_a_path_computes_what_the_plain_network_with_its_weights_does(space) -> None:
    supernet = Supernet(space, seed=3)
    images = torch.randn(4, *space.input_shape, generator=torch.Generator().manual_seed(0))
    for number in range(4):
        path = uniform_path(space, 7, number)
        plain = build_layers(space.layers(_arch(space, path))).train()
        plain.load_state_dict(supernet.network(path).state_dict())
        supernet.train()
        assert supernet.path_of(_arch(space, path)) == path
        torch.testing.assert_close(supernet(images, path), plain(images))
        torch.testing.assert_close(supernet.network(path)(images), supernet(images, path))
        assert supernet.macs(path) == sum(op.macs for op in space.layers(_arch(space, path)))


def test_a_step_touches_the_weights_of_its_path_and_no_others(digits) -> None:
    """Neither gradients nor momentum nor decay move what was not run, also not later."""
    supernet, moved = Supernet(TINY), []

    class Two(PathSampler):
        def networks(self, step: int) -> list[nn.Module]:
            moved.append(_snapshot(supernet))
            return [supernet.network(((1, 1, 1, 1, 1), (2, 2, 2, 2, 2))[step % 2])]

    fit(
        supernet,
        digits,
        ("train",),
        replace(RECIPE, weight_decay=0.1),
        seed=0,
        companion=Two(supernet, 0),
    )
    moved.append(_snapshot(supernet))
    assert len(moved) > 6
    for step, (before, after) in enumerate(itertools.pairwise(moved)):
        active = {
            id(p)
            for p in supernet.network(((1, 1, 1, 1, 1), (2, 2, 2, 2, 2))[step % 2]).parameters()
        }
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        run = {name for name, p in supernet.named_parameters() if id(p) in active}
        assert changed <= run
        assert len(changed) > 0.8 * len(run), step  # a gradient may be too small for a change


def test_candidates_begin_alike_where_their_weights_overlap() -> None:
    supernet = Supernet(TINY, seed=1)
    # layer1: identity, mb3_k3, mb3_k5, mb6_k3
    _, narrow, wide_kernel, wide = supernet.candidates[1]
    depthwise = [
        [m for m in block.modules() if isinstance(m, nn.Conv2d)][1].weight
        for block in (narrow, wide_kernel, wide)
    ]
    scale = [w.shape[-1] ** 2 for w in depthwise]
    torch.testing.assert_close(
        depthwise[0] * math.sqrt(scale[0]), depthwise[1][:, :, 1:4, 1:4] * math.sqrt(scale[1])
    )
    torch.testing.assert_close(depthwise[0], depthwise[2][: len(depthwise[0])])
    assert not torch.equal(depthwise[0], Supernet(TINY, seed=2).candidates[1][1].body[1][0].weight)
    for weight, fan_out in zip(depthwise, scale, strict=True):
        assert weight.std().item() == pytest.approx(math.sqrt(2.0 / fan_out), rel=0.25)


def test_making_a_supernet_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Supernet(TINY)
    assert torch.equal(torch.rand(3), expected)


def test_calibration_gives_the_statistics_of_the_training_images(digits) -> None:
    supernet = Supernet(TINY, seed=2)
    network = supernet.extract(_arch(TINY, (1, 0, 2, 3, 1)))
    calibrate(network, digits, num_images=250)
    first = network[0][1]
    assert isinstance(first, nn.BatchNorm2d)
    images = next(digits.head("train", 250, 250))
    before = functional.conv2d(images, network[0][0].weight, stride=1, padding=1)
    torch.testing.assert_close(first.running_mean, before.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var, before.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert first.momentum == 0.1  # as it was


def test_a_count_that_leaves_one_image_over_is_split_evenly(digits) -> None:
    sizes = [len(images) for images in digits.head("train", 251, 250)]
    assert sizes == [126, 125]
    small = load_space("proxyless:input_size=32,num_classes=10,width_mult=0.25")
    network = Supernet(small).extract(_arch(small, (0,) * 21))
    calibrate(network, load_dataset("digits", input_size=32), num_images=251)  # 1x1 at the end
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_calibration_sees_training_images_only(digits) -> None:
    asked = []

    class Watched(Dataset):
        def _rows(self, splits):
            asked.append(tuple(splits))
            return super()._rows(splits)

    watched = Watched(**{name: getattr(digits, name) for name in digits.__dataclass_fields__})
    calibrate(Supernet(TINY).extract(_arch(TINY, (1, 1, 1, 1, 1))), watched, num_images=100)
    assert asked == [("train",)]


def test_scores_without_calibration_are_worth_nothing(digits) -> None:
    """The mistake that calibration is there for shows: a trained path scores by chance without."""
    supernet = Supernet(TINY, seed=0)
    path = (1, 1, 1, 1, 1)

    class One(PathSampler):
        def networks(self, step: int) -> list[nn.Module]:
            return [supernet.network(path)]

    fit(
        supernet,
        digits,
        ("train",),
        replace(RECIPE, epochs=5, batch_size=32, lr=0.2),
        seed=0,
        companion=One(supernet, 0),
    )
    network = supernet.extract(_arch(TINY, path))
    stale = evaluate(network, digits, "val").loss
    calibrate(network, digits, num_images=500)
    assert evaluate(network, digits, "val").loss < 0.6 * stale


def test_extracting_copies_so_that_scoring_leaves_the_supernet_alone(digits) -> None:
    supernet = Supernet(TINY)
    before = _snapshot(supernet)
    network = supernet.extract(_arch(TINY, (1, 2, 3, 1, 2)))
    calibrate(network, digits, num_images=100)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(before[n], v) for n, v in supernet.state_dict().items())


def test_uniform_paths_take_every_option_equally_often() -> None:
    drawn = np.array([uniform_path(PROXYLESS, 0, step) for step in range(3000)])
    for choice, size in enumerate(num_options(PROXYLESS)):
        counts = np.bincount(drawn[:, choice], minlength=size)
        expected = len(drawn) / size
        assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


@pytest.mark.parametrize("space", [TINY, PROXYLESS], ids=["tiny", "proxyless"])
def test_nested_candidates_are_parts_of_one_weight_and_extracted_networks_equal_them(space) -> None:
    nested, own = Supernet(space, seed=3, sharing="nested"), Supernet(space, seed=3)
    assert sum(p.numel() for p in nested.parameters()) < sum(p.numel() for p in own.parameters())
    # an extracted weight is rounded to float32; batch norms of 16 images do not amplify that
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for step in range(4):
        path = uniform_path(space, 5, step)
        arch = space.decode(np.array([path], dtype=np.int16))[0]
        plain = nested.extract(arch)
        assert [name for name, _ in plain.named_parameters()] == [
            name for name, _ in own.extract(arch).named_parameters()
        ]
        for mine, other in zip(plain.parameters(), own.extract(arch).parameters(), strict=True):
            torch.testing.assert_close(mine, other)  # the same initial values
        shared = copy.deepcopy(nested).double()  # in double: 20 layers amplify float32's rounding
        with torch.no_grad():
            torch.testing.assert_close(
                shared.network(path).train()(images.double()),
                shared.extract(arch).double().train()(images.double()),
                rtol=1e-4,
                atol=1e-5,
            )


def test_a_step_on_one_nested_candidate_moves_the_others_where_they_overlap() -> None:
    supernet = Supernet(TINY, seed=0, sharing="nested")
    option = {name: index for index, name in enumerate(TINY.choices[1].options)}
    wide, narrow = ((option[name],) * 5 for name in ("mb6_k3", "mb3_k5"))

    def weights(path):
        arch = TINY.decode(np.array([path], dtype=np.int16))[0]
        return [p.clone() for p in supernet.extract(arch)[2].parameters() if p.dim() == 4]

    before = weights(narrow)
    loss = supernet.network(wide)(torch.randn(4, 3, 32, 32)).square().sum()
    loss.backward()
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad.sign()
    expand, depthwise, project = (
        (old != new) for old, new in zip(before, weights(narrow), strict=True)
    )
    assert expand.all()  # the narrow block's channels are the first of the wide one's
    assert project.all()
    assert depthwise[:, :, 1:4, 1:4].all()  # the 3x3 kernel is the centre of the 5x5 one
    assert not depthwise[:, :, 0].any()
    assert not depthwise[:, :, :, 4].any()


def test_sandwich_paths_take_the_ends_twice_as_often_as_what_lies_between() -> None:
    supernet = Supernet(TINY, seed=0)
    # tiny: identity has least work (none, or a strided 1x1), mb6_k3 most; mb3_k3, mb3_k5 between
    for found in sandwich_probabilities(supernet):
        np.testing.assert_allclose(found, [2 / 6, 1 / 6, 1 / 6, 2 / 6])
    sampler = PathSampler(supernet, 0, sampling="sandwich")
    drawn = np.array([sampler.paths(step)[0] for step in range(3000)])
    for column in drawn.T:
        counts = np.bincount(column, minlength=4)
        expected = len(drawn) * np.array([2, 1, 1, 2]) / 6
        assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    assert sampler.paths(7) == PathSampler(supernet, 0, sampling="sandwich").paths(7)


@pytest.mark.parametrize("space", [TINY, PROXYLESS], ids=["equal", "unequal"])
def test_fair_steps_use_every_option_equally_often(space) -> None:
    sizes = num_options(space)
    cycle = math.lcm(*sizes) // max(sizes) * max(sizes)
    paths = [path for step in range(cycle // max(sizes)) for path in fair_paths(space, 0, step)]
    for choice, size in enumerate(sizes):
        counts = Counter(path[choice] for path in paths)
        assert len(counts) == size
        assert len(set(counts.values())) == 1
    if space is TINY:
        for step in range(5):  # strictly: within every single step
            for column in zip(*fair_paths(space, 0, step), strict=True):
                assert sorted(column) == [0, 1, 2, 3]


def test_a_space_whose_parts_several_choices_decide_is_refused() -> None:
    ops = np.empty((4, 4), dtype=object)

    class Entangled:
        name = "entangled"
        choices, repair, decode, wiring = TINY.choices, TINY.repair, TINY.decode, TINY.wiring

        def factors(self):
            return (*TINY.factors(), Factor((0, 1), ops))

    with pytest.raises(UsageError, match=r"several choices.*tiny, macro-cifar, proxyless, fbnet"):
        slots_of(Entangled())
