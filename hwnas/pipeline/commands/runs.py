"""What each verb does with a run: carry out the stages that are missing, read the result."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.artifacts.answers import ExportedModel, ExportedModels, RunAnswer
from hwnas.artifacts.benched import BenchFile
from hwnas.artifacts.exported import ExportIndexFile
from hwnas.artifacts.search import ResultFile
from hwnas.artifacts.training import RetrainedFile
from hwnas.artifacts.winner import WinnerFile
from hwnas.errors import InputError, MissingRowError, UsageError
from hwnas.export.formats import formats_of, precision_of
from hwnas.io.lock import writes
from hwnas.io.progress import begin_stage
from hwnas.io.schemas import parse_model
from hwnas.pipeline.config.run import RetrainConfig, RunConfig
from hwnas.pipeline.config.search import SearchConfig
from hwnas.pipeline.context import Context, build_context
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.opening import (
    begin,
    reopen,
    with_trained_data,
    with_training_data,
)
from hwnas.pipeline.prediction import predictor_of
from hwnas.pipeline.stages.outline import stages_of
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space

if TYPE_CHECKING:
    from hwnas.report.compare import Comparison
    from hwnas.report.cross import Matrix

logger = logging.getLogger(__name__)


@writes
def search_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
) -> ResultFile:
    """Search by ``config`` into the run folder ``out``; return result.json."""
    context = begin(config, out, resume=resume, benches=False)
    _search(context, config)
    return ResultFile.load(out)


def _search(context: Context, config: RunConfig) -> None:
    from hwnas.pipeline.stages.search.results import search  # loads torch, as all stages do

    retrain = config.retrain
    search(context, config.search, top=retrain.top, random_baseline=retrain.random_baseline)


@writes
def retrain_run(
    path: Path,
    *,
    top: int | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    folds: int | None = None,
    init: Path | None = None,
    init_arch: str | None = None,
    data: str | None = None,
    data_root: Path | None = None,
) -> RetrainedFile:
    """Train a run's finalists, from scratch or from published weights; return retrained.json.

    ``data`` are images instead of the run's own; the networks get their classes. 0 ``epochs`` leave
    published weights as they are, but for the batch norms' statistics.

    Raises:
        UsageError: there are no images, or the space has no such published weights.
        InputError: ``init`` is not a file of such weights; lists all differences.
    """
    context, config = reopen(path)
    settings = _retrain_options(
        config.retrain,
        epochs,
        lr,
        {
            "top": top,
            "folds": folds,
            "data": data,
            "data_root": data_root and str(data_root),
            "init": init and str(init),
            "init_arch": init_arch,
        },
    )
    if not _retrain(with_training_data(context, settings), settings, config.search):
        logger.info(f"{path} holds retrained.json already: nothing to do")
    return RetrainedFile.load(path)


def _retrain(context: Context, settings: RetrainConfig, searched: SearchConfig) -> bool:
    """Train the finalists of a search; report where they have other classes than in the search."""
    from hwnas.pipeline.stages.retrain import retrain

    context.data.require()
    if context.space.name != context.problem.space.name:
        logger.info(
            f"latencies were predicted for {context.problem.space.name}; what is trained, "
            f"exported and measured is {context.space.name}"
        )
    return retrain(
        context,
        settings,
        every_budget=not searched.trains_gates,
        calibration_images=searched.supernet.calibration_images,
    )


def _retrain_options(
    config: RetrainConfig, epochs: int | None, lr: float | None, given: Mapping[str, object]
) -> RetrainConfig:
    """Return the run's settings of retraining with the options of ``hwnas retrain``.

    Options that belong together are replaced together: images and their folder, a file of weights
    and the model it is of.
    """
    changes = {name: value for name, value in given.items() if value is not None}
    for first, second in (("data", "data_root"), ("init", "init_arch")):
        if first in changes:
            changes.setdefault(second, None)
    recipe = config.recipe.model_dump()
    if epochs:
        recipe |= {"epochs": epochs, "warmup_epochs": min(recipe["warmup_epochs"], epochs)}
    if lr is not None:
        recipe["lr"] = lr
    if epochs is not None:
        changes["train"] = epochs > 0
    if epochs == 0 and changes.get("init", config.init) is None:
        raise UsageError(
            "--epochs 0 leaves weights as they are, and random ones are of no use. "
            "Next: give published weights with --init, or train for 1 epoch or more"
        )
    return parse_model(
        RetrainConfig,
        {**config.model_dump(), **changes, "recipe": recipe},
        what="options of hwnas retrain",
    )


@writes
def export_run(
    path: Path,
    *,
    formats: Sequence[str],
    precisions: Sequence[str] | None = None,
) -> ExportedModels:
    """Export a run's trained finalists; return their model files and parity.

    ``precisions`` None: fp32, and those of the run's targets.
    """
    context, config = reopen(path)
    wanted = (
        config.exported_precisions
        if precisions is None
        else tuple(precision_of(name) for name in precisions)
    )
    from hwnas.pipeline.stages.export import export

    context = with_trained_data(context)
    if not export(context, formats=formats_of(formats), precisions=wanted):
        logger.info(f"{path} holds export/index.json already: nothing to do")
    index = context.folder.read(ExportIndexFile)
    return ExportedModels(
        tuple(
            ExportedModel(str(context.folder.exported(network.arch_id, entry.file)), entry)
            for network in index.networks
            for entry in network.formats.values()
        )
    )


@writes
def bench_run(path: Path) -> BenchFile:
    """Measure a run's finalists and baselines, select the winner; return the bench file."""
    context, config = reopen(path)
    from hwnas.pipeline.stages.bench import bench_path
    from hwnas.pipeline.stages.handover import hand_over
    from hwnas.pipeline.stages.select import select_winner

    context = with_trained_data(context)
    if not _bench(context, config):
        logger.info(f"{path} holds its bench file already: nothing to measure")
    select_winner(context)
    hand_over(context)
    return context.folder.read_at(BenchFile, bench_path(context))


