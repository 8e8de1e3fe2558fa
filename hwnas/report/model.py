"""A run folder read into frozen values: everything the report says comes from here.

A file that is not there yet is ``None`` (or empty): the section that needs it names the command
that writes it. A file that is there and broken is an error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import JsonValue

from hwnas.arch import Arch
from hwnas.artifacts.base import Artifact, Cost
from hwnas.artifacts.benched import BenchFile, BenchRow
from hwnas.artifacts.environment import EnvironmentFile
from hwnas.artifacts.events import (
    JOURNAL,
    BaselineEvent,
    EvaluationEvent,
    Event,
    ResumeEvent,
    StageEvent,
    SupernetEpochEvent,
    read_events,
)
from hwnas.artifacts.exported import ExportFile
from hwnas.artifacts.networks import ArchPart, LimitPart, Objectives
from hwnas.artifacts.search import FinalistsFile, FrontFile, ResultFile
from hwnas.artifacts.training import RetrainedFile
from hwnas.artifacts.winner import WinnerFile
from hwnas.errors import InputError, MissingRowError
from hwnas.io.journal import Journal, read_json
from hwnas.io.schemas import read_yaml
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table, stored
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.report.figures.values import NetworkPair, Slot
from hwnas.report.text import plain, printable
from hwnas.space.catalogue import load_space
from hwnas.stats.shares import binomial_interval

File = TypeVar("File", bound=Artifact)
Line = TypeVar("Line", bound=Event)


@dataclass(frozen=True)
class RunTarget:
    """What a run is for, as text; None where no file of the run has it."""

    device: str | None
    runtime: str | None
    precision: str | None
    threads: str | None
    runtime_version: str | None


@dataclass(frozen=True)
class RunFacts:
    """What one run folder holds; ``config`` is plain nested data, ``config_text`` its YAML."""

    run: Path
    config_text: str
    config: Mapping[str, JsonValue]
    evaluations: tuple[EvaluationEvent, ...]
    stages: tuple[StageEvent, ...]
    num_resumes: int
    exports: Mapping[str, ExportFile]
    benches: tuple[BenchFile, ...]
    random: tuple[BaselineEvent, ...] = ()
    epochs: tuple[SupernetEpochEvent, ...] = ()
    env: EnvironmentFile | None = None
    table: LatencyTable | None = None
    result: ResultFile | None = None
    finalists: FinalistsFile | None = None
    front: FrontFile | None = None
    retrained: RetrainedFile | None = None
    winner: WinnerFile | None = None

    def setting(self, *keys: str) -> JsonValue:
        """Return the value at ``keys`` of the configuration, None where there is none."""
        value: JsonValue = dict(self.config)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def _configured_target(self) -> Mapping[str, JsonValue]:
        """The configuration's first target: keys ``device``, ``runtime``, ... where it has them."""
        targets = self.setting("targets")
        first = targets[0] if isinstance(targets, list) and targets else self.setting("device")
        if not isinstance(first, dict):
            return {"device": first}
        return {**first, "device": first.get("device", first.get("name"))}

    @property
    def target(self) -> RunTarget:
        """The run's first target: as configured, else as its table says."""
        configured = self._configured_target
        header: Mapping[str, object] = self.table.header.model_dump() if self.table else {}
        values = {
            key: configured[key] if configured.get(key) is not None else header.get(key)
            for key in ("device", "runtime", "precision", "threads")
        }
        version = self.bench.runtime_version if self.bench else header.get("runtime_version")
        values["runtime_version"] = version or None
        return RunTarget(**{key: None if v is None else plain(v) for key, v in values.items()})

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """Every latency budget the run searched under, increasing."""
        limits = {
            limit.max
            for answer in (self.result.answers if self.result else ())
            for limit in answer.limits
            if limit.metric == "latency_ms"
        }
        if not limits:
            value = self._configured_target.get("budget_ms", self.setting("budget_ms"))
            values = value if isinstance(value, list) else [value]
            limits = {float(one) for one in values if isinstance(one, (int, float))}
        if not limits and self.winner:
            limits = {self.winner.budget_ms}
        return tuple(sorted(limits))

    @property
    def bench(self) -> BenchFile | None:
        """The session of the run's own device, runtime and precision; else the first one."""
        configured = self._configured_target

        def mismatches(bench: BenchFile) -> int:
            return sum(
                configured.get(key) not in (None, getattr(bench, key))
                for key in ("device", "runtime", "precision")
            )

        return min(self.benches, key=mismatches, default=None)

    def measured(self, arch_id: str) -> BenchRow | None:
        """Return the row of an architecture in :attr:`bench`, if it was measured."""
        rows = self.bench.rows if self.bench else ()
        return next((row for row in rows if row.arch_id == arch_id), None)


