from __future__ import annotations

import copy

import pytest
import torch

import hwnas
from hwnas.nn.build import build as build_inside


@pytest.mark.parametrize("name", ["tiny", "nasbench201:cells=1,channels=4"])
def test_a_network_is_the_module_of_its_architecture(name):
    space = hwnas.load_space(name)
    [arch] = space.sample(1, seed=4)
    network = hwnas.build(space, arch, seed=3).eval()
    inside = build_inside(space.definition, arch, seed=3).eval()
    assert network.state_dict().keys() == inside.state_dict().keys()
    images = torch.randn(2, *network.input_shape)
    assert torch.equal(network(images), inside(images))
    assert torch.equal(copy.deepcopy(network)(images), inside(images))
    assert network.params == sum(p.numel() for p in network.parameters())
    assert network.macs == space.macs([arch])[0]


def test_weights_are_saved_and_loaded(space, tmp_path):
    first, second = space.sample(2, distinct=True)
    network = hwnas.build(space, first, seed=1)
    network.save_weights(tmp_path / "w.safetensors")
    other = hwnas.build(space, first, seed=2)
    other.load_weights(tmp_path / "w.safetensors")
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(network.eval()(images), other.eval()(images))
    with pytest.raises(hwnas.InputError):
        hwnas.build(space, second).load_weights(tmp_path / "w.safetensors")


def test_a_network_prints_its_layers(space):
    html = hwnas.build(space, space.sample(1)[0])._repr_html_()
    assert "3x32x32" in html
    assert "MACs" in html
    with pytest.raises(hwnas.InputError, match="of space 'tiny'"):
        hwnas.build("tiny:num_classes=5", space.sample(1)[0])
