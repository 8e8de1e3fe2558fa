"""What each verb does with a run: carry out the stages that are missing, read the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwnas.export.formats import formats_of, precision_of
from hwnas.files import parse_model
from hwnas.interfaces import SearchSpace
from hwnas.journal import read_json
from hwnas.latency.visits import Progress, no_progress
from hwnas.pipeline import benching, retraining, stages, verdict
from hwnas.pipeline.config import RunConfig
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.opening import Say, begin, on_data, reopen, silent
from hwnas.pipeline.prediction import predictor_of
from hwnas.pipeline.published import Init
from hwnas.pipeline.setup import Run
from hwnas.report.cross import Matrix, cross
from hwnas.report.page import write_report
from hwnas.space.catalogue import load_space
from hwnas.train.recipe import RecipeModel


def search_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
    say: Say = silent,
) -> dict[str, Any]:
    """Search by ``config`` into the run folder ``out``; return result.json."""
    run = begin(config, out, resume=resume, benches=False, progress=progress, say=say)
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
    progress: Progress = no_progress,
    say: Say = silent,
) -> dict[str, Any]:
    """Train a run's finalists, from scratch or from published weights; return retrained.json.

    ``data`` are images instead of the run's own; the networks get their classes. 0 ``epochs`` leave
    published weights as they are, but for the batch norms' statistics.

    Raises:
        UsageError: there are no images, or the space has no such published weights.
        InputError: ``init`` is not a file of such weights; lists all differences.
    """
    run = reopen(path, progress=progress, say=say)
    changes = {name: value for name, value in (("epochs", epochs or None), ("lr", lr))
               if value is not None}
    config = run.config
    if changes:
        given = config.retrain.recipe.model_dump() | changes
        if "warmup_epochs" not in changes:
            given["warmup_epochs"] = min(given["warmup_epochs"], given["epochs"])
        recipe = parse_model(RecipeModel, given, what="options of hwnas retrain")
        retrain = config.retrain.model_copy(update={"recipe": recipe})
        config = config.model_copy(update={"retrain": retrain})
    if data is not None:
        config = on_data(config, data, str(data_root) if data_root else None)
    run = Run(run.folder, config, progress, say)
    run.require_data()
    if run.space.name != run.as_searched.space.name:
        say(f"latencies were predicted for {run.as_searched.space.name}; what is trained, exported "
            f"and measured is {run.space.name}")
    given_init = None if init is None else Init(init, init_arch)
    if not retraining.retrain(run, top, given_init, only_calibrate=epochs == 0):
        say(f"{path} holds retrained.json already: nothing to do")
    found: dict[str, Any] = read_json(run.folder.file("retrained.json"))
    return found


def export_run(
    path: Path,
    *,
    formats: Sequence[str],
    precisions: Sequence[str] | None = None,
    progress: Progress = no_progress,
    say: Say = silent,
) -> dict[str, Any]:
    """Export a run's trained finalists; return their model files and parity.

    ``precisions`` None: fp32, and those of the run's targets.
    """
    run = reopen(path, progress=progress, say=say, trained=True)
    changes: dict[str, Any] = {"formats": formats_of(formats)}
    if precisions is not None:
        changes["precisions"] = tuple(precision_of(name) for name in precisions)
    config = run.config.model_copy(update=changes)
    if not stages.export(Run(run.folder, config, progress, say)):
        say(f"{path} holds export/index.json already: nothing to do")
    index = run.folder.read("export/index.json", stages.EXPORTED)
    return {"models": [
        {"path": str(run.folder.file(f"export/{network['arch_id']}/{entry['file']}")), **entry}
        for network in index["networks"] for entry in network["formats"].values()
    ]}


def bench_run(
    path: Path, *, progress: Progress = no_progress, say: Say = silent
) -> dict[str, Any]:
    """Measure a run's finalists and shelf models, choose the winner; return the bench file."""
    run = reopen(path, progress=progress, say=say, trained=True)
    if not benching.bench_finalists(run):
        say(f"{path} holds its bench file already: nothing to measure")
    verdict.choose_winner(run)
    found: dict[str, Any] = read_json(run.folder.file(benching.bench_file(run.target(0))))
    return found


def cross_runs(paths: Sequence[Path], *, say: Say = silent) -> Matrix:
    """Return the network of each run on the device of each run.

    Raises:
        UsageError: fewer than two runs, or one is no run folder.
        InputError: a run has no answer, or they cannot be compared.
    """
    folders = {path: RunFolder.existing(path) for path in paths}

    def load(path: Path, name: str) -> SearchSpace:
        # a user's own space is named by its file, which the configuration holds
        if "@" not in name:
            return load_space(name)
        return Run(folders[path], folders[path].config(), no_progress, say).space

    return cross(paths, load, lambda space, table: predictor_of(space, table, say).predict_arch_ms)


def whole_run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = no_progress,
    say: Say = silent,
) -> dict[str, Any]:
    """Carry out every stage that is missing; return the winner and the report's path."""
    run = begin(config, out, resume=resume, benches=True, progress=progress, say=say)
    stages.search(run)
    retraining.retrain(run)
    stages.export(run)
    benching.bench_finalists(run)
    verdict.choose_winner(run)
    report = write_report(run.folder.path)
    return {"winner": read_json(run.folder.file("winner.json")), "report": str(report)}