def top1(objectives: Objectives) -> tuple[float, str] | None:
    """Return (top-1 as a fraction, its source), or None if there is no such objective."""
    part = objectives.get("top1")
    if part is None:
        return None
    return (part.value / 100 if part.unit in ("%", "percent") else part.value), part.source


def limits_text(limits: Sequence[LimitPart]) -> str:
    """Return limits in words: ``latency_ms ≤ 20, params ≤ 4e+06``."""
    return ", ".join(f"{limit.metric} ≤ {limit.max:g}" for limit in limits)


def read_run(run: Path) -> RunFacts:
    """Read every file of the run folder ``run`` that is there.

    Raises:
        InputError: there is no such folder, it holds nothing of a run, or a file in it is broken.
    """
    if not run.is_dir():
        raise InputError(
            str(run),
            ["is not a folder"],
            "give the folder that hwnas run or hwnas search wrote (their --out)",
        )
    config_path, journal = run / "config.yaml", run / JOURNAL
    records = [cleaned(record) for record in Journal(journal).records()]
    table_path = stored(run, "table")
    config = read_yaml(config_path) if config_path.exists() else {}

    def events(kind: type[Line]) -> tuple[Line, ...]:
        return tuple(read_events(records, kind, journal))

    facts = RunFacts(
        run=run,
        config_text=config_path.read_text() if config_path.exists() else "",
        config=cleaned(config) if isinstance(config, Mapping) else {},
        evaluations=events(EvaluationEvent),
        random=events(BaselineEvent),
        stages=events(StageEvent),
        epochs=events(SupernetEpochEvent),
        num_resumes=len(events(ResumeEvent)),
        exports={
            path.parent.name: _read(ExportFile, path)
            for path in sorted(run.glob("export/*/export.json"))
        },
        benches=tuple(_read(BenchFile, path) for path in sorted(run.glob("bench/*.json"))),
        env=_optional(EnvironmentFile, run),
        table=load_table(table_path) if table_path.exists() else None,
        result=_optional(ResultFile, run),
        finalists=_optional(FinalistsFile, run),
        front=_optional(FrontFile, run),
        retrained=_optional(RetrainedFile, run),
        winner=_optional(WinnerFile, run),
    )
    if not (facts.config or records or facts.table or facts.result):
        raise InputError(
            str(run),
            ["holds no file of a run (config.yaml, journal.jsonl, ...)"],
            "give the folder that hwnas run or hwnas search wrote (their --out)",
        )
    return facts


def _read(kind: type[File], path: Path) -> File:
    return kind.parse(cleaned(read_json(path)), str(path))


def _optional(kind: type[File], run: Path) -> File | None:
    path = kind.path(run)
    return _read(kind, path) if path.is_file() else None


