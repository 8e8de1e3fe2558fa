"""The stage that measures the finalists and the baselines in the same rounds."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from hwnas.artifacts.benched import (
    AnchorPart,
    BenchFile,
    BenchRow,
    DriftPart,
    MeasurementPart,
)
from hwnas.artifacts.exported import ExportIndexFile
from hwnas.artifacts.training import RetrainedFile, TrainedNetwork
from hwnas.device.benchmark import BenchedModel, BenchResult, bench
from hwnas.device.runner import Target, open_runner
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import StorageError
from hwnas.export.bundle import file_key, file_name
from hwnas.export.convert.conversion import Conversion, FileWeights
from hwnas.export.formats import PRECISIONS, Precision
from hwnas.io.progress import report
from hwnas.latency.drift.check import anchor_networks, arch_of
from hwnas.latency.drift.conformal import ValidationSchema, append_validation
from hwnas.latency.profile.plan import network_conversion
from hwnas.ops import OpSpec
from hwnas.pipeline.context import Context
from hwnas.pipeline.stages.baselines import Baseline, scale_to_budget
from hwnas.pipeline.stages.quantised import calibration_data
from hwnas.pipeline.stages.retrain import RETRAIN_SPLITS, cross_validated, train_networks
from hwnas.protocols import Runner, Wiring
from hwnas.rng import derived_seed
from hwnas.search.result import total_cost
from hwnas.train.recipe import Recipe
from hwnas.train.task import TrainOutcome, TrainTask

logger = logging.getLogger(__name__)

MAX_SESSIONS = 3
TOLERATED_DRIFT = 0.05
PAUSE_S = 5.0


def bench_path(context: Context) -> Path:
    """Return the path of the bench file of a run's first target."""
    target = context.problem.target()
    return BenchFile.path_of(
        context.folder.path, target.device.name, target.runtime, target.precision
    )


def bench_finalists(context: Context, baselines: Sequence[str], recipe: Recipe) -> bool:
    """Measure all finalists and the baselines in the same rounds; write bench/<target>.json.

    ``baselines`` are names of known networks. They are trained by ``recipe`` where the finalists
    began with published weights, else by the finalists' recipe.
    """
    target = context.problem.target()
    retrained = context.folder.read(RetrainedFile)
    rows = retrained.finalists
    int8_val = _int8_val(context.folder.read(ExportIndexFile), target)
    budget_ms = context.problem.budgets_ms[0]

    def work() -> tuple[BenchFile, Mapping[str, float]]:
        start = time.perf_counter()
        with open_runner(target) as runner:
            scaled = _scale_baselines(context, baselines, rows[0], budget_ms, target, runner)
        scaling_s = time.perf_counter() - start
        outcomes = _train_baselines(context, scaled, retrained, recipe)
        models = _model_files(context, rows, scaled, target)
        others = _other_files(context, rows, target)
        start = time.perf_counter()
        with open_runner(target) as runner:
            every = models | {other.name: other.path for other in others}
            sessions = _sessions(context, every, target, runner)
        chosen = min(sessions, key=lambda s: abs((s.drift or 1.0) - 1.0))
        measured = {model.name: model for model in chosen.models}
        make = _Rows(context, budget_ms, measured)
        is_fine_tuned = retrained.init is not None
        listed = (
            *(make.finalist(row, int8_val.get(row.arch_id), others) for row in rows),
            *(
                make.baseline(one, outcomes[one.name].val.top1, is_fine_tuned=is_fine_tuned)
                for one in scaled
            ),
        )
        _keep_validation(context, rows, measured)
        cost = total_cost(outcome.cost for outcome in outcomes.values())
        device_s = scaling_s + time.perf_counter() - start
        content = _bench_file(target, chosen, sessions, listed)
        return content, {**cost, "device_s": round(device_s, 3)}

    done = context.folder.stage("bench", bench_path(context), work)
    for state in context.folder.fold_states():  # what they tell is in the file
        state.unlink(missing_ok=True)
    return done


def _scale_baselines(
    context: Context,
    names: Sequence[str],
    first: TrainedNetwork,
    budget_ms: float,
    target: Target,
    runner: Runner,
) -> list[Baseline]:
    report("scaling baselines", 0, len(names))
    layers = context.space.layers(context.data.arch(first.arch))
    baselines = scale_to_budget(
        names,
        budget_ms,
        input_size=layers[0].in_shape[1],  # they see what the first finalist sees
        num_classes=context.space.num_classes,
        macs=sum(op.macs for op in layers),
        target=target,
        runner=runner,
        cache=context.cache,
    )
    report("scaling baselines", len(names), len(names))
    return baselines


