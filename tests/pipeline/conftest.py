"""One very small real run, and the means to make more: a made-up table, trainings in-process."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.device.measurement import Measurement
from hwnas.executor.local import run_tasks
from hwnas.latency.table.files import save_table
from hwnas.latency.table.schemas import Calibration, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.pipeline.commands.runs import whole_run
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.context import Context, build_context
from hwnas.pipeline.folder import RunFolder
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

BUDGET_MS = 0.08
HEADROOM = 0.1


def measurement(latency_ms: float) -> Measurement:
    return Measurement(
        latency_ms,
        0.97 * latency_ms,
        1.01 * latency_ms,
        1.06 * latency_ms,
        1.08 * latency_ms,
        12,
        1200,
        0.01,
    )


def write_table(path: Path, *, space: str = "tiny", factor: float = 1.0, **header: Any) -> Path:
    """Write a made-up table of ``host``: each operation takes 0.005 ms and 2e-8 ms a MAC."""
    found = load_space(space)
    ops = {op for part in found.factors() for op in part.ops.ravel() if op is not None}
    settings: dict[str, Any] = {
        "device": "host",
        "runtime": "onnxruntime",
        "runtime_version": "made up",
        "precision": "fp32",
        "threads": 1,
        "affinity": None,
        "layout": "nchw",
        "protocol": {},
        "host": {},
        "date": "2025-01-01",
        **header,
    }
    table = LatencyTable(
        TableHeader.model_validate(settings),
        {op: measurement(factor * (0.005 + 2e-8 * op.macs)) for op in ops},
        {
            found.name: Calibration(
                scale=1.0,
                per_op_ms=0.0,
                constant_ms=0.0,
                num_networks=8,
                mean_abs_rel_error=0.012,
                max_abs_rel_error=0.03,
            )
        },
    )
    save_table(table, path)
    return path


def quick(table: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a run of seconds, with ``changes`` to their top level."""
    return {
        "space": "tiny",
        "data": "digits",
        "targets": [
            {
                "device": "host",
                "runtime": "onnxruntime",
                "table": str(table),
                "budget_ms": BUDGET_MS,
                "headroom": HEADROOM,
            }
        ],
        "search": {"evaluations": 3, "recipe": {"epochs": 1, "warmup_epochs": 0}},
        "retrain": {"top": 2, "recipe": {"epochs": 1, "warmup_epochs": 0}},
        "bench": {"baselines": []},
        "formats": ["onnx"],
        "workers": 1,
        **changes,
    }


def config_of(settings: dict[str, Any]) -> RunConfig:
    return RunConfig.model_validate_json(json.dumps(settings))


@pytest.fixture(scope="session", autouse=True)
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Train in this process (a fresh one imports torch for seconds), convert into a cache here."""

    def run_here(function: Any, tasks: Any, **_: Any) -> Iterator[tuple[str, Any]]:
        return run_tasks(function, {key: (task, 1) for key, (task, _) in tasks.items()}, workers=1)

    torch.set_num_threads(1)  # as the trainings set it: equal weights need equal threads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.train.task.run_tasks", run_here)
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.getbasetemp() / "pipeline-models"))
        yield


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("tables") / "t.json")


@pytest.fixture(scope="session")
def finished(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, for looking at only; ``copied`` may be changed."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    whole_run(config_of(quick(table)), path)
    return path


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture(scope="session")
def make_table() -> Callable[..., Path]:
    return write_table


@pytest.fixture
def settings(table: Path) -> Callable[..., dict[str, Any]]:
    return lambda **changes: quick(table, **changes)


@pytest.fixture(scope="session")
def make_config(table: Path) -> Callable[..., RunConfig]:
    return lambda **changes: config_of(quick(table, **changes))


@pytest.fixture
def open_run() -> Callable[[RunConfig, Path], Context]:
    """Return a run of a configuration in a folder, whether or not it was begun."""

    def make(config: RunConfig, path: Path) -> Context:
        return build_context(RunFolder(path), config)

    return make


class _Said(logging.Handler):
    """Keeps the texts of log messages."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The texts of what the package logs in this test, as it logs them."""
    handler, log = _Said(), logging.getLogger("hwnas")
    log.addHandler(handler)
    with caplog.at_level(logging.INFO, "hwnas"):
        yield handler.texts
    log.removeHandler(handler)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three classes of 20 noisy images, 12 pixels wide."""
    folder = tmp_path / "images"
    for number, name in enumerate(("ant", "bee", "cat")):
        (folder / name).mkdir(parents=True)
        for index in range(20):
            noise = stream(number, "image", index).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def content() -> Callable[[Path, str], Any]:
    return lambda run, name: json.loads((run / name).read_text())
