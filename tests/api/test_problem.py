from __future__ import annotations

import pytest

import hwnas
from hwnas.api.problem import make_problem


def test_all_problems_of_limits_are_named_at_once(space, latency):
    with pytest.raises(hwnas.InputError) as error:
        make_problem(space, {"latency": 3, "macs": -1, "params": True, "latency_ms": 20.0})
    text = str(error.value)
    assert "4 problems" in text
    assert "'latency' is not a limit; limits are latency_ms, macs, params, size_mb" in text
    assert "Did you mean 'latency_ms'?" in text
    assert "macs must be a number above 0, got -1" in text
    assert "params must be a number above 0, got True" in text
    assert "latency_ms must be (latency model, milliseconds)" in text


def test_a_latency_of_another_space_is_refused(latency):
    other = hwnas.load_space("tiny:num_classes=5")
    with pytest.raises(hwnas.InputError, match="is of space tiny, not of tiny:num_classes=5"):
        make_problem(other, {"latency_ms": (latency, 1.0)})


def test_several_devices_are_all_limited(space, shop, latency):
    second = hwnas.latency_model(space, "other.json")
    limits: hwnas.Limits = {"latency_ms": [(latency, 0.09), (second, 0.15)]}
    problem = make_problem(space, limits)
    assert problem.metric_names == (
        "latency_ms@host-onnxruntime-fp32-t1",
        "latency_ms@other-onnxruntime-fp32-t1",
        "macs",
        "params",
    )
    archs = space.sample(100, limits=limits)
    assert latency.predict(archs).max() <= 0.09
    assert second.predict(archs).max() <= 0.15


def test_two_tables_of_one_device_have_different_names(space, latency):
    problem = make_problem(space, {"latency_ms": [(latency, 0.09), (latency, 0.08)]})
    assert list(problem.models) == ["host-onnxruntime-fp32-t1", "host-onnxruntime-fp32-t1-2"]


def test_without_limits_every_network_is_feasible(space):
    assert make_problem(space, {}).feasible.num_codes == space.num_archs
