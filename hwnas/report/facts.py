"""A run folder read into frozen values: everything the report says comes from here.

A file that is not there yet is ``None`` (or empty): the section that needs it names the command
that writes it. A file that is there and broken is an error.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hwnas.arch import Arch
from hwnas.errors import InputError, MissingRowError
from hwnas.io.journal import Journal, read_json
from hwnas.io.schemas import read_yaml
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.scoped import ScopedTables, Tables, load_tables, stored
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import Objective
from hwnas.report.outcomes import Bench, BenchRow, Export, Retrained, Winner
from hwnas.report.records import (
    Env,
    EvaluationRecord,
    Finalists,
    Front,
    Limit,
    Result,
    SearchEpoch,
    StageCost,
    StageRecord,
    cleaned,
    read_record,
)
from hwnas.space.catalogue import load_space

Record = TypeVar("Record")


@dataclass(frozen=True)
class RunFacts:
    """What one run folder holds; ``config`` is plain nested data, ``config_text`` its YAML."""

    run: Path
    config_text: str
    config: Mapping[str, Any]
    evaluations: tuple[EvaluationRecord, ...]
    stages: tuple[StageRecord, ...]
    num_resumes: int
    exports: Mapping[str, Export]
    benches: tuple[Bench, ...]
    epochs: tuple[SearchEpoch, ...] = ()
    env: Env | None = None
    table: Tables | None = None
    result: Result | None = None
    finalists: Finalists | None = None
    front: Front | None = None
    retrained: Retrained | None = None
    winner: Winner | None = None

    def setting(self, *keys: str) -> Any:
        """Return the value at ``keys`` of the configuration, None where there is none."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def _told_target(self) -> Mapping[str, Any]:
        """The configuration's first target: keys ``device``, ``runtime``, ... where it has them."""
        targets = self.setting("targets")
        first = targets[0] if isinstance(targets, list) and targets else self.setting("device")
        if not isinstance(first, Mapping):
            return {"device": first}
        return {**first, "device": first.get("device", first.get("name"))}

    @property
    def target(self) -> dict[str, Any]:
        """Device, runtime, precision, threads of the run, None where no file tells them."""
        told = self._told_target
        header = self.table.header.model_dump() if self.table else {}
        found = {
            key: told[key] if told.get(key) is not None else header.get(key)
            for key in ("device", "runtime", "precision", "threads")
        }
        version = self.bench.runtime_version if self.bench else header.get("runtime_version")
        return {**found, "runtime_version": version}

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """Every latency budget the run searched under, increasing."""
        found: set[float] = set()
        if self.result:
            found = {
                limit.max
                for answer in self.result.answers
                for limit in answer.limits
                if limit.metric == "latency_ms"
            }
        told = self._told_target.get("budget_ms", self.setting("budget_ms"))
        asked = told if isinstance(told, list) else [told]
        found = found or {float(b) for b in asked if isinstance(b, (int, float))}
        return tuple(sorted(found or ({self.winner.budget_ms} if self.winner else set())))

    @property
    def bench(self) -> Bench | None:
        """The session of the run's own device, runtime and precision; else the first one."""
        told = self._told_target

        def mismatches(bench: Bench) -> int:
            return sum(
                told.get(key) not in (None, getattr(bench, key))
                for key in ("device", "runtime", "precision")
            )

        return min(self.benches, key=mismatches, default=None)

    def measured(self, arch_id: str) -> BenchRow | None:
        """Return the row of an architecture in :attr:`bench`, if it was measured."""
        rows = self.bench.rows if self.bench else ()
        return next((row for row in rows if row.arch_id == arch_id), None)


def top1(objectives: Mapping[str, Objective]) -> tuple[float, str] | None:
    """Return (top-1 as a fraction, its source), or None if there is no such objective."""
    found = objectives.get("top1")
    if found is None:
        return None
    return (found.value / 100 if found.unit in ("%", "percent") else found.value), found.source


