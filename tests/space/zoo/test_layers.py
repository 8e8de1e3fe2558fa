"""Human-designed networks against torchvision's and timm's: parameters and MACs."""

from __future__ import annotations

import pytest

from hwnas.errors import InputError
from hwnas.space.zoo.layers import KNOWN

OFFERED = {
    "mobilenet_v2": (0.35, 1.0, 1.4),
    "mobilenet_v3_small": (0.5, 1.0, 1.4),
    "mobilenet_v3_large": (0.75, 1.0),
    "mnasnet1_0": (0.5, 1.0),
    "efficientnet_b0": (1.0, 1.1),
    "mobilenetv4_conv_small": (0.35, 0.5, 1.0),
    "mobilenetv4_hybrid_medium": (0.75, 1.0),
}
"""Widths of each network that its library can build, too."""
WIDTHS = [(name, width) for name, widths in OFFERED.items() for width in widths]


def test_all_known_networks_have_an_oracle():
    assert set(OFFERED) == set(KNOWN)


@pytest.mark.parametrize(("name", "width"), WIDTHS)
def test_params_and_macs_are_the_published_models(name, width, published, count_macs):
    oracle = published(name, width)
    layers = KNOWN[name](width_mult=width, input_size=256 if "hybrid" in name else 224)
    assert sum(op.params for op in layers) == sum(p.numel() for p in oracle.parameters())
    assert sum(op.macs for op in layers) == count_macs(oracle, layers[0].in_shape)


def test_sizes_and_classes_are_those_asked_for():
    for make in KNOWN.values():
        layers = make(input_size=65, num_classes=7)
        assert layers[0].in_shape == (3, 65, 65)
        assert layers[-1].out_shape == (7, 1, 1)
        assert layers[-1].in_shape[1:] == (3, 3)


def test_published_sizes_at_width_one():
    # parameters as in torchvision's and timm's documentation of their weights
    params = {name: sum(op.params for op in make()) for name, make in KNOWN.items()}
    assert params == {
        "mobilenet_v2": 3_504_872,
        "mobilenet_v3_small": 2_542_856,
        "mobilenet_v3_large": 5_483_032,
        "mnasnet1_0": 4_383_312,
        "efficientnet_b0": 5_288_548,
        "mobilenetv4_conv_small": 3_774_024,
        "mobilenetv4_hybrid_medium": 11_074_648,
    }
    assert [len(make()) for make in KNOWN.values()] == [19, 13, 17, 19, 18, 16, 33]


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_not_positive_is_refused(width):
    for make in KNOWN.values():
        with pytest.raises(InputError, match="width_mult must be greater than 0"):
            make(width_mult=width)
