"""Networks that are not chains: what is executed on what, and wirings that do not fit."""

from __future__ import annotations

import pytest
import torch

from hwnas.nn.build import build_layers, build_network
from hwnas.ops import OpSpec

STEM = OpSpec.make("conv", (3, 6, 6), 4, kernel=3)
CONV = OpSpec.make("preact_conv", (4, 6, 6), 4, kernel=1)
ADD = OpSpec.make("add", (4, 6, 6), 4, summands=2)
CONCAT = OpSpec.make("concat", (4, 6, 6), 12, summands=3)
HEAD = OpSpec.make("preact_head", (12, 6, 6), 5)
LAYERS = (STEM, CONV, CONV, ADD, CONCAT, HEAD)
WIRING = ((-1,), (0,), (1,), (2, 0), (3, 1, 0), (4,))


def images() -> torch.Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_every_operation_takes_the_outputs_named():
    network = build_network(LAYERS, WIRING, seed=1).eval()
    stem, first, second, _, _, head = network.children()
    x = stem(images())
    a = first(x)
    expected = head(torch.cat([second(a) + x, a, x], dim=1))
    torch.testing.assert_close(network(images()), expected)


@torch.no_grad()
def test_reading_an_output_twice_leaves_it_as_it_was():
    """Activations before a convolution may not work in place: the next reader sees the input."""
    for kind, attrs in (
        ("preact_conv", {"kernel": 3}),
        ("sep_conv", {"kernel": 3}),
        ("dil_conv", {"kernel": 3}),
        ("factorized_reduce", {}),
        ("preact_residual", {"stride": 2}),
        ("zero", {}),
        ("pool", {"pool": "max"}),
    ):
        op = OpSpec.make(kind, (4, 6, 6), 4, **attrs)
        network = build_layers((op,))
        x = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
        before = x.clone()
        network.train()(x)
        network.eval()(x)
        assert torch.equal(x, before), kind


def test_weights_depend_on_the_seed_and_a_chain_has_the_names_of_a_wired_one():
    chain = (STEM, CONV, CONV)
    plain = build_network(chain, None, seed=2)
    wired = build_network(chain, ((-1,), (0,), (1,)), seed=2)
    assert plain.state_dict().keys() == wired.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, wired.state_dict()[name])
    other = build_network(chain, ((-1,), (0,), (1,)), seed=3)
    assert not torch.equal(other.state_dict()["0.0.weight"], wired.state_dict()["0.0.weight"])


@pytest.mark.parametrize(
    ("wiring", "message"),
    [
        (WIRING[:-1], "an entry per operation: 6, got 5"),
        ((*WIRING[:3], (2,), *WIRING[4:]), "operation 3, add .* takes 2 inputs, got 1"),
        ((*WIRING[:3], (2, 3), *WIRING[4:]), r"from -1 \(the image\) to 2, got 3"),
        ((*WIRING[:3], (2, -2), *WIRING[4:]), "got -2"),
        ((*WIRING[:3], (2, -1), *WIRING[4:]), r"takes \(4, 6, 6\), but -1 gives \(3, 6, 6\)"),
        ((*WIRING[:4], (3, 3, 0), (4,)), None),
        ((*WIRING[:3], (0, 1), (3, 1, 0), (4,)), "nobody takes the output of operation 2"),
    ],
)
def test_a_wiring_that_does_not_fit_is_refused(wiring, message):
    if message is None:
        build_network(LAYERS, wiring)
    else:
        with pytest.raises(ValueError, match=message):
            build_network(LAYERS, wiring)


def test_gradients_reach_every_weight():
    network = build_network(LAYERS, WIRING, seed=1).train()
    network(images()).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert all(p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim == 4)
