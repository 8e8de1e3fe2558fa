"""Published weights: mapped in they give the published outputs; whatever does not fit is listed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.errors import InputError
from hwnas.nn.build import build_layers
from hwnas.nn.pretrained import REFERENCES, key_names, load_reference, renamed


def small(name, **changes):
    return build_layers(REFERENCES[name].layers(**{"input_size": 96, **changes})).eval()


@pytest.mark.parametrize("name", REFERENCES)
@torch.no_grad()
def test_outputs_are_those_of_the_published_model(name, published, randomise):
    oracle = published(name, 1.0)
    randomise(oracle, 7)
    network = small(name)
    load_reference(network, name, oracle.state_dict())
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    expected, got = oracle(images), network(images)
    assert expected.std() > 0.05  # the comparison is of signals, not of zeros
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", REFERENCES)
def test_every_key_of_both_sides_is_mapped_once(name, published):
    names = key_names(name)
    counters = ".num_batches_tracked"
    ours = {key for key in small(name).state_dict() if not key.endswith(counters)}
    theirs = {key for key in published(name, 1.0).state_dict() if not key.endswith(counters)}
    assert set(names) == ours
    assert set(names.values()) == theirs
    assert len(set(names.values())) == len(names)


@torch.no_grad()
def test_the_epsilon_of_the_published_norms_stays_when_weights_are_saved(published, randomise):
    # a channel that hardly varies: an epsilon of 1e-5 in place of 1e-3 would be 9 times off
    oracle = published("mobilenet_v3_small", 1.0)
    randomise(oracle, 3)
    state = {
        key: torch.full_like(value, 1e-6) if key.endswith("running_var") else value
        for key, value in oracle.state_dict().items()
    }
    norm = nn.BatchNorm2d(16, eps=1e-3).eval()
    norm.load_state_dict(
        {
            key.removeprefix("features.0.1."): value
            for key, value in state.items()
            if key.startswith("features.0.1.")
        }
    )
    first, again = small("mobilenet_v3_small"), small("mobilenet_v3_small")
    load_reference(first, "mobilenet_v3_small", state)
    again.load_state_dict(first.state_dict())
    pixels = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(again[0][1](pixels), norm(pixels))


def test_every_missing_and_unexpected_key_is_listed_and_nothing_is_loaded(published):
    state = dict(published("mobilenet_v2", 1.0).state_dict())
    del state["features.0.0.weight"], state["classifier.1.bias"]
    state |= {"features.99.weight": torch.zeros(1), "extra": torch.zeros(1)}
    network = small("mobilenet_v2")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_reference(network, "mobilenet_v2", state)
    assert set(caught.value.problems) == {
        "features.0.0.weight: missing",
        "classifier.1.bias: missing",
        "features.99.weight: unexpected",
        "extra: unexpected",
    }
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_other_classes_and_other_networks_are_told(published):
    state = published("mobilenet_v2", 1.0).state_dict()
    with pytest.raises(InputError) as caught:
        load_reference(small("mobilenet_v2", num_classes=10), "mobilenet_v2", state)
    assert set(caught.value.problems) == {
        "18.classifier.0.weight: the network has (10, 1280), the weights (1000, 1280)",
        "18.classifier.0.bias: the network has (10,), the weights (1000,)",
    }
    with pytest.raises(InputError, match="not in the network") as caught:
        load_reference(small("mobilenet_v3_small"), "mobilenet_v2", state)
    assert "17.body.0.0.weight: not in the network" in caught.value.problems
    text = str(caught.value).splitlines()
    assert len(text) <= 14  # some of each kind, and how many more
    assert any(line.endswith("more like these") for line in text)
    with pytest.raises(InputError, match="no such model is known; known: mobilenet_v2, "):
        renamed("resnet18", state)
