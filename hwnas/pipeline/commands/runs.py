"""What each verb does with a run: carry out the stages that are missing, read the result."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import InputError, MissingRowError, UsageError
from hwnas.export.formats import formats_of, precision_of
from hwnas.io.journal import read_json
from hwnas.io.progress import begin_stage
from hwnas.io.schemas import parse_model
from hwnas.pipeline.config.run import RetrainConfig, RunConfig
from hwnas.pipeline.context import Run
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.opening import (
    begin,
    reopen,
    with_trained_data,
    with_training_data,
)
from hwnas.pipeline.prediction import predictor_of
from hwnas.pipeline.stages import bench as benching
from hwnas.pipeline.stages import retrain as retraining
from hwnas.pipeline.stages import search_export as stages
from hwnas.pipeline.stages import select as verdict
from hwnas.pipeline.stages.outline import stages_of
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space

if TYPE_CHECKING:
    from hwnas.report.compare import Comparison
    from hwnas.report.cross import Matrix

logger = logging.getLogger(__name__)


def search_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Search by ``config`` into the run folder ``out``; return result.json."""
    run = begin(config, out, resume=resume, benches=False)
    stages.search(run)
    result: dict[str, Any] = read_json(run.folder.file("result.json"))
    return result


def retrain_run(
    path: Path,
    *,
    top: int | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    init: Path | None = None,
    init_arch: str | None = None,
    data: str | None = None,
    data_root: Path | None = None,
) -> dict[str, Any]:
    """Train a run's finalists, from scratch or from published weights; return retrained.json.

    ``data`` are images instead of the run's own; the networks get their classes. 0 ``epochs`` leave
    published weights as they are, but for the batch norms' statistics.

    Raises:
        UsageError: there are no images, or the space has no such published weights.
        InputError: ``init`` is not a file of such weights; lists all differences.
    """
    run = reopen(path)
    changed = _retrain_options(
        run.config.retrain,
        epochs,
        lr,
        {
            "top": top,
            "data": data,
            "data_root": data_root and str(data_root),
            "init": init and str(init),
            "init_arch": init_arch,
        },
    )
    config = run.config.model_copy(update={"retrain": changed})
    run = with_training_data(Run(run.folder, config))
    _say_other_head(run)
    if not retraining.retrain(run):
        logger.info(f"{path} holds retrained.json already: nothing to do")
    found: dict[str, Any] = read_json(run.folder.file("retrained.json"))
    return found


def _retrain_options(
    config: RetrainConfig, epochs: int | None, lr: float | None, given: Mapping[str, Any]
) -> RetrainConfig:
    """Return what the run says of retraining, with the options of ``hwnas retrain`` in its place.

    Options that belong together replace their like together: images and where they lie, a file of
    weights and whose it is.
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


def _say_other_head(run: Run) -> None:
    """Say where the trained networks have other classes than those of the predictions."""
    run.require_data()
    if run.space.name != run.as_searched.space.name:
        logger.info(
            f"latencies were predicted for {run.as_searched.space.name}; what is trained, "
            f"exported and measured is {run.space.name}"
        )


def export_run(
    path: Path,
    *,
    formats: Sequence[str],
    precisions: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Export a run's trained finalists; return their model files and parity.

    ``precisions`` None: fp32, and those of the run's targets.
    """
    run = with_trained_data(reopen(path))
    changes: dict[str, Any] = {"formats": formats_of(formats)}
    if precisions is not None:
        changes["precisions"] = tuple(precision_of(name) for name in precisions)
    config = run.config.model_copy(update=changes)
    if not stages.export(Run(run.folder, config)):
        logger.info(f"{path} holds export/index.json already: nothing to do")
    index = run.folder.read("export/index.json", stages.EXPORTED)
    return {
        "models": [
            {"path": str(run.folder.file(f"export/{network['arch_id']}/{entry['file']}")), **entry}
            for network in index["networks"]
            for entry in network["formats"].values()
        ]
    }


def bench_run(path: Path) -> dict[str, Any]:
    """Measure a run's finalists and shelf models, choose the winner; return the bench file."""
    run = with_trained_data(reopen(path))
    if not benching.bench_finalists(run):
        logger.info(f"{path} holds its bench file already: nothing to measure")
    verdict.choose_winner(run)
    found: dict[str, Any] = read_json(run.folder.file(benching.bench_file(run.target(0))))
    return found


def cross_runs(paths: Sequence[Path]) -> Matrix:
    """Return the network of each run on the device of each run.

    Raises:
        UsageError: fewer than two runs, or one is no run folder.
        InputError: a run has no answer, or they cannot be compared.
    """
    from hwnas.report.cross import cross

    folders = {path: RunFolder.existing(path) for path in paths}

    def load(path: Path, name: str) -> SearchSpace:
        # a user's own space is named by its file, which the configuration holds
        if "@" not in name:
            return load_space(name)
        return Run(folders[path], folders[path].config()).space

    return cross(paths, load, lambda space, table: predictor_of(space, table).predict_arch_ms)


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Return several runs side by side; with each network on each device, where they allow it.

    Raises:
        UsageError: fewer than two runs, or one is no run folder.
        InputError: a file of a run is broken.
    """
    from hwnas.report.compare import compare  # loads matplotlib

    for path in paths:
        RunFolder.existing(path)
    try:
        matrix = cross_runs(paths)
    except (InputError, MissingRowError):  # other spaces, no answer yet, or a table without rows
        matrix = None
    return compare(paths, matrix)


def whole_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Carry out every stage that is missing; return the winner and the report's path."""
    from hwnas.report.page import write_report  # loads matplotlib

    outline = stages_of(config)
    begin_stage(outline, 0)
    run = begin(config, out, resume=resume, benches=True)
    begin_stage(outline, 1)
    stages.search(run)
    run = with_trained_data(with_training_data(run))
    _say_other_head(run)
    begin_stage(outline, 2)
    retraining.retrain(run)
    begin_stage(outline, 3)
    stages.export(run)
    begin_stage(outline, 4)
    benching.bench_finalists(run)
    begin_stage(outline, 5)
    verdict.choose_winner(run)
    begin_stage(outline, 6)
    report = write_report(run.folder.path)
    return {"winner": read_json(run.folder.file("winner.json")), "report": str(report)}
