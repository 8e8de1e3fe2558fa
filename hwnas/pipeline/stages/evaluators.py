"""What scores networks in a run: trainings, supernets, a table of accuracies, a predictor."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from hwnas.errors import InputError
from hwnas.io.journal import Journal, write_whole
from hwnas.pipeline.context import Run
from hwnas.protocols import CodeEvaluator, Evaluation, Evaluator
from hwnas.search.evaluators.halving import HalvingEvaluator, rungs
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.evaluators.scratch import ScratchEvaluator
from hwnas.search.evaluators.supernet import SupernetEvaluator
from hwnas.search.evaluators.supernet_tasks import load_supernet
from hwnas.search.evaluators.table import TableScores
from hwnas.search.predictors.fitted import load_fitted_predictor
from hwnas.search.predictors.ofa import load_ofa_predictor
from hwnas.search.problem.warm_start import KNOWN
from hwnas.search.records import evaluation_of

logger = logging.getLogger(__name__)


def search_evaluator(run: Run, journal: Journal) -> Evaluator:
    """Return what a search that asks and is told scores by; it knows what the journal holds.

    Raises:
        InputError: the weights of a supernet, the table or the predictor are missing or broken.
    """
    config = run.config.search
    if config.evaluator_file is not None:
        return file_evaluator(run)
    if config.evaluator == "supernet":
        evaluator: ScratchEvaluator | SupernetEvaluator = supernet_evaluator(
            run, range(config.supernet.copies)
        )
    elif config.halving is not None:
        epochs = rungs(config.recipe.epochs, config.halving.eta, config.halving.least_epochs)
        return HalvingEvaluator(
            run.space, partial(scratch_evaluator, run), epochs, config.halving.eta, journal
        )
    else:
        evaluator = scratch_evaluator(run)
    evaluator.recall(_known(journal))
    return evaluator


def _known(journal: Journal) -> Iterator[Evaluation]:
    found = (
        evaluation_of(record) for record in journal.records() if record.get("event") == "evaluation"
    )
    return (evaluation for evaluation in found if evaluation.error is None)


def scratch_evaluator(run: Run, epochs: int | None = None) -> ScratchEvaluator:
    """Return the evaluator that trains networks from scratch, for ``epochs`` if given."""
    recipe = run.config.search.recipe
    if epochs is not None:
        warmup = min(recipe.warmup_epochs, epochs)
        recipe = recipe.model_copy(update={"epochs": epochs, "warmup_epochs": warmup})
    return ScratchEvaluator(
        run.space,
        run.source,
        recipe.recipe(),
        seed=run.config.seed,
        torch_device=run.config.torch_device,
        workers=run.config.workers,
    )


def supernet_evaluator(run: Run, numbers: Sequence[int]) -> SupernetEvaluator:
    """Return the evaluator by some of the run's supernets."""
    return SupernetEvaluator(
        run.space,
        run.source,
        [run.folder.supernet(n) for n in numbers],
        torch_device=run.config.torch_device,
        calibration_images=run.config.search.supernet.calibration_images,
        workers=run.config.workers,
        sharings=[run.config.search.supernet.sharing_of(n) for n in numbers],
    )


def saved_evaluator(run: Run) -> Evaluator:
    """Return the evaluator of a finished run; of several budgets' supernets, the first one's.

    Raises:
        InputError: the weights of a supernet are missing or broken.
    """
    config = run.config.search
    if config.evaluator_file is not None:
        return file_evaluator(run)
    if config.evaluator == "scratch":
        return scratch_evaluator(run)
    copies = 1 if config.trains_gates else config.supernet.copies
    for number in range(copies):
        load_supernet(
            run.space,
            run.folder.supernet(number),
            run.config.torch_device,
            config.supernet.sharing_of(number),
        )
    return supernet_evaluator(run, range(copies))


def file_evaluator(run: Run) -> Evaluator:
    """Return the evaluator of a table's or predictor's file: the run folder's copy of it."""
    return PredictorEvaluator(run.space, code_evaluator(run))


def code_evaluator(run: Run) -> CodeEvaluator:
    """Return the table of accuracies or the predictor of the run.

    Raises:
        InputError: there is no such file, or it is wrong: all its problems.
        UsageError: a predictor that cannot express the space.
    """
    path = kept_file(run)
    if not path.is_file():
        raise InputError(
            f"evaluator {run.config.search.evaluator}",
            [f"{path}: there is no such file"],
            "give the path of an existing file",
        )
    if run.config.search.evaluator_kind == "table":
        return TableScores(path, run.space)
    if path.suffix == ".json":
        fitted = load_fitted_predictor(path, run.space)
        logger.info(
            f"{path.name}: fitted to {len(fitted.codes)} networks, Kendall tau "
            f"{fitted.kendall_tau:.2f} by cross-validation"
        )
        return fitted
    return load_ofa_predictor(path, run.space)


def kept_file(run: Run) -> Path:
    """Return where the run folder keeps its evaluator's file; before it does, the given file."""
    given = run.config.search.evaluator_file
    assert given is not None  # asked for only with such an evaluator
    kept = run.folder.file(f"evaluator{given.suffix}")
    return kept if kept.is_file() else given


def kept_seed_archs(run: Run) -> str | None:
    """Return what ``seed_archs`` says, a file by the run folder's copy of it once there is one."""
    given, kept = run.config.search.seed_archs, run.folder.file("seed-archs.jsonl")
    return str(kept) if given not in (None, KNOWN) and kept.is_file() else given


def keep_file(run: Run) -> None:
    """Copy the files of evaluator and ``seed_archs`` into the run folder, whole.

    So a run explains itself, and goes on where they have changed meanwhile.
    """
    seeds = kept_seed_archs(run)
    if seeds not in (None, KNOWN) and seeds == run.config.search.seed_archs:
        write_whole(run.folder.file("seed-archs.jsonl"), Path(str(seeds)).read_bytes())
    given = run.config.search.evaluator_file
    if given is None:
        return
    kept = run.folder.file(f"evaluator{given.suffix}")
    if kept.is_file():
        return
    write_whole(kept, given.read_bytes())
