"""What every kind of operation promises (hwnas.ops.kind.OpKind) that a space file can offer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hwnas.export.convert.onnx import onnx_bytes
from hwnas.nn.build import build_layers, make_module
from hwnas.ops import OPS, OpSpec
from hwnas.plugins.registry import resolved

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "conv": {"kernel": 3},
    "mbconv": {"kernel": 5, "expand": 3, "se": 0.25},
}
"""What options of built-in kinds need; those of a plugin are made with their defaults."""
PLACES = (((16, 9, 7), 16, 1), ((16, 8, 8), 32, 2), ((8, 8, 8), 8, 1))
KINDS = [kind.name for kind in OPS.values() if kind.layer is not None]


@pytest.fixture(params=PLACES, ids=lambda place: f"{place[0][0]}to{place[1]}s{place[2]}")
def place(request: pytest.FixtureRequest) -> tuple[tuple[int, int, int], int, int]:
    return request.param


@pytest.fixture(params=KINDS)
def spec(request: pytest.FixtureRequest, place: tuple[tuple[int, int, int], int, int]) -> OpSpec:
    schema = resolved(OPS[request.param].layer)
    try:
        option = schema(kind=request.param, **SETTINGS.get(request.param, {}))
    except ValidationError:
        pytest.skip(f"{request.param} has settings without a default")
    return option.option().op(*place)


def test_a_spec_comes_back_from_its_key(spec):
    back = OpSpec.from_json(json.loads(spec.key))
    assert back == spec
    assert back.key == spec.key


def test_the_module_has_the_declared_shape_parameters_and_macs(spec, count_macs):
    module = make_module(spec)
    assert tuple(module.eval()(torch.zeros(2, *spec.in_shape)).shape[1:]) == spec.out_shape
    assert sum(p.numel() for p in module.parameters()) == spec.params
    assert count_macs(module, spec.in_shape) == spec.macs


def test_the_module_trains_and_its_weights_come_from_the_seed(spec):
    first, second = build_layers([spec], seed=1), build_layers([spec], seed=1)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    first.train()(torch.randn(4, *spec.in_shape)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in first.parameters())


def test_the_module_has_an_onnx_form(spec):
    assert onnx_bytes(build_layers([spec]), spec.in_shape)