def limits_text(limits: tuple[Limit, ...]) -> str:
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
            "give the folder that 'hwnas run' or 'hwnas search --out' wrote",
        )
    config_path, records = run / "config.yaml", Journal(run / "journal.jsonl").records()
    table_path = stored(run, "table")
    config = read_yaml(config_path) if config_path.exists() else {}
    facts = RunFacts(
        run=run,
        config_text=config_path.read_text() if config_path.exists() else "",
        config=cleaned(config) if isinstance(config, Mapping) else {},
        evaluations=_events(records, "evaluation", EvaluationRecord, run),
        stages=_events(records, "stage", StageRecord, run),
        epochs=_events(records, "supernet_epoch", SearchEpoch, run),
        num_resumes=sum(record.get("event") == "resume" for record in records),
        exports={
            path.parent.name: read_record(Export, read_json(path), str(path))
            for path in sorted(run.glob("export/*/export.json"))
        },
        benches=tuple(
            read_record(Bench, read_json(path), str(path))
            for path in sorted(run.glob("bench/*.json"))
        ),
        env=_optional(run / "env.json", Env),
        table=load_tables(table_path) if table_path.exists() else None,
        result=_optional(run / "result.json", Result),
        finalists=_optional(run / "finalists.json", Finalists),
        front=_optional(run / "front.json", Front),
        retrained=_optional(run / "retrained.json", Retrained),
        winner=_optional(run / "winner.json", Winner),
    )
    if not (facts.config or records or facts.table or facts.result):
        raise InputError(
            str(run),
            ["holds no file of a run (config.yaml, journal.jsonl, ...)"],
            "give the folder that 'hwnas run' or 'hwnas search --out' wrote",
        )
    return facts


def _optional(path: Path, kind: type[Record]) -> Record | None:
    return read_record(kind, read_json(path), str(path)) if path.exists() else None


def _events(
    records: list[dict[str, Any]], event: str, kind: type[Record], run: Path
) -> tuple[Record, ...]:
    found = [record for record in records if record.get("event") == event]
    return read_record(tuple[kind, ...], found, f"{run / 'journal.jsonl'}, {event}")  # type: ignore[valid-type]


@dataclass(frozen=True)
class Ledger:
    """The cost of one stage over all the times it ran (a resumed stage runs again)."""

    stage: str
    num_times: int
    wall_s: float
    cost: StageCost


def ledger(stages: tuple[StageRecord, ...]) -> tuple[Ledger, ...]:
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


def total_cost(costs: list[StageCost]) -> StageCost:
    """Return the sum of each count; a count that no cost tells stays absent."""

    def total(values: list[float | None]) -> float | None:
        told = [value for value in values if value is not None]
        return sum(told) if told else None

    return StageCost(
        images_trained=total([cost.images_trained for cost in costs]),
        macs_images=total([cost.macs_images for cost in costs]),
        core_s=total([cost.core_s for cost in costs]),
        device_s=total([cost.device_s for cost in costs]),
    )


@dataclass(frozen=True)
class Slot:
    """A place of the winner's network, in order of execution.

    ``option`` is the choice made there (``layer2 = mb3_k5``; empty where nothing was chosen),
    ``op`` the operation executed (None: the layer was skipped), ``table_ms`` its table row's time.
    """

    option: str
    op: OpSpec | None
    table_ms: float | None = None


def winner_slots(winner: Winner, tables: Tables | None) -> tuple[Slot, ...]:
    """Return the winner's places; skipped ones are known if its space can be loaded here.

    Raises:
        InputError: ``winner.json`` names an operation hwnas does not know.
    """
    choices = winner.arch.get("choices")
    table = tables
    if isinstance(tables, ScopedTables):
        table = tables.of(choices if isinstance(choices, Mapping) else {})
    rows = table.entries if isinstance(table, LatencyTable) else {}
    try:
        ops = [OpSpec.from_json(layer) for layer in winner.layers]
    except (TypeError, ValueError) as error:
        raise InputError("winner.json, layers", [str(error)]) from error
    places = _places(winner)
    if [op for _, op in places if op is not None] != ops:
        places = [("", op) for op in ops]
    return tuple(
        Slot(option, op, rows[op].latency_ms if op is not None and op in rows else None)
        for option, op in places
    )


def _places(winner: Winner) -> list[tuple[str, OpSpec | None]]:
    """Walk the factors of the winner's space; empty if the space is not known here.

    Of a network that is not a chain only the executed parts are places.
    """
    try:
        space = load_space(str(winner.arch.get("space")))
        choices = winner.arch.get("choices")
        arch: Arch = space.arch(choices if isinstance(choices, Mapping) else {})
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


@dataclass(frozen=True)
class NetworkPair:
    """A network timed with the table; ``role`` is sentinel, calibrate or validate."""

    role: str
    measured_ms: float
    predicted_ms: float


def network_pairs(table: Tables) -> tuple[NetworkPair, ...]:
    """Return predicted beside measured latency of the table's networks.

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
