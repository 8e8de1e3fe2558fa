"""The run's evaluator, built by the registry from what the run offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hwnas.errors import InputError
from hwnas.io.journal import Journal, write_whole
from hwnas.pipeline.context import Run
from hwnas.protocols import CodeEvaluator, Evaluation, Evaluator
from hwnas.search.evaluators.memo import Remembers
from hwnas.search.evaluators.registry import EvaluatorContext
from hwnas.search.evaluators.supernet_tasks import load_supernet
from hwnas.search.problem.warm_start import KNOWN
from hwnas.search.records import evaluation_of


def search_evaluator(run: Run, journal: Journal) -> Evaluator:
    """Return what an ask/tell search scores by; it knows the journal's evaluations.

    Raises:
        InputError: the weights of a supernet, the table or the predictor are missing or broken.
    """
    config = run.config.search
    context = evaluator_context(run, range(config.supernet.copies), journal)
    evaluator = config.evaluator.entry.evaluator(context)
    if isinstance(evaluator, Remembers):
        evaluator.recall(_known(journal))
    return evaluator


def _known(journal: Journal) -> Iterator[Evaluation]:
    found = (
        evaluation_of(record) for record in journal.records() if record.get("event") == "evaluation"
    )
    return (evaluation for evaluation in found if evaluation.error is None)


def evaluator_context(
    run: Run, supernets: Sequence[int] = (), journal: Journal | None = None
) -> EvaluatorContext:
    """Return what the run offers to its evaluator; ``supernets`` are numbers of trained ones.

    Raises:
        InputError: the evaluator's file does not exist.
    """
    config = run.config.search
    file = kept_file(run)
    if file is not None and not file.is_file():
        raise InputError(
            f"evaluator {config.evaluator}",
            [f"{file}: there is no such file"],
            "give the path of an existing file",
        )
    trains = config.evaluator.entry.trains
    return EvaluatorContext(
        run.space,
        run.config.seed,
        file=file,
        source=run.source if config.evaluator.entry.needs_images else None,
        recipe=config.recipe.recipe() if trains == "networks" else None,
        halving=config.halving,
        supernets=tuple(run.folder.supernet(n) for n in supernets if trains == "supernet"),
        sharings=tuple(config.supernet.sharing_of(n) for n in supernets if trains == "supernet"),
        calibration_images=config.supernet.calibration_images,
        torch_device=run.config.torch_device,
        workers=run.config.workers,
        journal=journal,
    )


def supernet_evaluator(run: Run, numbers: Sequence[int]) -> Evaluator:
    """Return the evaluator by some of the run's supernets."""
    return run.config.search.evaluator.entry.evaluator(evaluator_context(run, numbers))


def saved_evaluator(run: Run) -> Evaluator:
    """Return the evaluator of a finished run; of several budgets' supernets, the first one's.

    Raises:
        InputError: the weights of a supernet are missing or broken.
    """
    config = run.config.search
    if config.evaluator.entry.trains != "supernet":
        return config.evaluator.entry.evaluator(evaluator_context(run))
    copies = 1 if config.trains_gates else config.supernet.copies
    for number in range(copies):
        load_supernet(
            run.space,
            run.folder.supernet(number),
            run.config.torch_device,
            config.supernet.sharing_of(number),
        )
    return supernet_evaluator(run, range(copies))


def code_evaluator(run: Run) -> CodeEvaluator:
    """Return the run's evaluator at array speed (a table of accuracies, a predictor).

    Raises:
        InputError: there is no such file, or it is wrong: all its problems.
        UsageError: a predictor that cannot express the space.
    """
    return run.config.search.evaluator.entry.code_evaluator(evaluator_context(run))


def kept_file(run: Run) -> Path | None:
    """Return where the run folder keeps its evaluator's file; before it does, the given file.

    None where the evaluator has no file.
    """
    given = run.config.search.evaluator.file
    if given is None:
        return None
    kept = run.folder.file(f"evaluator{given.suffix}")
    return kept if kept.is_file() else given


def kept_seed_archs(run: Run) -> str | None:
    """Return what ``seed_archs`` says, a file by the run folder's copy of it once there is one."""
    given, kept = run.config.search.seed_archs, run.folder.file("seed-archs.jsonl")
    return str(kept) if given not in (None, KNOWN) and kept.is_file() else given


def keep_file(run: Run) -> None:
    """Copy the files of evaluator and ``seed_archs`` into the run folder, whole.

    The run folder then explains itself, and the run resumes where the given files have changed.
    """
    seeds = kept_seed_archs(run)
    if seeds not in (None, KNOWN) and seeds == run.config.search.seed_archs:
        write_whole(run.folder.file("seed-archs.jsonl"), Path(str(seeds)).read_bytes())
    given = run.config.search.evaluator.file
    if given is None:
        return
    kept = run.folder.file(f"evaluator{given.suffix}")
    if kept.is_file():
        return
    write_whole(kept, given.read_bytes())
