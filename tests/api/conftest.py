"""A folder as the examples find it: a table of ``tiny``, a device file, a small finished search."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import hwnas
from hwnas.device.measurement import Measurement
from hwnas.latency.table.files import save_table
from hwnas.latency.table.schemas import Calibration, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.pipeline.commands.runs import search_run
from hwnas.pipeline.config.run import RunConfig
from hwnas.rng import stream
from hwnas.space.codes import distinct_ops

BUDGET_MS = 0.08

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
protocol: {rounds: 2, min_runs: 1, min_visit_ms: 0.1, warmup_runs: 1, cooldown_s: 0.0}
"""


def measurement(ms: float) -> Measurement:
    return Measurement(ms, 0.97 * ms, 1.01 * ms, 1.06 * ms, 1.08 * ms, 12, 1200, 0.01)


def write_table(path: Path, *, device: str = "host", factor: float = 1.0) -> None:
    """Write a made-up table: each operation takes about 0.005 ms and 2e-8 ms a MAC."""
    space = hwnas.load_space("tiny").definition
    header = TableHeader(
        device=device,
        runtime="onnxruntime",
        runtime_version="made up",
        precision="fp32",
        threads=1,
        affinity=None,
        layout="nchw",
        protocol=None,
        host={},
        date="2025-01-01",
    )
    calibration = Calibration(
        scale=1.0,
        per_op_ms=0.0,
        constant_ms=0.0,
        num_networks=8,
        mean_abs_rel_error=0.012,
        max_abs_rel_error=0.03,
    )
    rows = {
        op: measurement(
            factor * (0.005 + 2e-8 * op.macs) * float(stream(0, op.key).uniform(0.9, 1.1))
        )
        for op in distinct_ops(space)
    }
    save_table(LatencyTable(header, rows, {"tiny": calibration}), path)


def write_scores(path: Path) -> None:
    """Write made-up accuracies of every architecture of ``tiny``."""
    space = hwnas.load_space("tiny")
    archs = space.sample(1024, distinct=True)
    noise = stream(0, "scores").normal(0, 0.01, len(archs))
    top1 = 0.5 + 0.4 * space.macs(archs) / space.macs(archs).max() + noise
    lines = [
        json.dumps({"arch": arch.to_json(), "top1": round(float(value), 6)})
        for arch, value in zip(archs, top1.clip(0, 1), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


def run_settings(folder: Path) -> dict[str, object]:
    return {
        "space": "tiny",
        "targets": [
            {
                "device": "host",
                "runtime": "onnxruntime",
                "table": str(folder / "table.json"),
                "budget_ms": BUDGET_MS,
                "headroom": 0.0,
            }
        ],
        "search": {"evaluator": f"table:{folder / 'scores.jsonl'}", "evaluations": 16},
        "retrain": {"top": 2, "random_baseline": False},
    }


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, for looking at only."""
    folder = tmp_path_factory.mktemp("stock")
    write_table(folder / "table.json")
    write_table(folder / "other.json", device="other", factor=2.0)
    write_scores(folder / "scores.jsonl")
    (folder / "desk.yaml").write_text(DEVICE)
    config = RunConfig.model_validate_json(json.dumps(run_settings(folder)))
    search_run(config, folder / "run")
    return folder


@pytest.fixture
def shop(stock: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the folder, in which the test runs."""
    folder = Path(shutil.copytree(stock, tmp_path / "shop"))
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache of models, and this checkout's package in processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("HWNAS_CACHE", str(tmp_path_factory.getbasetemp() / "api-models"))
        yield


@pytest.fixture(scope="session")
def space() -> hwnas.Space:
    return hwnas.load_space("tiny")


@pytest.fixture(scope="session")
def latency(stock: Path, space: hwnas.Space) -> hwnas.LatencyModel:
    return hwnas.latency_model(space, stock / "table.json")


@pytest.fixture(scope="session")
def scores(stock: Path, space: hwnas.Space) -> dict[str, float]:
    """The made-up accuracy of every architecture by its id."""
    lines = [json.loads(line) for line in (stock / "scores.jsonl").read_text().splitlines()]
    return {space.arch(line["arch"]["choices"]).arch_id: line["top1"] for line in lines}


@pytest.fixture(scope="session")
def settings(stock: Path) -> dict[str, object]:
    return run_settings(stock)
