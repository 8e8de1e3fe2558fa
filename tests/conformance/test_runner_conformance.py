"""What every runner promises (hwnas.protocols.Runner), for all there are.

A new transport adds an entry to RUNNERS: a function from a runtime to an open runner.
"""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from hwnas.device.device import load_device
from hwnas.device.local import LocalRunner
from hwnas.device.runner import make_target
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import DeviceError
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.ops import OpSpec
from hwnas.protocols import Runner


def _local(runtime: str) -> Runner:
    return LocalRunner(make_target(load_device("host"), runtime))


RUNNERS: Mapping[str, tuple[Callable[[str], Runner], str]] = {
    f"local-{runtime}": (_local, runtime) for runtime in RUNTIMES
}


@pytest.fixture(params=RUNNERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def runner(kind: str) -> Iterator[Runner]:
    make, runtime = RUNNERS[kind]
    opened = make(runtime)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model of a small convolution in every format."""
    cache = ConversionCache(tmp_path_factory.getbasetemp() / "runner-models")
    op = OpSpec.make("conv", (3, 16, 16), 8, kernel=3)
    wanted = {name: Conversion.make([op], InitWeights(), name) for name in ("onnx", "tflite")}
    files = cache.fill(wanted.values(), workers=1)
    return {name: files[conversion] for name, conversion in wanted.items()}


@pytest.fixture
def model(kind: str, model_files: dict[str, Path]) -> Path:
    return model_files[RUNTIMES[RUNNERS[kind][1]].format]


def test_a_loaded_model_is_run_as_often_as_asked(runner, model):
    runner.load("m", model)
    runs_ms = runner.time_ms("m", min_runs=5, min_ms=0.0)
    assert len(runs_ms) == 5
    assert all(math.isfinite(ms) and ms > 0 for ms in runs_ms)


def test_a_visit_lasts_as_long_as_asked_and_its_runs_are_in_milliseconds(runner, model):
    runner.load("m", model)
    start = time.perf_counter()
    runs_ms = runner.time_ms("m", min_runs=1, min_ms=30.0)
    wall_ms = (time.perf_counter() - start) * 1e3
    assert wall_ms >= 30.0
    assert len(runs_ms) > 1
    assert sum(runs_ms) <= wall_ms
    assert sum(runs_ms) >= 5.0  # most of the visit, were it not for other work on the machine


def test_caches_are_flushed_on_request(runner, model):
    runner.load("m", model)
    runs_ms = runner.time_ms("m", min_runs=3, min_ms=0.0, flush_mb=2.0)
    assert len(runs_ms) == 3
    with pytest.raises(DeviceError, match="flush_mb -1"):
        runner.time_ms("m", min_runs=3, min_ms=0.0, flush_mb=-1)


def test_models_are_told_apart_and_a_second_load_replaces_the_first(runner, model):
    for name in ("net-0123456789abcdef", "scaled x0.25", "scaled x0.25"):
        runner.load(name, model)
        assert len(runner.time_ms(name, min_runs=2, min_ms=0.0)) == 2
    assert len(runner.time_ms("net-0123456789abcdef", min_runs=1, min_ms=0.0)) == 1


def test_a_model_that_was_not_loaded_is_a_device_error_and_the_target_works_on(runner, model):
    with pytest.raises(DeviceError, match="'time'"):
        runner.time_ms("nobody", min_runs=1, min_ms=0.0)
    runner.load("m", model)
    assert len(runner.time_ms("m", min_runs=1, min_ms=0.0)) == 1


def test_a_file_that_is_no_model_is_a_device_error_that_names_it(runner, model, tmp_path):
    corrupt = tmp_path / f"corrupt{model.suffix}"
    corrupt.write_bytes(model.read_bytes()[:40])
    for path in (corrupt, tmp_path / f"absent{model.suffix}"):
        with pytest.raises(DeviceError, match=path.name):
            runner.load("m", path)
    runner.load("m", model)
    assert len(runner.time_ms("m", min_runs=1, min_ms=0.0)) == 1


def test_the_state_is_plain_data_with_the_time_it_is_of(runner):
    before = runner.state()
    after = runner.state()
    assert json.loads(json.dumps(before)) == before
    assert after["time"] >= before["time"]


def test_a_runner_may_be_closed_twice_and_is_no_use_afterwards(runner, model):
    runner.load("m", model)
    runner.close()
    runner.close()
    with pytest.raises(DeviceError):
        runner.time_ms("m", min_runs=1, min_ms=0.0)
    gc.collect()  # a process or pipe left open would warn now
