"""MobileNetV2 and V3-Small against torchvision: parameters, MACs, and the same logits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from hwnas.errors import InputError
from hwnas.network import build_layers
from hwnas.space.known import KNOWN, mobilenet_v2, mobilenet_v3_small

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.4)


@pytest.fixture(scope="module")
def published() -> Callable[[str, float], nn.Module]:
    """torchvision's model of a name and width; making one costs more than testing it."""
    made: dict[tuple[str, float], nn.Module] = {}

    def get(name: str, width: float) -> nn.Module:
        if (name, width) not in made:
            made[name, width] = getattr(torchvision.models, name)(width_mult=width).eval()
        return made[name, width]

    return get


def randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Give every tensor, BN statistics included, random values that keep activations alive."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0.0, 0.1, generator=generator)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0.0, fan_in**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0.0, 0.1, generator=generator)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KNOWN)
def test_params_and_macs_are_torchvisions(name, width, published, count_macs):
    oracle = published(name, width)
    layers = KNOWN[name](width_mult=width)
    assert sum(op.params for op in layers) == sum(p.numel() for p in oracle.parameters())
    assert sum(op.macs for op in layers) == count_macs(oracle, (3, 224, 224))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KNOWN)
@torch.no_grad()
def test_logits_are_torchvisions_after_copying_its_tensors_in_order(name, width, published):
    generator = torch.Generator().manual_seed(7)
    oracle = published(name, width)
    randomise(oracle, generator)
    network = build_layers(KNOWN[name](width_mult=width, input_size=96)).eval()
    theirs, ours = list(oracle.state_dict().values()), list(network.state_dict().values())
    assert [t.shape for t in ours] == [t.shape for t in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        mine.copy_(other)
    epsilons = {m.eps for m in oracle.modules() if isinstance(m, nn.BatchNorm2d)}
    (epsilon,) = epsilons
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon
    images = torch.randn(2, 3, 96, 96, generator=generator)
    expected, got = oracle(images), network(images)
    assert expected.std() > 0.05  # the comparison is of signals, not of zeros
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_sizes_and_classes_are_those_asked_for():
    for make in KNOWN.values():
        layers = make(input_size=65, num_classes=7)
        assert layers[0].in_shape == (3, 65, 65)
        assert layers[-1].out_shape == (7, 1, 1)
        assert layers[-1].in_shape[1:] == (3, 3)


def test_published_sizes_at_width_one():
    # parameters as in torchvision's documentation of its weights
    assert sum(op.params for op in mobilenet_v2()) == 3_504_872
    assert sum(op.params for op in mobilenet_v3_small()) == 2_542_856
    assert (len(mobilenet_v2()), len(mobilenet_v3_small())) == (19, 13)


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_not_positive_is_refused(width):
    for make in KNOWN.values():
        with pytest.raises(InputError, match="width_mult must be greater than 0"):
            make(width_mult=width)