def _bench(context: Context, config: RunConfig) -> bool:
    from hwnas.pipeline.stages.bench import bench_finalists

    return bench_finalists(context, config.bench.baselines, config.retrain.recipe.recipe())


def cross_runs(paths: Sequence[Path]) -> Matrix:
    """Return the network of each run on the device of each run.

    Raises:
        UsageError: fewer than two runs, or one is no run folder.
        InputError: a run has no answer, or they cannot be compared.
    """
    folders = {path: RunFolder.existing(path) for path in paths}
    from hwnas.report.cross import cross

    def load(path: Path, name: str) -> SearchSpace:
        # a user's own space is named by its file, which the configuration holds
        if "@" not in name:
            return load_space(name)
        return build_context(folders[path], folders[path].config()).space

    return cross(paths, load, lambda space, table: predictor_of(space, table).predict_arch_ms)


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Return several runs side by side; with each network on each device, where they allow it.

    Raises:
        UsageError: fewer than two runs, or one is no run folder.
        InputError: a file of a run is broken.
    """
    for path in paths:
        RunFolder.existing(path)
    from hwnas.report.compare import compare  # loads matplotlib

    try:
        matrix = cross_runs(paths)
    except (InputError, MissingRowError):  # other spaces, no answer yet, or a table without rows
        matrix = None
    return compare(paths, matrix)


@writes
def whole_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
) -> RunAnswer:
    """Carry out every stage that is missing; return the winner and the report's path."""
    outline = stages_of(config)
    begin_stage(outline, 0)
    context = begin(config, out, resume=resume, benches=True)
    # loaded after the checks of ``begin``, so that their errors come at once
    from hwnas.pipeline.stages.export import export
    from hwnas.pipeline.stages.handover import hand_over
    from hwnas.pipeline.stages.select import select_winner
    from hwnas.report.page import write_report

    begin_stage(outline, 1)
    _search(context, config)
    context = with_trained_data(with_training_data(context, config.retrain))
    begin_stage(outline, 2)
    _retrain(context, config.retrain, config.search)
    begin_stage(outline, 3)
    export(context, formats=config.formats, precisions=config.exported_precisions)
    begin_stage(outline, 4)
    _bench(context, config)
    begin_stage(outline, 5)
    select_winner(context)
    hand_over(context)
    begin_stage(outline, 6)
    report = write_report(out)
    return RunAnswer(WinnerFile.load(out), str(report))
