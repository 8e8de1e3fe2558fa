"""Benchmark model files on a target, in interleaved rounds together with the table's anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.device.measurement import Measurement, disturbance, summarise
from hwnas.device.rounds import time_in_rounds
from hwnas.device.runner import Target
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import InputError, UsageError
from hwnas.protocols import Runner


@dataclass(frozen=True)
class BenchedModel:
    """One model's measurement, with the median of each round in ms."""

    name: str
    model: Path
    measurement: Measurement
    round_medians_ms: tuple[float, ...]


@dataclass(frozen=True)
class BenchResult:
    """What one benchmark session measured.

    ``anchors`` are networks whose latency was recorded when the table was made: name to
    (recorded, measured) ms. ``drift`` is the median of measured over recorded, None without any.
    """

    models: tuple[BenchedModel, ...]
    anchors: Mapping[str, tuple[float, float]]
    state_before: Mapping[str, Any]
    state_after: Mapping[str, Any]
    runtime_version: str

    @property
    def drift(self) -> float | None:
        """The device's latency now over that when the table was made."""
        if not self.anchors:
            return None
        return float(np.median([now / then for then, now in self.anchors.values()]))

    @property
    def disturbance(self) -> str | None:
        """A warning where other work slowed the models while they were timed."""
        return disturbance([model.measurement for model in self.models])


def check_models(models: Mapping[str, Path], target: Target) -> None:
    """Raise InputError unless every model is a file of the format that the runtime executes."""
    suffix = f".{RUNTIMES[target.runtime].format}"
    problems = []
    for path in models.values():
        if not path.is_file():
            problems.append(f"{path}: there is no such file")
        elif path.suffix != suffix:
            problems.append(f"{path}: {target.runtime} executes *{suffix} files")
    if problems:
        raise InputError("models to measure", problems)


def bench(
    models: Mapping[str, Path],
    target: Target,
    runner: Runner,
    *,
    anchors: Mapping[str, tuple[Path, float]] | None = None,
    rounds: int | None = None,
    spread_s: float = 0.0,
) -> BenchResult:
    """Measure ``models`` (name to file) with the target's protocol, over ``spread_s`` or longer.

    ``anchors`` (name to file and recorded ms) are timed in the same rounds, to tell a drift of the
    device from properties of the models.

    Raises:
        InputError: a model is absent or of another format.
        DeviceError: a model does not load or the target fails.
    """
    if not models:
        raise UsageError("there is no model to measure")
    check_models(models, target)
    protocol = target.device.protocol
    rounds = rounds or protocol.rounds
    protocol = protocol.over(spread_s * protocol.rounds / rounds)
    files = {f"model {name}": path for name, path in models.items()}
    files |= {f"anchor {name}": path for name, (path, _) in (anchors or {}).items()}
    before = runner.state()
    runs = time_in_rounds(runner, files, rounds, protocol, stage="benchmark")
    after = runner.state()
    measured = {
        name: (summarise(runs[f"anchor {name}"], protocol.reloads).latency_ms, recorded)
        for name, (_, recorded) in (anchors or {}).items()
    }
    return BenchResult(
        models=tuple(
            _benched(name, path, runs[f"model {name}"], protocol.reloads)
            for name, path in models.items()
        ),
        anchors={name: (recorded, now) for name, (now, recorded) in measured.items()},
        state_before=before,
        state_after=after,
        runtime_version=runner.info["runtime_version"],
    )


def _benched(name: str, path: Path, runs: Sequence[Sequence[float]], reloads: int) -> BenchedModel:
    medians = tuple(round(float(np.median(r)), 6) for r in runs)
    return BenchedModel(name, path, summarise(runs, reloads), medians)
