"""The stage that measures the finalists beside the shelf, in the same rounds."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hwnas.device.benchmark import BenchedModel, BenchResult, bench
from hwnas.device.runner import Target, open_runner
from hwnas.device.runtimes import RUNTIMES
from hwnas.export.bundle import file_key, file_name
from hwnas.export.convert.conversion import Conversion, FileWeights
from hwnas.export.formats import PRECISIONS
from hwnas.io.progress import report
from hwnas.latency.drift.check import anchor_networks, arch_of
from hwnas.latency.drift.conformal import ValidationSchema
from hwnas.latency.profile.plan import network_conversion
from hwnas.ops import OpSpec
from hwnas.pipeline.context import Run
from hwnas.pipeline.folder import checked_id
from hwnas.pipeline.stages.baselines import Baseline, scale_to_budget
from hwnas.pipeline.stages.quantised import calibration_data
from hwnas.pipeline.stages.retrain import RETRAIN_SPLITS, train_networks
from hwnas.pipeline.stages.search_export import EXPORTED, RETRAINED, Content
from hwnas.protocols import Runner, Wiring
from hwnas.rng import derived_seed
from hwnas.search.result import total_cost
from hwnas.train.recipe import Recipe
from hwnas.train.task import TrainOutcome, TrainTask

logger = logging.getLogger(__name__)

MAX_SESSIONS = 3
TOLERATED_DRIFT = 0.05
PAUSE_S = 5.0


def bench_file(target: Target) -> str:
    """Return the name of a target's bench file in a run folder."""
    return f"bench/{target.device.name}-{target.runtime}-{target.precision}.json"


def bench_finalists(run: Run) -> bool:
    """Measure all finalists and the shelf in the same rounds; write bench/<target>.json."""
    target = run.target(0)
    retrained = run.folder.read("retrained.json", RETRAINED)
    rows = retrained["finalists"]
    exported = run.folder.read("export/index.json", EXPORTED)["networks"]
    int8_val = _int8_val(exported, target)
    budget_ms = run.budgets_ms[0]

    def work() -> Content:
        start = time.perf_counter()
        with open_runner(target) as runner:
            shelf = _scale_shelf(run, rows[0], budget_ms, target, runner)
        scaling_s = time.perf_counter() - start
        outcomes = _train_shelf(run, shelf, retrained)
        models = _model_files(run, rows, shelf, target)
        beside = _other_files(run, rows, target)
        start = time.perf_counter()
        with open_runner(target) as runner:
            sessions = _sessions(run, models | beside, target, runner)
        chosen = min(sessions, key=lambda s: abs((s.drift or 1.0) - 1.0))
        measured = {model.name: model for model in chosen.models}
        content = _bench_json(target, chosen, sessions)
        content["rows"] = [
            {
                **_finalist_row(run, row, measured[row["arch_id"]], budget_ms),
                "val_top1_int8": int8_val.get(row["arch_id"]),
                "also": _also(row["arch_id"], measured),
            }
            for row in rows
        ] + [
            _shelf_row(m, measured[m.name], budget_ms, outcomes[m.name], retrained.get("init"))
            for m in shelf
        ]
        run.keep_validation([_validation(run, row, measured[row["arch_id"]]) for row in rows])
        cost = total_cost([{"cost": outcome.cost} for outcome in outcomes.values()])
        device_s = scaling_s + time.perf_counter() - start
        return content, {**cost, "device_s": round(device_s, 3)}

    return run.folder.stage("bench", bench_file(target), work)


def _scale_shelf(
    run: Run, first: Mapping[str, Any], budget_ms: float, target: Target, runner: Runner
) -> list[Baseline]:
    names = run.config.bench.shelf
    report("scaling shelf models", 0, len(names))
    layers = run.space.layers(run.arch(first["arch"]))
    shelf = scale_to_budget(
        names,
        budget_ms,
        input_size=layers[0].in_shape[1],  # they see what the first finalist sees
        num_classes=run.space.num_classes,
        macs=sum(op.macs for op in layers),
        target=target,
        runner=runner,
        cache=run.cache,
    )
    report("scaling shelf models", len(names), len(names))
    return shelf


