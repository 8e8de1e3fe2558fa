"""The run's evaluator, built by the registry from what the run offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hwnas.artifacts.events import EvaluationEvent, read_events
from hwnas.errors import InputError
from hwnas.io.journal import Journal, write_whole
from hwnas.pipeline.config.search import SearchConfig
from hwnas.pipeline.context import Context
from hwnas.pipeline.folder import RunFolder
from hwnas.protocols import CodeEvaluator, Evaluation, Evaluator
from hwnas.search.evaluators.memo import Remembers
from hwnas.search.evaluators.registry import EvaluatorContext
from hwnas.search.evaluators.supernet_tasks import load_supernet
from hwnas.search.problem.warm_start import KNOWN


def search_evaluator(context: Context, settings: SearchConfig, journal: Journal) -> Evaluator:
    """Return what an ask/tell search scores by; it knows the journal's evaluations.

    Raises:
        InputError: the weights of a supernet, the table or the predictor are missing or broken.
    """
    offered = evaluator_context(context, settings, range(settings.supernet.copies), journal)
    evaluator = settings.evaluator.entry.evaluator(offered)
    if isinstance(evaluator, Remembers):
        evaluator.recall(_known(journal))
    return evaluator


def _known(journal: Journal) -> Iterator[Evaluation]:
    recorded = read_events(journal.records(), EvaluationEvent, journal.path)
    return (event.evaluation for event in recorded if event.error is None)


def evaluator_context(
    context: Context,
    settings: SearchConfig,
    supernets: Sequence[int] = (),
    journal: Journal | None = None,
) -> EvaluatorContext:
    """Return what the run offers to its evaluator; ``supernets`` are numbers of trained ones.

    Raises:
        InputError: the evaluator's file does not exist.
    """
    file = kept_file(context.folder, settings)
    if file is not None and not file.is_file():
        raise InputError(
            f"evaluator {settings.evaluator}",
            [f"{file}: there is no such file"],
            "give the path of an existing file",
        )
    trains = settings.evaluator.entry.trains
    return EvaluatorContext(
        context.space,
        context.execution.seed,
        file=file,
        source=context.data.source if settings.evaluator.entry.needs_images else None,
        recipe=settings.recipe.recipe() if trains == "networks" else None,
        halving=settings.halving,
        supernets=tuple(context.folder.supernet(n) for n in supernets if trains == "supernet"),
        sharings=tuple(settings.supernet.sharing_of(n) for n in supernets if trains == "supernet"),
        calibration_images=settings.supernet.calibration_images,
        torch_device=context.execution.torch_device,
        workers=context.execution.workers,
        journal=journal,
    )


def supernet_evaluator(
    context: Context, settings: SearchConfig, numbers: Sequence[int]
) -> Evaluator:
    """Return the evaluator by some of the run's supernets."""
    return settings.evaluator.entry.evaluator(evaluator_context(context, settings, numbers))


def saved_evaluator(context: Context, settings: SearchConfig) -> Evaluator:
    """Return the evaluator of a finished run; of several budgets' supernets, the first one's.

    Raises:
        InputError: the weights of a supernet are missing or broken.
    """
    if settings.evaluator.entry.trains != "supernet":
        return settings.evaluator.entry.evaluator(evaluator_context(context, settings))
    copies = 1 if settings.trains_gates else settings.supernet.copies
    for number in range(copies):
        load_supernet(
            context.space,
            context.folder.supernet(number),
            context.execution.torch_device,
            settings.supernet.sharing_of(number),
        )
    return supernet_evaluator(context, settings, range(copies))


def code_evaluator(context: Context, settings: SearchConfig) -> CodeEvaluator:
    """Return the run's evaluator at array speed (a table of accuracies, a predictor).

    Raises:
        InputError: there is no such file, or it is wrong: all its problems.
        UsageError: a predictor that cannot express the space.
    """
    return settings.evaluator.entry.code_evaluator(evaluator_context(context, settings))


def kept_file(folder: RunFolder, settings: SearchConfig) -> Path | None:
    """Return where the run folder keeps its evaluator's file; before it does, the given file.

    None where the evaluator has no file.
    """
    given = settings.evaluator.file
    if given is None:
        return None
    kept = folder.file(f"evaluator{given.suffix}")
    return kept if kept.is_file() else given


def kept_seed_archs(folder: RunFolder, settings: SearchConfig) -> str | None:
    """Return what ``seed_archs`` says, a file by the run folder's copy of it once there is one."""
    given, kept = settings.seed_archs, folder.file("seed-archs.jsonl")
    return str(kept) if given not in (None, KNOWN) and kept.is_file() else given


def keep_file(folder: RunFolder, settings: SearchConfig) -> None:
    """Copy the files of evaluator and ``seed_archs`` into the run folder, whole.

    The run folder then explains itself, and the run resumes where the given files have changed.
    """
    seeds = kept_seed_archs(folder, settings)
    if seeds not in (None, KNOWN) and seeds == settings.seed_archs:
        write_whole(folder.file("seed-archs.jsonl"), Path(str(seeds)).read_bytes())
    given = settings.evaluator.file
    if given is None:
        return
    kept = folder.file(f"evaluator{given.suffix}")
    if kept.is_file():
        return
    write_whole(kept, given.read_bytes())