def _train_baselines(
    context: Context, baselines: Sequence[Baseline], retrained: RetrainedFile, own: Recipe
) -> dict[str, TrainOutcome]:
    """Train the baselines from scratch on the images that the finalists were trained on.

    By the finalists' recipe where these were trained from scratch too. Where they began with
    published weights, by ``own``: a recipe for fine-tuning does not train from scratch.
    """
    recipe = (
        Recipe(**retrained.recipe.to_json())  # type: ignore[arg-type]
        if retrained.init is None
        else own
    )
    tasks = {
        model.name: TrainTask(
            layers=model.layers,
            source=context.data.source,
            splits=RETRAIN_SPLITS,
            recipe=recipe,
            seed=derived_seed(context.execution.seed, f"retrain:{model.network_id}"),
            torch_device=context.execution.torch_device,
            weights=context.folder.weights(model.network_id),
            checkpoint=context.folder.training_state(model.network_id),
        )
        for model in baselines
    }
    outcomes = train_networks(context, tasks, "training baselines")
    folds = retrained.finalists[0].val.folds
    return cross_validated(context, tasks, outcomes, folds) if folds and tasks else outcomes


def _model_files(
    context: Context, rows: Sequence[TrainedNetwork], baselines: Sequence[Baseline], target: Target
) -> dict[str, Path]:
    """Return the trained models by name, converted where they were not exported."""
    files: dict[str, Path] = {}
    conversions: dict[str, Conversion] = {}
    name = file_name(RUNTIMES[target.runtime].format, target.precision)
    for row in rows:
        exported = context.folder.exported(row.arch_id, name)
        if exported.is_file():
            files[row.arch_id] = exported
        else:
            arch = context.data.arch(row.arch)
            conversions[row.arch_id] = _trained(
                context,
                context.space.layers(arch),
                row.network_id,
                target,
                context.space.wiring(arch),
            )
    for model in baselines:
        conversions[model.name] = _trained(context, model.layers, model.network_id, target)
    report("converting baselines", 0, 1)
    converted = context.cache.fill(list(conversions.values()))
    report("converting baselines", 1, 1)
    return files | {name: converted[conversion] for name, conversion in conversions.items()}


def _trained(
    context: Context,
    layers: Sequence[OpSpec],
    network_id: str,
    target: Target,
    wiring: Wiring | None = None,
) -> Conversion:
    weights = FileWeights.of(context.folder.weights(network_id))
    ranges = (
        calibration_data(context.data.dataset_for(layers)) if target.precision == "int8" else None
    )
    return Conversion.make(
        layers,
        weights,
        RUNTIMES[target.runtime].format,
        wiring=wiring,
        precision=target.precision,
        calibration=ranges,
    )


@dataclass(frozen=True)
class _OtherFile:
    """A finalist's exported file of another precision than the target's."""

    arch_id: str
    precision: Precision
    path: Path

    @property
    def name(self) -> str:
        """What the measurement is called."""
        return f"{self.arch_id} {self.precision}"


def _other_files(
    context: Context, rows: Sequence[TrainedNetwork], target: Target
) -> list[_OtherFile]:
    """Return the finalists' exported files of other precisions, which are measured as well."""
    model_format = RUNTIMES[target.runtime].format
    found = [
        _OtherFile(
            row.arch_id,
            precision,
            context.folder.exported(row.arch_id, file_name(model_format, precision)),
        )
        for precision in PRECISIONS
        for row in rows
        if precision != target.precision
    ]
    return [other for other in found if other.path.is_file()]


def _int8_val(exported: ExportIndexFile, target: Target) -> dict[str, float]:
    """Return the finalists' top-1 on ``val`` of the int8 file that the target's runtime takes."""
    key = file_key(RUNTIMES[target.runtime].format, "int8")
    files = {one.arch_id: one.formats[key] for one in exported.networks if key in one.formats}
    return {arch_id: file.val.top1 for arch_id, file in files.items() if file.val is not None}


def _sessions(
    context: Context, models: Mapping[str, Path], target: Target, runner: Runner
) -> list[BenchResult]:
    """Measure until the table's sentinels say the device is as it was when profiled.

    The sentinels alone decide whether a session is repeated and which one counts, never the
    models that are judged.
    """
    table, space = context.problem.tables[0], context.problem.space
    anchors: dict[str, tuple[Path, float]] = {}
    if any(n.is_sentinel and n.space == space.name for n in table.networks):
        records = anchor_networks(table, space)
        wanted = [network_conversion(space, arch_of(r), target) for r in records]
        paths = context.cache.fill(wanted)
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