def _train_shelf(
    run: Run, shelf: Sequence[Baseline], retrained: Mapping[str, Any]
) -> dict[str, TrainOutcome]:
    """Train the shelf models from scratch on the images the finalists were trained on.

    By the same recipe where these began from scratch, too; where they began with published weights
    by the run's own, since a recipe to fine-tune by is none to begin from scratch by.
    """
    own = run.config.retrain.recipe.model_dump()
    recipe = own if retrained.get("init") else retrained["recipe"]
    tasks = {
        model.name: TrainTask(
            layers=model.layers,
            source=run.source,
            splits=RETRAIN_SPLITS,
            recipe=Recipe(**recipe),
            seed=derived_seed(run.config.seed, f"retrain:{model.network_id}"),
            torch_device=run.config.torch_device,
            weights=run.folder.weights(model.network_id),
            checkpoint=run.folder.training_state(model.network_id),
        )
        for model in shelf
    }
    return train_networks(run, tasks, "training shelf models")


def _model_files(
    run: Run, rows: Sequence[Mapping[str, Any]], shelf: Sequence[Baseline], target: Target
) -> dict[str, Path]:
    """Return the trained models by name, converted where they were not exported."""
    model_format = RUNTIMES[target.runtime].format
    files: dict[str, Path] = {}
    conversions: dict[str, Conversion] = {}
    for row in rows:
        exported = run.folder.file(
            f"export/{checked_id(row['arch_id'])}/{file_name(model_format, target.precision)}"
        )
        if exported.is_file():
            files[row["arch_id"]] = exported
        else:
            arch = run.arch(row["arch"])
            conversions[row["arch_id"]] = _trained(
                run, run.space.layers(arch), row["network_id"], target, run.space.wiring(arch)
            )
    for model in shelf:
        conversions[model.name] = _trained(run, model.layers, model.network_id, target)
    report("converting shelf models", 0, 1)
    converted = run.cache.fill(list(conversions.values()))
    report("converting shelf models", 1, 1)
    return files | {name: converted[conversion] for name, conversion in conversions.items()}


def _trained(
    run: Run,
    layers: Sequence[OpSpec],
    network_id: str,
    target: Target,
    wiring: Wiring | None = None,
) -> Conversion:
    weights = FileWeights.of(run.folder.weights(network_id))
    ranges = calibration_data(run.dataset_for(layers)) if target.precision == "int8" else None
    return Conversion.make(
        layers,
        weights,
        RUNTIMES[target.runtime].format,
        wiring=wiring,
        precision=target.precision,
        calibration=ranges,
    )


def _other_files(run: Run, rows: Sequence[Mapping[str, Any]], target: Target) -> dict[str, Path]:
    """Return the finalists' exported files of other precisions, measured beside: by their names."""
    model_format = RUNTIMES[target.runtime].format
    found = {}
    for precision in PRECISIONS:
        for row in rows if precision != target.precision else ():
            path = run.folder.file(
                f"export/{checked_id(row['arch_id'])}/{file_name(model_format, precision)}"
            )
            if path.is_file():
                found[f"{row['arch_id']} {precision}"] = path
    return found


def _also(arch_id: str, measured: Mapping[str, BenchedModel]) -> dict[str, Any]:
    """Return the measurements of a finalist's files of other precisions, by precision."""
    return {
        name.removeprefix(f"{arch_id} "): model.measurement.to_json()
        for name, model in measured.items()
        if name.startswith(f"{arch_id} ")
    }


def _int8_val(exported: Sequence[Mapping[str, Any]], target: Target) -> dict[str, float]:
    """Return the finalists' top-1 on ``val`` of the int8 file that the target's runtime takes."""
    key = file_key(RUNTIMES[target.runtime].format, "int8")
    return {
        network["arch_id"]: network["formats"][key]["val"]["top1"]
        for network in exported
        if key in network["formats"]
    }


