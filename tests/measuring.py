"""Fixtures of the latency tests: real models, synthetic tables, a runner that makes times up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hwnas.device.device import Device, load_device
from hwnas.device.measurement import Measurement
from hwnas.device.runner import Target, make_target
from hwnas.errors import DeviceError
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.latency.table.schemas import TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops

DEVICE = """\
schema: 1
name: desk
description: The machine the tests run on, timed briefly
transport: local
tested: false
abi: any
runtimes:
  onnxruntime: {threads: 1, affinity: null}
  litert: {threads: 1, affinity: null}
protocol: {rounds: 4, min_runs: 2, min_visit_ms: 0.5, warmup_runs: 1, cooldown_s: 0.0}
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> ConversionCache:
    """One cache of converted models for the whole test session."""
    return ConversionCache(tmp_path_factory.getbasetemp() / "runner-models")


@pytest.fixture(scope="session")
def models(cache: ConversionCache) -> Mapping[str, Path]:
    """A real model of one small convolution per runtime."""
    op = OpSpec.make("conv", (3, 16, 16), 8, kernel=3)
    wanted = {
        "onnxruntime": Conversion.make([op], InitWeights(), "onnx"),
        "litert": Conversion.make([op], InitWeights(), "tflite"),
    }
    files = cache.fill(wanted.values(), workers=1)
    return {runtime: files[conversion] for runtime, conversion in wanted.items()}


@pytest.fixture(scope="session")
def device_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("devices") / "desk.yaml"
    path.write_text(DEVICE)
    return path


@pytest.fixture(scope="session")
def device(device_file: Path) -> Device:
    return load_device(str(device_file))


@pytest.fixture(scope="session")
def target(device: Device) -> Target:
    return make_target(device, "onnxruntime")


@pytest.fixture(scope="session")
def tiny() -> SearchSpace:
    return load_space("tiny")


def measurement_of(latency_ms: float) -> Measurement:
    return Measurement(latency_ms, latency_ms, latency_ms, latency_ms, latency_ms, 4, 8, 0.01)


def header_of(on: Device, /, **changes: Any) -> TableHeader:
    fields = {
        "device": on.name,
        "runtime": "onnxruntime",
        "runtime_version": "onnxruntime 1.0",
        "precision": "fp32",
        "threads": 1,
        "affinity": None,
        "layout": "nchw",
        "protocol": on.protocol,
        "host": {"cpu": "imaginary", "cpus": [0, 1]},
        "date": "2026-01-01T00:00:00+00:00",
    }
    return TableHeader(**{**fields, **changes})


@pytest.fixture(scope="session")
def measurement() -> Callable[[float], Measurement]:
    """Makes a measurement of so many ms."""
    return measurement_of


@pytest.fixture(scope="session")
def make_header(device: Device) -> Callable[..., TableHeader]:
    """Makes a header, with changed fields."""
    return lambda **changes: header_of(device, **changes)


@pytest.fixture(scope="session")
def random_table(device: Device) -> Callable[..., LatencyTable]:
    """Makes a table with a random latency for every operation of a space."""

    def make(space: SearchSpace, seed: int = 0, **parts: Any) -> LatencyTable:
        ops = distinct_ops(space)
        times_ms = stream(seed, "table").uniform(0.01, 2.0, len(ops)).round(6)
        rows = {op: measurement_of(float(ms)) for op, ms in zip(ops, times_ms, strict=True)}
        return LatencyTable(header_of(device), rows, **parts)

    return make


class FakeRunner:
    """Counts what is asked of it and answers with times that are made up."""

    def __init__(
        self,
        time_of: Callable[[str, int], list[float]] = lambda name, call: [float(call), 1.0],
        fail_at: int | None = None,
    ) -> None:
        self.time_of = time_of
        self.fail_at = fail_at
        self.loaded: dict[str, Path] = {}
        self.ever_loaded: dict[str, Path] = {}
        self.calls: list[str] = []
        self.flushed: dict[str, float] = {}
        self.info = {"runtime_version": "onnxruntime 1.0"}

    def load(self, model_id: str, model: Path) -> None:
        self.loaded[model_id] = self.ever_loaded[model_id] = model

    def time_ms(
        self, model_id: str, *, min_runs: int, min_ms: float, flush_mb: float = 0.0
    ) -> list[float]:
        assert model_id in self.loaded
        self.flushed[model_id] = flush_mb
        if len(self.calls) == self.fail_at:
            raise DeviceError("the target fell off the desk")
        self.calls.append(model_id)
        return self.time_of(model_id, len(self.calls))

    def state(self) -> dict[str, Any]:
        return {"load_1min": len(self.calls) / 10}

    def unload(self, model_id: str) -> None:
        del self.loaded[model_id]

    def close(self) -> None:
        self.loaded.clear()


@pytest.fixture(scope="session")
def fake_runner() -> type[FakeRunner]:
    return FakeRunner


class Disk:
    """A small file system that can grow or become read-only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 16 KiB, which only root can make."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system needs root and mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"this system allows no mount: {made.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", str(folder)], check=True)