def cleaned(value: Any) -> Any:
    """Return plain data that a page can show.

    Keys with the value NaN or infinity are left out, None stands for it in a list; keys are text,
    and all text is printable.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {
            cleaned(str(key)): cleaned(item)
            for key, item in value.items()
            if not (isinstance(item, float) and not math.isfinite(item))
        }
    if isinstance(value, (list, tuple)):
        return [cleaned(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True)
class Ledger:
    """The cost of one stage over all the times it ran (a resumed stage runs again)."""

    stage: str
    num_times: int
    wall_s: float
    cost: Cost


def ledger(stages: Sequence[StageEvent]) -> tuple[Ledger, ...]:
    """Return the costs summed by stage, in the order in which the stages first ran."""
    names = dict.fromkeys(stage.stage for stage in stages)
    grouped = {name: [s for s in stages if s.stage == name] for name in names}
    return tuple(
        Ledger(
            name,
            len(group),
            sum(stage.wall_s for stage in group),
            total_cost([stage.cost for stage in group]),
        )
        for name, group in grouped.items()
    )


def total_cost(costs: Sequence[Cost]) -> Cost:
    """Return the sum of each count; a count that no cost has stays absent."""
    total: Cost = {}
    for cost in costs:
        for name, value in cost.items():
            total[name] = total.get(name, 0) + value
    return total


def winner_slots(winner: WinnerFile, tables: LatencyTable | None) -> tuple[Slot, ...]:
    """Return the winner's places; skipped ones are known if its space can be loaded here.

    Raises:
        InputError: ``winner.json`` names an operation hwnas does not know.
    """
    try:
        ops = [layer.spec for layer in winner.layers]
    except (TypeError, ValueError) as error:
        raise InputError("winner.json, layers", [str(error)]) from error
    places = _places(winner.arch)
    if [op for _, op in places if op is not None] != ops:
        places = [("", op) for op in ops]
    return _timed(places, winner.arch, tables)


def slots_of(arch: ArchPart, tables: LatencyTable | None) -> tuple[Slot, ...]:
    """Return the places of an architecture; empty if its space cannot be loaded here."""
    return _timed(_places(arch), arch, tables)


def _timed(
    places: Sequence[tuple[str, OpSpec | None]], arch: ArchPart, tables: LatencyTable | None
) -> tuple[Slot, ...]:
    """Add the time of each operation's row in the table of the architecture's scope."""
    table = None if tables is None else tables.of(arch.choices)
    rows = {} if table is None else table.entries
    return tuple(
        Slot(option, op, rows[op].latency_ms if op is not None and op in rows else None)
        for option, op in places
    )


def _places(part: ArchPart) -> list[tuple[str, OpSpec | None]]:
    """Walk the factors of an architecture's space; empty if the space is not known here.

    Of a network that is not a chain only the executed parts are places.
    """
    try:
        space = load_space(part.space)
        arch: Arch = space.arch(part.choices)
    except InputError:  # a space of the user's own file, or of a newer version
        return []
    code = space.encode([arch])[0].tolist()
    places = []
    for factor in space.factors():
        chosen = [space.choices[index] for index in factor.choices]
        option = ", ".join(
            f"{choice.name} = {arch.choices.get(choice.name, 'absent')}" for choice in chosen
        )
        places.append((option, factor.ops[tuple(code[index] for index in factor.choices)]))
    if space.wiring(arch) is not None:
        places = [(option, op) for option, op in places if op is not None]
    return places


def gate_names(facts: RunFacts) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the names of the layers and of each layer's options; empty for an unknown space."""
    try:
        space = load_space(facts.result.space if facts.result else str(facts.setting("space")))
    except InputError:
        return (), ()
    return (
        tuple(choice.name for choice in space.choices),
        tuple(tuple(str(option) for option in choice.options) for choice in space.choices),
    )


def interval95(top1: float, num_images: int | None) -> tuple[float, float] | None:
    """Return the exact 95 % interval of an accuracy (Clopper and Pearson, Biometrika 1934).

    None where the number of images is not known.
    """
    if not num_images or not 0 <= top1 <= 1:
        return None
    return binomial_interval(round(top1 * num_images), num_images)


def choices_text(arch: ArchPart, length: int = 110) -> str:
    """Return the options of an architecture in order, cut to ``length`` characters."""
    text = " · ".join(str(option) for option in arch.choices.values())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def network_pairs(table: LatencyTable) -> tuple[NetworkPair, ...]:
    """Return predicted and measured latency of the table's networks.

    Left out are those of a space that cannot be loaded here, or with an operation without a row.

    Raises:
        InputError: a network of the table is none of its space.
    """
    pairs = []
    for name in dict.fromkeys(network.space for network in table.networks):
        records = [network for network in table.networks if network.space == name]
        try:
            with warnings.catch_warnings():
                # the page itself says so where a table is not calibrated
                warnings.filterwarnings("ignore", message="the table of .* is not calibrated")
                predictor = LutPredictor(load_space(name), table)
        except (InputError, MissingRowError):
            continue
        archs = [predictor.space.arch(record.arch.get("choices", {})) for record in records]
        predicted = predictor.predict_ms(predictor.space.encode(archs))
        pairs += [
            NetworkPair(record.role, record.measurement.latency_ms, float(value))
            for record, value in zip(records, predicted, strict=True)
            if not math.isnan(value)
        ]
    return tuple(pairs)