def _bench_file(
    target: Target,
    chosen: BenchResult,
    sessions: Sequence[BenchResult],
    rows: tuple[BenchRow, ...],
) -> BenchFile:
    drift = None
    if chosen.drift is not None:
        drift = DriftPart(
            ratio=round(chosen.drift, 4),
            anchors={
                name: AnchorPart(recorded_ms=then, measured_ms=round(now, 6))
                for name, (then, now) in chosen.anchors.items()
            },
            sessions=tuple(round(s.drift, 4) for s in sessions if s.drift is not None),
        )
    return BenchFile(
        device=target.device.name,
        runtime=target.runtime,
        runtime_version=chosen.runtime_version,
        precision=target.precision,
        threads=target.threads,
        affinity=target.affinity,
        protocol=target.device.protocol.model_dump(),
        state_before=dict(chosen.state_before),
        state_after=dict(chosen.state_after),
        drift=drift,
        rows=rows,
    )


@dataclass(frozen=True)
class _Rows:
    """Makes the rows of a bench file from one session's measurements, by name."""

    context: Context
    budget_ms: float
    measured: Mapping[str, BenchedModel]

    def finalist(
        self, row: TrainedNetwork, int8_val: float | None, others: Sequence[_OtherFile]
    ) -> BenchRow:
        """Return the row of a finalist."""
        model, layers = (
            self.measured[row.arch_id],
            self.context.space.layers(self.context.data.arch(row.arch)),
        )
        return BenchRow(
            name=f"finalist {row.arch_id}",
            kind="finalist",
            arch_id=row.arch_id,
            network_id=row.network_id,
            predicted_ms=row.latency_ms,
            val_top1=row.val.top1,
            model=model.model.name,
            measurement=_measurement(model),
            round_medians_ms=model.round_medians_ms,
            within_budget=model.measurement.latency_ms <= self.budget_ms,
            macs=sum(op.macs for op in layers),
            params=sum(op.params for op in layers),
            note="",
            val_top1_int8=int8_val,
            other_precisions={
                other.precision: _measurement(self.measured[other.name])
                for other in others
                if other.arch_id == row.arch_id
            },
        )

    def baseline(self, one: Baseline, val_top1: float, *, is_fine_tuned: bool) -> BenchRow:
        """Return the row of a baseline; ``is_fine_tuned``: finalists began with given weights."""
        notes = [] if one.fits else ["its narrowest width is over the budget"]
        if is_fine_tuned:
            notes.append("trained from scratch, the finalists began with published weights")
        model = self.measured[one.name]
        return BenchRow(
            name=f"{one.name} x{one.width_mult:g}",
            kind="baseline",
            known=one.name,
            width_mult=one.width_mult,
            input_size=one.layers[0].in_shape[1],
            network_id=one.network_id,
            predicted_ms=None,
            val_top1=val_top1,
            model=model.model.name,
            measurement=_measurement(model),
            round_medians_ms=model.round_medians_ms,
            within_budget=model.measurement.latency_ms <= self.budget_ms,
            macs=sum(op.macs for op in one.layers),
            params=sum(op.params for op in one.layers),
            note="; ".join(notes),
        )


def _measurement(model: BenchedModel) -> MeasurementPart:
    return MeasurementPart.from_json(model.measurement.to_json())


def _keep_validation(
    context: Context, rows: Sequence[TrainedNetwork], measured: Mapping[str, BenchedModel]
) -> None:
    """Add benched finalists to the first target's table, where later searches read them."""
    given = context.problem.targets[0].table
    # a table that comes with hwnas is given by name and is not written to
    own = given is not None and Path(given).exists()
    table = Path(str(given)) if own else context.folder.table(0)
    try:
        append_validation(table, [_validation(context, row, measured[row.arch_id]) for row in rows])
    except StorageError as error:
        logger.info(f"not kept with the table: {error}")


def _validation(context: Context, row: TrainedNetwork, model: BenchedModel) -> ValidationSchema:
    """Return what a benched finalist contributes to later searches with this table."""
    return ValidationSchema(
        space=context.space.name,
        arch=row.arch.to_json(),
        predicted_ms=row.latency_ms,
        measured_ms=_measurement(model).latency_ms,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        run=context.folder.path.name,
    )
