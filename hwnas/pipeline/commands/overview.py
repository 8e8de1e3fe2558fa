"""Run folders at a glance: ``hwnas runs list``, ``show`` and ``compare``. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.artifacts.environment import EnvironmentFile
from hwnas.artifacts.events import StageEvent, read_events
from hwnas.artifacts.search import ResultFile
from hwnas.artifacts.winner import WinnerFile
from hwnas.errors import HwnasError, UsageError
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.folder import RunFolder

MAX_DEPTH = 6  # folders below the path that are searched for runs


@dataclass(frozen=True)
class RunSummary:
    """What a run is and how far it has come.

    ``stages`` maps each finished stage to its seconds. ``found``, ``predicted_ms`` and
    ``search_top1`` are of the best network of the search under the first budget; ``winner``
    and what follows of the network that ``hwnas bench`` selected, which can be another one.
    Accuracies are fractions; values of stages that are not done are None.
    """

    path: str
    started: str
    space: str
    data: str | None
    strategy: str
    evaluator: str
    seed: int
    targets: tuple[str, ...]
    budgets_ms: tuple[float, ...]
    stages: Mapping[str, float]
    found: str | None = None
    predicted_ms: float | None = None
    search_top1: float | None = None
    winner: str | None = None
    winner_predicted_ms: float | None = None
    winner_search_top1: float | None = None
    measured_ms: float | None = None
    within_budget: bool | None = None
    val_top1: float | None = None
    test_top1: float | None = None

    @property
    def state(self) -> str:
        """The last stage that is done."""
        return "done" if self.winner else ["begun", *self.stages][-1]

    @property
    def chosen_predicted_ms(self) -> float | None:
        """The predicted latency of the winner, or before there is one of the search's best."""
        return self.winner_predicted_ms if self.winner else self.predicted_ms

    @property
    def chosen_search_top1(self) -> float | None:
        """The search's score of the winner, or before there is one of the search's best."""
        return self.winner_search_top1 if self.winner else self.search_top1

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``hwnas runs --json`` prints."""
        return {**asdict(self), "state": self.state}


@dataclass(frozen=True)
class BrokenRun:
    """A folder with a run's configuration that cannot be read, and why."""

    path: str
    error: str

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``hwnas runs list --json`` prints."""
        return asdict(self)


def find_runs(root: Path) -> list[RunSummary | BrokenRun]:
    """Return all runs in ``root`` and the folders below it, ordered by path.

    Links are not followed, nor folders in a run. A run that cannot be read does not hide others.

    Raises:
        UsageError: there is no such folder.
    """
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}. Next: hwnas runs list FOLDER")
    found: list[RunSummary | BrokenRun] = []
    for folder, below, files in os.walk(root):
        path = Path(folder)
        if "config.yaml" in files and "env.json" in files:
            below.clear()
            try:
                found.append(summarise_run(path))
            except (HwnasError, OSError) as error:
                found.append(BrokenRun(str(path), str(error)))
        elif len(path.relative_to(root).parts) >= MAX_DEPTH:
            below.clear()
    return sorted(found, key=lambda run: run.path)


def summarise_run(path: Path) -> RunSummary:
    """Return the summary of the run in ``path``.

    Raises:
        UsageError: it is no run folder.
        InputError: a file in it is broken.
    """
    folder = RunFolder.existing(path)
    config = folder.config()
    environment = EnvironmentFile.load_if_present(path)
    result, winner = ResultFile.load_if_present(path), WinnerFile.load_if_present(path)
    best = result.answers[0].best if result else None
    return RunSummary(
        path=str(path),
        started=environment.started if environment else "",
        space=result.space if result else config.space,
        data=config.data,
        strategy=config.search.strategy,
        evaluator=str(config.search.evaluator),
        seed=config.seed,
        targets=tuple(f"{t.device} {t.runtime} {t.precision}" for t in config.targets),
        budgets_ms=_budgets_ms(config, result),
        stages=_stages(folder),
        found=best.arch_id if best else None,
        predicted_ms=best.latency_ms if best else None,
        search_top1=best.top1.value if best else None,
        winner=winner.arch_id if winner else None,
        winner_predicted_ms=winner.predicted_ms if winner else None,
        winner_search_top1=winner.search_top1.value if winner and winner.search_top1 else None,
        measured_ms=winner.measured_ms if winner else None,
        within_budget=winner.within_budget if winner else None,
        val_top1=winner.val_top1 if winner else None,
        test_top1=winner.test.top1 if winner and winner.test else None,
    )


def _budgets_ms(config: RunConfig, result: ResultFile | None) -> tuple[float, ...]:
    """Return the budgets of the first target; those of a percentile are known after the search."""
    if result is None:
        return config.targets[0].budgets_ms
    return tuple(
        next(limit.max for limit in answer.limits if limit.table is not None)
        for answer in result.answers
    )


def _stages(folder: RunFolder) -> dict[str, float]:
    path = folder.path / "journal.jsonl"
    if not path.is_file():
        return {}
    with folder.journal() as journal:
        events = read_events(journal.records(), StageEvent, path)
    return {event.stage: event.wall_s for event in events}


@dataclass(frozen=True)
class SettingRow:
    """A setting that differs between runs, by its place in the configuration."""

    setting: str
    values: tuple[Any, ...]


def differing_settings(paths: Sequence[Path]) -> list[SettingRow]:
    """Return the settings that are not the same in all of these runs.

    Raises:
        UsageError: fewer than two runs, or one is no run folder.
    """
    if len(paths) < 2:
        raise UsageError(f"a comparison needs two runs or more, got {len(paths)}")
    flat = [
        _flat(RunFolder.existing(path).config().model_dump(mode="json", by_alias=True))
        for path in paths
    ]
    rows = [
        SettingRow(setting, tuple(one.get(setting) for one in flat))
        for setting in dict.fromkeys(key for one in flat for key in one)
    ]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Return the leaves of nested objects and lists by their dotted places."""
    if isinstance(value, dict):
        pairs = [(f"{place}.{key}" if place else str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        pairs = [(f"{place}[{number}]", item) for number, item in enumerate(value)]
    else:
        return {place: value}
    return {key: leaf for where, item in pairs for key, leaf in _flat(item, where).items()}
