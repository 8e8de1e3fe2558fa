"""FBNet-C against timm, ProxylessNAS-Mobile against its published description."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from hwnas.errors import InputError
from hwnas.nn.build import build, build_layers
from hwnas.nn.pretrained import load_reference
from hwnas.ops import OpSpec
from hwnas.space.catalogue import SPACES, load_space
from hwnas.space.zoo.archs import SOURCES, known_archs
from hwnas.space.zoo.chain import fbnet_c, proxyless_mobile

PUBLISHED = (
    Path(os.environ.get("HWNAS_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
    / "proxylessnas-pixel1"
    / "proxyless_mobile.json"
)


@pytest.fixture(scope="module")
def timms(randomise) -> nn.Module:
    """timm's FBNet-C with weights and BN statistics that keep its activations alive."""
    model = timm.create_model("fbnetc_100").eval()
    randomise(model, 3)
    return model


def test_fbnet_c_has_timms_parameters_and_macs(timms, count_macs):
    layers = fbnet_c()
    assert sum(op.params for op in layers) == sum(p.numel() for p in timms.parameters())
    assert sum(op.macs for op in layers) == count_macs(timms, (3, 224, 224))
    assert len(layers) == 23


@torch.no_grad()
def test_fbnet_c_with_timms_state_dict_computes_the_same(timms):
    network = build_layers(fbnet_c()).eval()
    load_reference(network, "fbnetc_100", timms.state_dict())
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = timms(images)
    assert expected.std() > 0.05  # signals, not zeros
    assert (network(images) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_fbnet_c_is_an_architecture_of_fbnet():
    space = load_space("fbnet")
    arch = known_archs(space)["fbnet_c"]
    assert space.layers(arch) == fbnet_c()


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"no published network at {PUBLISHED}")
def test_proxyless_mobile_is_the_published_network():
    published = json.loads(PUBLISHED.read_text())
    stem, head = published["stem"], published["head_channels"]
    expected = [
        OpSpec.make(
            "conv",
            (3, 224, 224),
            stem["out_channels"],
            kernel=stem["kernel_size"],
            stride=stem["stride"],
        )
    ]
    for block in published["blocks"]:
        in_shape = expected[-1].out_shape
        assert in_shape[0] == block["in_channels"]
        expected.append(
            OpSpec.make(
                "mbconv",
                in_shape,
                block["out_channels"],
                kernel=block["kernel_size"],
                stride=block["stride"],
                hidden=in_shape[0] * block["expand_ratio"],
                expand=block["expand_ratio"] != 1,
                residual=block["residual"],
                act=published["activation"],
            )
        )
    expected.append(
        OpSpec.make(
            "head",
            expected[-1].out_shape,
            published["num_classes"],
            hidden=head,
            act=published["activation"],
        )
    )
    assert list(proxyless_mobile()) == expected


def test_proxyless_mobile_in_its_space_differs_in_the_width_of_one_stage_only():
    space = load_space("proxyless")
    arch = known_archs(space)["proxyless_mobile_24"]
    ours, published = space.layers(arch), proxyless_mobile()
    assert len(ours) == len(published)
    differing = [place for place, (a, b) in enumerate(zip(ours, published, strict=True)) if a != b]
    assert differing == [2, 3, 4]  # the stage's two blocks and what takes their output
    assert [ours[place].out_channels for place in (2, 3)] == [24, 24]
    assert [published[place].out_channels for place in (2, 3)] == [32, 32]
    wide = replace(
        space,
        stages=tuple(
            replace(stage, width=32) if stage.width == 24 else stage for stage in space.stages
        ),
    )
    assert wide.layers(arch) == published


def test_sizes_and_classes_are_those_asked_for():
    for make in (proxyless_mobile, fbnet_c):
        layers = make(input_size=64, num_classes=7, width_mult=0.5)
        assert layers[0].in_shape == (3, 64, 64)
        assert layers[-1].out_shape == (7, 1, 1)
        with pytest.raises(InputError, match="width_mult must be between"):
            make(width_mult=0)


@pytest.mark.parametrize("name", SPACES)
def test_known_architectures_are_checked_architectures_of_their_space(name):
    space = load_space(name)
    found = known_archs(space)
    assert len(found) == sum(len(source.get(name, {})) for source in SOURCES)
    for arch in found.values():
        assert space.arch(arch.choices) == arch


def test_a_known_architecture_follows_the_parameters_of_the_space():
    space = load_space("fbnet:input_size=32,num_classes=10,width_mult=0.25")
    arch = known_archs(space)["fbnet_c"]
    assert arch.space == space.name
    assert space.layers(arch) == fbnet_c(input_size=32, num_classes=10, width_mult=0.25)
    with torch.no_grad():
        assert build(space, arch).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_space_of_a_users_own_has_no_known_architectures():
    example = Path(__file__).parents[3] / "examples" / "my_space.yaml"
    assert known_archs(load_space(str(example))) == {}
