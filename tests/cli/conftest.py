"""A shop for the command line: a made-up table, architectures and one finished run, to copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hwnas.cli import app
from hwnas.device.measurement import Measurement
from hwnas.executor.local import run_tasks
from hwnas.latency.table.files import save_table
from hwnas.latency.table.schemas import Calibration, MeasurementSchema, NetworkRecord, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.pipeline.commands.runs import whole_run
from hwnas.pipeline.config.run import RunConfig
from hwnas.space.catalogue import load_space

NUM_ARCHS = 6


@dataclass(frozen=True)
class Answer:
    """What a command said: its exit code, and its two streams apart."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The standard output, which must hold JSON and nothing else."""
        return json.loads(self.out)


def in_this_process(*arguments: object) -> Answer:
    """Run ``hwnas ARGUMENTS``; an exception that would have been a trace is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


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


def archs_of(count: int) -> list[Any]:
    """The first architectures of ``tiny`` that are not all of one option."""
    space = load_space("tiny")
    options = space.choices[0].options
    return [
        space.arch(
            {
                choice.name: options[(number + place) % len(options)]
                for place, choice in enumerate(space.choices)
            }
        )
        for number in range(count)
    ]


def write_table(path: Path, *, sentinels: int = 0, factor: float = 1.0, **header: Any) -> Path:
    """Write a made-up table of ``host`` for ``tiny``: 0.005 ms an operation, 2e-8 ms a MAC."""
    space = load_space("tiny")
    ops = {op for part in space.factors() for op in part.ops.ravel() if op is not None}
    settings: dict[str, Any] = {
        "device": "host",
        "runtime": "onnxruntime",
        "runtime_version": "made up",
        "precision": "fp32",
        "threads": 1,
        "affinity": None,
        "layout": "nchw",
        "protocol": {"min_visit_ms": 0.5},
        "host": {},
        "date": "2025-01-01",
        **header,
    }
    networks = tuple(
        NetworkRecord(
            space="tiny",
            role="sentinel",
            is_sentinel=True,
            arch=arch.to_json(),
            measurement=MeasurementSchema(**measurement(0.05).to_json()),
        )
        for arch in archs_of(sentinels)
    )
    table = LatencyTable(
        TableHeader.model_validate(settings),
        {op: measurement(factor * (0.005 + 2e-8 * op.macs)) for op in ops},
        {
            "tiny": Calibration(
                scale=1.0,
                per_op_ms=0.0,
                constant_ms=0.0,
                num_networks=8,
                mean_abs_rel_error=0.012,
                max_abs_rel_error=0.03,
            )
        },
        networks=networks,
    )
    save_table(table, path)
    return path


def write_photos(folder: Path) -> None:
    """Write two classes of ten noisy images of 32 pixels, one class darker."""
    rng = np.random.default_rng(0)
    for name, most in (("dark", 128), ("light", 255)):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, most, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def published_rows(resolution: int) -> str:
    """Spell a made-up table of a very small network as Once-for-All's are spelt."""
    size = resolution // 2
    rows = {
        f"Conv-input:{resolution}x{resolution}x3-output:{size}x{size}x16": 0.5,
        f"expanded_conv-input:{size}x{size}x16-output:{size}x{size}x16-expand:64-kernel:3-"
        "stride:1-idskip:1-se:0-hs:1": 2.0,
        f"Conv_1-input:{size}x{size}x16-output:{size}x{size}x32": 0.7,
        f"AvgPool2D-input:{size}x{size}x32-output:1x1x32": 0.1,
        "Conv_2-input:1x1x32-output:1x1x64": 0.01,
        "Logits-input:1x1x64-output:10": 0.01,
    }
    return "".join(
        f"{key}:\n  count: 9\n  mean: {mean_ms}\n  std: 0.01\n" for key, mean_ms in rows.items()
    )


@pytest.fixture(scope="session", autouse=True)
def quick_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Train in this process (a fresh one imports torch for seconds), convert into a cache here."""

    def run_here(function: Any, tasks: Any, **_: Any) -> Iterator[tuple[str, Any]]:
        return run_tasks(function, {key: (task, 1) for key, (task, _) in tasks.items()}, workers=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.train.task.run_tasks", run_here)
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.getbasetemp() / "command-models"))
        yield


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """t.json, archs.jsonl, published tables and a finished run r; for copying only."""
    folder = tmp_path_factory.mktemp("stock")
    write_table(folder / "t.json", sentinels=2)
    write_photos(folder / "photos")
    lines = [json.dumps(arch.to_json()) for arch in archs_of(NUM_ARCHS)]
    (folder / "archs.jsonl").write_text("\n".join(lines) + "\n")
    for resolution in (160, 224):
        published = folder / f"{resolution}_lookup_table.yaml"
        published.write_text(published_rows(resolution))
    once = {"epochs": 1, "warmup_epochs": 0}
    settings = {
        "space": "tiny",
        "data": "digits",
        "formats": ["onnx"],
        "targets": [
            {
                "device": "host",
                "runtime": "onnxruntime",
                "budget_ms": 0.1,
                "table": str(write_table(folder / "quiet.json")),
            }
        ],
        "search": {"evaluations": 2, "recipe": once},
        "retrain": {"top": 1, "recipe": once},
        "bench": {"baselines": []},
    }
    whole_run(RunConfig.model_validate_json(json.dumps(settings)), folder / "r")
    return folder


@pytest.fixture
def shop(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stock, which commands run in."""
    folder = Path(shutil.copytree(stock, tmp_path / "shop"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def hwnas() -> Callable[..., Answer]:
    return in_this_process


@pytest.fixture
def make_table() -> Callable[..., Path]:
    return write_table


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the real command in a process of its own; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def popen(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        # as a terminal starts it, also where the tests run in the background without Ctrl-C
        command = [
            sys.executable,
            "-c",
            "import signal; signal.signal(signal.SIGINT, "
            "signal.default_int_handler); from hwnas.cli import main; main()",
        ]
        process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            **options,
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