def _sessions(
    run: Run, models: Mapping[str, Path], target: Target, runner: Runner
) -> list[BenchResult]:
    """Measure until the table's sentinels say the device is as it was when profiled.

    The sentinels alone decide whether a session is repeated and which one counts, never the
    models that are judged.
    """
    table, space = run.tables[0], run.as_searched.space
    anchors: dict[str, tuple[Path, float]] = {}
    if any(n.is_sentinel and n.space == space.name for n in table.networks):
        records = anchor_networks(table, space)
        wanted = [network_conversion(space, arch_of(r), target) for r in records]
        paths = run.cache.fill(wanted)
        anchors = {
            arch_of(record).arch_id: (paths[conversion], record.measurement.latency_ms)
            for record, conversion in zip(records, wanted, strict=True)
        }
    sessions: list[BenchResult] = []
    while True:
        sessions.append(bench(models, target, runner, anchors=anchors))
        if sessions[-1].disturbance:
            logger.warning(sessions[-1].disturbance)
        drift = sessions[-1].drift
        if drift is None or abs(drift - 1) <= TOLERATED_DRIFT or len(sessions) == MAX_SESSIONS:
            return sessions
        logger.info(
            f"the device is at x{drift:.3f} of its latencies when profiled (by the table's "
            "sentinels): measuring again"
        )
        time.sleep(PAUSE_S)


def _bench_json(
    target: Target, chosen: BenchResult, sessions: Sequence[BenchResult]
) -> dict[str, Any]:
    drift = None
    if chosen.drift is not None:
        drift = {
            "ratio": round(chosen.drift, 4),
            "sentinels": {
                name: {"recorded_ms": then, "measured_ms": round(now, 6)}
                for name, (then, now) in chosen.anchors.items()
            },
            "sessions": [round(s.drift, 4) for s in sessions if s.drift is not None],
        }
    return {
        "schema": 1,
        "device": target.device.name,
        "runtime": target.runtime,
        "runtime_version": chosen.runtime_version,
        "precision": target.precision,
        "threads": target.threads,
        "affinity": target.affinity,
        "protocol": target.device.protocol.model_dump(),
        "state_before": dict(chosen.state_before),
        "state_after": dict(chosen.state_after),
        "drift": drift,
    }


def _finalist_row(
    run: Run, row: Mapping[str, Any], model: BenchedModel, budget_ms: float
) -> dict[str, Any]:
    layers = run.space.layers(run.arch(row["arch"]))
    return {
        "name": f"finalist {row['arch_id']}",
        "kind": "finalist",
        "arch_id": row["arch_id"],
        "network_id": row["network_id"],
        "predicted_ms": row["latency_ms"],
        "val_top1": row["val"]["top1"],
        **_measured_part(model, layers, budget_ms),
        "note": "",
    }


def _validation(run: Run, row: Mapping[str, Any], model: BenchedModel) -> ValidationSchema:
    """Return what a benched finalist tells later searches with this table."""
    return ValidationSchema(
        space=run.space.name,
        arch=row["arch"],
        predicted_ms=row["latency_ms"],
        measured_ms=model.measurement.to_json()["latency_ms"],
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        run=run.folder.path.name,
    )


def _shelf_row(
    shelf: Baseline,
    model: BenchedModel,
    budget_ms: float,
    outcome: TrainOutcome,
    init: Mapping[str, Any] | None,
) -> dict[str, Any]:
    notes = [] if shelf.fits else ["its narrowest width is over the budget"]
    if init:
        notes.append("trained from scratch, the finalists began with published weights")
    return {
        "name": f"{shelf.name} x{shelf.width_mult:g}",
        "kind": "shelf",
        "known": shelf.name,
        "width_mult": shelf.width_mult,
        "input_size": shelf.layers[0].in_shape[1],
        "network_id": shelf.network_id,
        "predicted_ms": None,
        "val_top1": outcome.val.top1,
        **_measured_part(model, shelf.layers, budget_ms),
        "note": "; ".join(notes),
    }


def _measured_part(
    model: BenchedModel, layers: Sequence[OpSpec], budget_ms: float
) -> dict[str, Any]:
    return {
        "model": model.model.name,
        "measurement": model.measurement.to_json(),
        "round_medians_ms": list(model.round_medians_ms),
        "within_budget": model.measurement.latency_ms <= budget_ms,
        "macs": sum(op.macs for op in layers),
        "params": sum(op.params for op in layers),
    }
