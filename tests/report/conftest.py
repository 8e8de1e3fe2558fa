"""A run folder made by code: a real space, made-up times and accuracies that hang together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hwnas.device.measurement import Measurement
from hwnas.latency.table.files import save_table
from hwnas.latency.table.schemas import Calibration, NetworkRecord, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

SCALE_MS = 4e-6  # made-up milliseconds per MAC
SCALE, CONSTANT_MS = 0.94, 0.01
RECIPE = {
    "epochs": 20,
    "batch_size": 64,
    "lr": 0.2,
    "weight_decay": 4e-5,
    "label_smoothing": 0.1,
    "grad_clip": 5.0,
    "warmup_epochs": 1.0,
    "augment": True,
    "randaugment": 0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "ema": 0.0,
    "amp": False,
    "compile": False,
}
PROTOCOL = {"rounds": 12, "min_runs": 5, "statistic": "p25 of round medians", "interleaved": True}

WriteRun = Callable[..., Path]


def op_ms(op: Any) -> float:
    """A made-up time of one operation: its MACs and a cost of starting it."""
    return 0.02 + SCALE_MS * op.macs


def measurement(latency_ms: float) -> dict[str, Any]:
    return {
        "latency_ms": latency_ms,
        "p5_ms": 0.97 * latency_ms,
        "p50_ms": 1.01 * latency_ms,
        "p90_ms": 1.06 * latency_ms,
        "p95_ms": 1.08 * latency_ms,
        "num_rounds": 12,
        "num_runs": 1200,
        "repeatability": 0.012,
    }


def pick(space: SearchSpace, number: int) -> Any:
    """Architecture ``number`` of a fixed random sequence; options drawn alike."""
    generator = stream(7, "fake-run", number)
    return space.arch(
        {c.name: c.options[int(generator.integers(len(c.options)))] for c in space.choices}
    )


class FakeRun:
    """Writes the files of one run, in the order in which the commands do."""

    def __init__(self, run: Path, space: SearchSpace) -> None:
        self.run, self.space = run, space
        self.archs = [pick(space, number) for number in range(60)]
        times = sorted(self.predicted(arch) for arch in self.archs)
        self.budget = round(times[40], 3)
        within = [arch for arch in self.archs if self.predicted(arch) <= self.budget]
        self.ranked = sorted(within, key=self.accuracy, reverse=True)[:4]
        self.winner = self.ranked[1]

    def predicted(self, arch: Any) -> float:
        raw = sum(op_ms(op) for op in self.space.layers(arch))
        return SCALE * raw + CONSTANT_MS

    def accuracy(self, arch: Any) -> float:
        noise = float(stream(1, "top1", int(arch.arch_id[:8], 16)).normal(0, 0.006))
        macs = sum(op.macs for op in self.space.layers(arch))
        return 0.97 - 0.25 / (1 + macs / 4e5) + noise

    def candidate(self, arch: Any) -> dict[str, Any]:
        return {
            "arch": arch.to_json(),
            "arch_id": arch.arch_id,
            "network_id": self.space.network_id(arch),
            "latency_ms": self.predicted(arch),
            "objectives": {
                "top1": {
                    "value": self.accuracy(arch) - 0.08,
                    "unit": "fraction",
                    "direction": "max",
                    "source": "supernet",
                }
            },
        }

    def json(self, name: str, value: Any) -> None:
        path = self.run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def journal(self, record: dict[str, Any]) -> None:
        with open(self.run / "journal.jsonl", "a", encoding="utf-8") as stream_:
            stream_.write(json.dumps(record) + "\n")

    def stage(self, name: str, wall_s: float, **cost: float) -> None:
        self.journal(
            {
                "event": "stage",
                "stage": name,
                "wall_s": wall_s,
                "cost": cost,
                "time": "2025-01-02T10:00:00+00:00",
            }
        )

    def search(self) -> None:
        config = {
            "schema": 1,
            "space": self.space.name,
            "data": "digits",
            "seed": 3,
            "targets": [
                {
                    "device": "host",
                    "runtime": "litert",
                    "precision": "fp32",
                    "threads": 1,
                    "budget_ms": self.budget,
                }
            ],
            "search": {
                "strategy": "evolution",
                "evaluations": 60,
                "top": 4,
                "evaluator": "supernet",
                "recipe": "supernet-small",
            },
            "retrain": {"recipe": "small"},
        }
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        self.json(
            "env.json",
            {
                "hwnas": "0.1.0",
                "python": "3.12.3",
                "platform": "Linux-6.1-x86_64",
                "cpu": "Example CPU @ 2.10 GHz",
                "cores": 2,
                "packages": {"torch": "2.9.0", "ai-edge-litert": "2.1.0"},
                "started": "2025-01-02T09:58:00+00:00",
            },
        )
        for index, arch in enumerate(self.archs):
            self.journal(
                {
                    "event": "evaluation",
                    "index": index,
                    **self.candidate(arch),
                    "latency_source": "lut",
                    "cost": {"images_trained": 0},
                    "time": "2025-01-02T10:00:00+00:00",
                }
            )
        self.journal({"event": "resume"})
        self.journal({"event": "something-newer", "value": 1})
        self.stage("search", 314.0, images_trained=120_000, macs_images=6.1e11, core_s=588.0)
        limits = [{"metric": "latency_ms", "table": "table.json", "max": self.budget}]
        times = sorted(self.predicted(arch) for arch in self.archs)
        self.json(
            "result.json",
            {
                "schema": 1,
                "strategy": "evolution",
                "space": self.space.name,
                "seed": 3,
                "restricted": [],
                "num_evaluations": 60,
                "wall_s": 314.0,
                "cost": {},
                "audit": {
                    "num_codes": 1024,
                    "num_feasible_low": 690,
                    "num_feasible_high": 690,
                    "fastest_ms": 0.9 * times[0],
                    "slowest_ms": 1.2 * times[-1],
                    "percentiles": {str(p): times[p * 60 // 100] for p in (5, 25, 50, 75, 95)},
                },
                "answers": [{"limits": limits, "best": self.candidate(self.ranked[0])}],
            },
        )
        self.json(
            "finalists.json",
            {
                "schema": 1,
                "answers": [
                    {"limits": limits, "finalists": [self.candidate(arch) for arch in self.ranked]}
                ],
            },
        )
        points, best = [], 0.0
        for arch in sorted(self.archs, key=self.predicted):
            value = self.accuracy(arch) - 0.08
            points.append(
                {
                    "arch_id": arch.arch_id,
                    "network_id": self.space.network_id(arch),
                    "latency_ms": self.predicted(arch),
                    "top1": value,
                    "on_front": value > best,
                }
            )
            best = max(best, value)
        self.json("front.json", {"schema": 1, "points": points})

    def profile(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        ops = {op.key: op for factor in self.space.factors() for op in factor.ops.flat if op}
        networks = []
        for number, role in enumerate(["calibrate"] * 8 + ["validate"] * 24):
            arch, ratio = pick(self.space, 100 + number), stream(5, "measure", number)
            ms = self.predicted(arch) * (1 + float(ratio.normal(0, 0.015)))
            networks.append(
                NetworkRecord.model_validate(
                    {
                        "space": self.space.name,
                        "role": role,
                        "is_sentinel": number == 0,
                        "arch": arch.to_json(),
                        "measurement": measurement(ms),
                    }
                )
            )
        header = TableHeader.model_validate(
            {
                "device": "host",
                "runtime": "litert",
                "runtime_version": "2.1.0",
                "precision": "fp32",
                "threads": 1,
                "affinity": None,
                "layout": "nhwc",
                "protocol": {},
                "host": {"cpu": "Example CPU"},
                "date": "2025-01-02",
            }
        )
        save_table(
            LatencyTable(
                header=header,
                entries={op: Measurement(**measurement(op_ms(op))) for op in ops.values()},
                calibration={
                    self.space.name: Calibration(
                        scale=SCALE,
                        per_op_ms=0.0,
                        constant_ms=CONSTANT_MS,
                        num_networks=8,
                        mean_abs_rel_error=0.011,
                        max_abs_rel_error=0.03,
                    )
                },
                validation={
                    self.space.name: {
                        "num_networks": 24,
                        "mean_abs_rel_error": 0.0123,
                        "within_5_percent": 0.958,
                        "kendall_tau": 0.944,
                        "repeatability_mean": 0.0187,
                        "macs_line": {"mean_abs_rel_error": 0.083, "kendall_tau": 0.81},
                        "op_count_line": {"mean_abs_rel_error": 0.241, "kendall_tau": 0.35},
                    }
                },
                networks=tuple(networks),
            ),
            self.run / "table.json",
        )
        self.stage("profile", 95.5, core_s=93.0, device_s=80.2)

    def retrain(self) -> None:
        self.json(
            "retrained.json",
            {
                "schema": 1,
                "recipe": RECIPE,
                "seed": 3,
                "splits": ["train", "arch"],
                "finalists": [
                    {
                        "arch": arch.to_json(),
                        "arch_id": arch.arch_id,
                        "network_id": self.space.network_id(arch),
                        "latency_ms": self.predicted(arch),
                        "search_top1": self.accuracy(arch) - 0.08,
                        "search_source": "supernet",
                        "val": {
                            "top1": self.accuracy(arch),
                            "loss": 0.2,
                            "num_images": 180,
                            "source": "scratch",
                        },
                        "checkpoint": "x.safetensors",
                        "cost": {},
                    }
                    for arch in self.ranked
                ],
            },
        )
        self.stage("retrain", 201.0, images_trained=90_000, macs_images=4.4e11, core_s=390.0)

    def export(self) -> None:
        folder = f"export/{self.winner.arch_id}"
        parity = {"max_rel": 1.3e-6, "max_abs": 4e-6, "num_images": 180, "top1_agreement": 1.0}
        self.json(
            f"{folder}/export.json",
            {
                "schema": 1,
                "arch_id": self.winner.arch_id,
                "content_id": "0" * 16,
                "weights_sha256": "0" * 64,
                "formats": {
                    "onnx": {
                        "file": "model.onnx",
                        "bytes": 261_400,
                        "sha256": "0" * 64,
                        "precision": "fp32",
                        "layout": "nchw",
                        "parity": parity,
                    },
                    "tflite": {
                        "file": "model.tflite",
                        "bytes": 268_120,
                        "sha256": "1" * 64,
                        "precision": "fp32",
                        "layout": "nhwc",
                        "parity": parity,
                    },
                },
            },
        )
        (self.run / folder / "model.onnx").write_bytes(b"x")
        self.stage("export", 44.0, core_s=43.0)

    def bench(self) -> None:
        measured = [1.04 * self.budget] + [1.01 * self.predicted(a) for a in self.ranked[1:]]
        rows = [
            {
                "name": arch.arch_id,
                "kind": "finalist",
                "arch_id": arch.arch_id,
                "network_id": self.space.network_id(arch),
                "val_top1": self.accuracy(arch),
                "macs": 1,
                "params": 1,
                "model": "m",
                "measurement": measurement(ms),
                "predicted_ms": self.predicted(arch),
                "within_budget": ms <= self.budget,
            }
            for arch, ms in zip(self.ranked, measured, strict=True)
        ]
        layers = self.space.layers(self.winner)
        baselines = [
            {
                "name": f"MobileNetV2 x{mult}",
                "width_mult": mult,
                "measured_ms": ms * self.budget,
                "val_top1": value,
                "test_top1": value - 0.01,
                "macs": int(9e6 * mult),
                "params": int(2.2e6 * mult),
                "note": "the same recipe from scratch",
            }
            for mult, ms, value in ((0.35, 0.7, 0.87), (0.5, 0.96, 0.89), (1.0, 1.6, 0.925))
        ]
        rows += [
            {
                "name": s["name"],
                "kind": "baseline",
                "network_id": f"{number:016x}",
                "val_top1": s["val_top1"],
                "macs": s["macs"],
                "params": s["params"],
                "arch_id": None,
                "model": "m",
                "measurement": measurement(s["measured_ms"]),
                "predicted_ms": None,
                "within_budget": s["measured_ms"] <= self.budget,
            }
            for number, s in enumerate(baselines)
        ]
        self.json(
            "bench/host-litert-fp32.json",
            {
                "schema": 1,
                "device": "host",
                "runtime": "litert",
                "runtime_version": "2.1.0",
                "precision": "fp32",
                "threads": 1,
                "affinity": None,
                "protocol": PROTOCOL,
                "state_before": {
                    "load_1min": 0.41,
                    "governor": "performance",
                    "frequency_mhz": {"cpu0": 2100.0},
                },
                "state_after": {
                    "load_1min": 1.07,
                    "governor": "performance",
                    "frequency_mhz": {"cpu0": 2095.0},
                },
                "drift": {"ratio": 1.013, "anchors": {}},
                "rows": rows,
            },
        )
        self.json(
            "winner.json",
            {
                "schema": 1,
                "arch": self.winner.to_json(),
                "arch_id": self.winner.arch_id,
                "network_id": self.space.network_id(self.winner),
                "budget_ms": self.budget,
                "predicted_ms": self.predicted(self.winner),
                "measured_ms": measured[1],
                "val_top1": self.accuracy(self.winner),
                "test": {"top1": 0.912, "num_images": 360, "ci95": [0.879, 0.938]},
                "first_finalist_passed": False,
                "rejected": [
                    {
                        "arch_id": self.ranked[0].arch_id,
                        "measured_ms": measured[0],
                        "reason": "over the budget",
                    }
                ],
                "layers": [op.to_json() for op in layers],
                "macs": sum(op.macs for op in layers),
                "params": sum(op.params for op in layers),
                "files": {
                    "onnx": f"export/{self.winner.arch_id}/model.onnx",
                    "tflite": f"export/{self.winner.arch_id}/model.tflite",
                },
                "baselines": baselines,
            },
        )
        self.stage("bench", 61.0, device_s=55.0, core_s=60.0)

    def gates(self, num_budgets: int, epochs: int = 12) -> None:
        """Journal searches by gates that settle on the first ranked networks."""
        sizes = [len(choice.options) for choice in self.space.choices]
        for number in range(num_budgets):
            code = self.space.encode([self.ranked[number]])[0].tolist()
            for epoch in range(1, epochs + 1):
                sure = (epoch - 1) / epochs
                self.journal(
                    {
                        "event": "supernet_epoch",
                        "number": number,
                        "epoch": epoch,
                        "loss": 2.3 - 1.8 * sure,
                        "lr": 0.1,
                        "entropy": 1.386 * (1 - sure),
                        "expected_ms": self.budget * (1.3 - 0.35 * sure),
                        "argmax_ms": self.budget * (1.1 - 0.15 * sure),
                        "target_ms": self.budget * (1 - 0.2 * number),
                        "multiplier": 0.1,
                        "num_arch_steps": 10 * epoch,
                        "gates": [
                            [
                                (1 - sure) / size + sure * (option == chosen)
                                for option in range(size)
                            ]
                            for size, chosen in zip(sizes, code, strict=True)
                        ],
                    }
                )


STAGES = ("profile", "search", "retrain", "export", "bench")


@pytest.fixture(scope="session")
def write_run() -> WriteRun:
    """Return ``write(folder, until="bench", space="tiny", gates=0)``: a run after a stage.

    ``gates`` is the number of budgets that gates were trained for.
    """

    def write(folder: Path, until: str = "bench", space: str = "tiny", gates: int = 0) -> Path:
        fake = FakeRun(folder, load_space(space))
        for stage in STAGES[: STAGES.index(until) + 1]:
            getattr(fake, stage)()
        fake.gates(gates)
        return folder

    return write


@pytest.fixture(scope="session")
def whole_run(write_run: WriteRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which every stage is done; tests only read it."""
    return write_run(tmp_path_factory.mktemp("whole") / "digits")
