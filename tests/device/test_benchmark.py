"""Benchmarks of real models beside anchors, and of files that are none."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.device.benchmark import BenchResult, bench, check_models
from hwnas.device.local import LocalRunner
from hwnas.device.measurement import summarise
from hwnas.device.runner import make_target
from hwnas.errors import InputError, UsageError


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_real_models_are_measured_by_the_devices_protocol(device, models, runtime):
    target = make_target(device, runtime)
    files = {"first": models[runtime], "second": models[runtime]}
    with LocalRunner(target) as runner:
        found = bench(files, target, runner)
        version = runner.info["runtime_version"]
    assert [model.name for model in found.models] == ["first", "second"]
    assert found.runtime_version == version
    assert found.drift is None
    assert found.state_after["time"] > found.state_before["time"]
    for model in found.models:
        assert model.model == models[runtime]
        assert len(model.round_medians_ms) == device.protocol.rounds
        assert model.measurement.num_runs >= device.protocol.rounds * device.protocol.min_runs
        assert model.measurement.latency_ms == pytest.approx(
            np.percentile(model.round_medians_ms, 25, method="median_unbiased"), abs=2e-6
        )
        assert 1e-4 < model.measurement.latency_ms < 100


def test_models_and_anchors_share_rounds_and_are_freed(target, models, fake_runner):
    # call n of 9: three models in three rounds
    runner = fake_runner(lambda name, call: [2.4] if name.startswith("anchor") else [1.0, 3.0])
    files = {"a": models["onnxruntime"], "b": models["onnxruntime"]}
    # an anchor may have the name of a model
    found = bench(files, target, runner, anchors={"a": (models["onnxruntime"], 2.0)}, rounds=3)
    rounds = [sorted(runner.calls[i : i + 3]) for i in range(0, 9, 3)]
    assert rounds == [["anchor a", "model a", "model b"]] * 3
    assert found.anchors == {"a": (2.0, 2.4)}
    assert found.drift == pytest.approx(1.2)
    assert found.models[0].measurement == summarise([[1.0, 3.0]] * 3)
    assert found.models[0].round_medians_ms == (2.0, 2.0, 2.0)
    assert runner.loaded == {}


def test_drift_is_the_median_over_the_anchors():
    anchors = {"a": (1.0, 1.1), "b": (2.0, 2.0), "c": (3.0, 9.0)}
    assert BenchResult((), anchors, {}, {}, "v").drift == pytest.approx(1.1)


def test_all_files_that_cannot_be_measured_are_named_before_any_work(
    target, models, fake_runner, tmp_path
):
    files = {
        "good": models["onnxruntime"],
        "absent": tmp_path / "absent.onnx",
        "other": models["litert"],
    }
    with pytest.raises(InputError) as caught:
        check_models(files, target)
    assert caught.value.problems == (
        f"{tmp_path / 'absent.onnx'}: there is no such file",
        f"{models['litert']}: onnxruntime executes *.onnx files",
    )
    runner = fake_runner()
    with pytest.raises(InputError):
        bench(files, target, runner)
    assert runner.loaded == {}


def test_nothing_to_measure_is_a_wrong_use(target, fake_runner):
    with pytest.raises(UsageError, match="no model to measure"):
        bench({}, target, fake_runner())
