"""Targets and torch devices that cannot work are refused before any work."""

from __future__ import annotations

import pytest

from hwnas.errors import InputError, UsageError
from hwnas.pipeline.checks import check_target, check_torch_device
from hwnas.pipeline.config.run import TargetConfig


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"device": "raspberry-pi-4"}, "device: the table was measured with 'raspberry-pi-4'"),
        ({"runtime": "litert"}, "runtime: the table was measured with 'litert'"),
        ({"threads": 4}, "threads: the table was measured with 4, the target has 1"),
    ],
)
def test_a_table_of_another_target_is_refused(make_table, tmp_path, changes, problem):
    path = make_table(tmp_path / "t.json", **changes)
    with pytest.raises(InputError, match=problem):
        check_target(TargetConfig(runtime="onnxruntime", table=str(path), budget_ms=1.0))


def test_a_target_is_checked_for_its_device_runtime_and_table_file(table):
    check_target(TargetConfig(runtime="onnxruntime", table=str(table), budget_ms=1.0))
    with pytest.raises(InputError, match="no such device"):
        check_target(TargetConfig(device="toaster", budget_ms=1.0))
    with pytest.raises(UsageError, match="pixel-8 has no runtime 'onnxruntime'"):
        check_target(TargetConfig(device="pixel-8", runtime="onnxruntime", budget_ms=1.0))
    with pytest.raises(InputError, match="there is no such file"):
        check_target(TargetConfig(table="absent.json", budget_ms=1.0))


def test_a_torch_device_that_cannot_compute_is_refused():
    check_torch_device("cpu")
    with pytest.raises(UsageError, match=r"torch_device 'toaster' cannot be used.*Next: "):
        check_torch_device("toaster")
