"""``hwnas.search``: a strategy, a function that scores architectures, and hard limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from hwnas.api.problem import Limits, Problem, make_problem
from hwnas.api.results import SearchResult, evaluation_of, make_trials
from hwnas.api.spaces import Space, SpaceLike, as_space
from hwnas.api.strategies import Prior, StrategyOptions, search_problem, usual_batch
from hwnas.api.study import Study
from hwnas.arch import Arch
from hwnas.errors import HwnasError, UsageError
from hwnas.io.installed import names_missing_packages
from hwnas.io.progress import report
from hwnas.protocols import CodeEvaluator, Evaluation, Evaluator
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.evaluators.registry import (
    EvaluatorContext,
    EvaluatorEntry,
    EvaluatorSpec,
    spellings,
)
from hwnas.search.strategies.registry import BatchStrategy

Function: TypeAlias = Callable[[Arch], "float | Mapping[str, float] | None"]
"""Scores an architecture: a number (more is better), a mapping with ``score``, None: failed."""


@runtime_checkable
class _IsEvaluator(Evaluator, Protocol):
    """An :class:`Evaluator`, told apart from a function by its methods."""


@runtime_checkable
class _IsCodeEvaluator(CodeEvaluator, Protocol):
    """A :class:`CodeEvaluator`, told apart from a function by its methods."""


@dataclass(frozen=True)
class FunctionEvaluator:
    """Scores architectures by a user's function. Implements the Protocol ``Evaluator``.

    An exception of the function fails that evaluation, not the search.
    """

    function: Function

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)``; ``cost`` holds ``wall_s`` and ``core_s``."""
        for place, arch in enumerate(archs):
            wall, core = time.perf_counter(), time.process_time()
            score: float | Mapping[str, float] | None = None
            error: str | None = None
            try:
                score = self.function(arch)
            except Exception as problem:  # noqa: BLE001 - what a user's function raises is recorded
                error = f"{type(problem).__name__}: {problem}"
            cost = {
                "wall_s": round(time.perf_counter() - wall, 6),
                "core_s": round(time.process_time() - core, 6),
            }
            yield place, evaluation_of(arch, score, error=error, cost=cost)


@names_missing_packages
def search(
    space: SpaceLike,
    limits: Limits,
    *,
    evaluate: Function | Evaluator | CodeEvaluator | str,
    strategy: str = "evolution",
    evaluations: int = 100,
    batch: int | None = None,
    surrogate: bool = False,
    prior: Prior = "macs",
    low_share: float = 0.75,
    start: Sequence[Arch] = (),
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> SearchResult:
    """Search the networks of ``space`` within ``limits`` for the highest score; return the result.

    ``evaluate`` is a function from an architecture to a score (more is better; a mapping with
    ``score`` keeps further values; None or an exception is a failed evaluation), an object that
    implements the Protocol ``Evaluator`` or ``CodeEvaluator``, or an evaluator with a file:
    ``table:FILE`` of known accuracies, ``predictor:FILE``. ``batch`` networks are proposed at a
    time (by default up to 10); the other options are those of :class:`hwnas.Study`. With ``path``,
    a journal, a search that was stopped goes on when it is called again. ``combined-moves`` scores
    thousands of networks at a time by a ``CodeEvaluator`` or a file; its trials are the best.

    Limits are kept for predicted latencies, exactly. Predictions err, so leave some of the budget.

    Raises:
        InfeasibleError: no network meets the limits; raised before any evaluation.
        InputError: wrong limits or settings, or ``path`` holds another search.
        UsageError: no such strategy, or one that only ``hwnas.run`` carries out.
        HwnasError: every evaluation failed; holds the first error.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> latency = hwnas.latency_model(space, "table.json")
        >>> result = hwnas.search(space, {"latency_ms": (latency, 0.08)}, evaluations=50,
        ...                       evaluate=lambda arch: list(arch.choices.values()).count("mb6_k3"))
        >>> result.best.score
        3.0
    """
    found = as_space(space)
    options = StrategyOptions(
        strategy, evaluations, seed, low_share, surrogate, prior, start, settings or {}
    )
    evaluator, problem = make_evaluator(found, evaluate, seed), make_problem(found, limits)
    if isinstance(options.entry, BatchStrategy):
        return _finished(_batch_search(problem, options, evaluator, path))
    study = Study.of(problem, options, path)
    return _finished(_ask_and_tell(study, evaluator, evaluations, batch or usual_batch(options)))


def _ask_and_tell(study: Study, evaluator: Evaluator, evaluations: int, batch: int) -> SearchResult:
    """Evaluate what ``study`` proposes, up to ``evaluations`` networks with those on record."""
    try:
        while (left := evaluations - study.num_evaluated) > 0:
            archs = study.ask_batch(min(batch, left))
            if not archs:
                break
            for _, evaluation in evaluator.evaluate(archs):
                study.tell_evaluation(evaluation)
                report("evaluating", study.num_evaluated, evaluations)
    finally:
        study.close()
    return study.result()


def _batch_search(
    problem: Problem, options: StrategyOptions, evaluator: Evaluator, path: str | Path | None
) -> SearchResult:
    """Return the best networks of a strategy that scores thousands of them itself."""
    options.check()
    if not isinstance(evaluator, PredictorEvaluator):
        raise UsageError(
            f"strategy {options.strategy} scores thousands of networks at a time: evaluate must be "
            "a CodeEvaluator, table:FILE or predictor:FILE. Next: give one, or another strategy"
        )
    if path is not None:
        raise UsageError(f"strategy {options.strategy} keeps no journal. Next: leave out path")
    problem.check()
    entry = options.entry
    assert isinstance(entry, BatchStrategy)  # the caller's condition
    batch = entry.search(search_problem(problem, options, evaluator.predictor))
    archs = problem.space.decode(batch.run(options.evaluations).codes)
    evaluations = [evaluation for _, evaluation in evaluator.evaluate(archs)]
    return SearchResult(
        problem.space,
        problem.limits,
        options.strategy,
        options.seed,
        tuple(make_trials(problem, evaluations)),
    )


def _finished(result: SearchResult) -> SearchResult:
    """Return ``result``; HwnasError where every evaluation failed."""
    if result.trials and len(result.failures) == len(result.trials):
        raise HwnasError(
            f"all {len(result.trials)} evaluations failed, the first with: "
            f"{result.trials[0].error}. Next: call evaluate on one architecture, such as "
            "space.sample(1)[0]"
        )
    return result


def make_evaluator(
    space: Space, evaluate: Function | Evaluator | CodeEvaluator | str, seed: int
) -> Evaluator:
    """Return what scores architectures, of a function, an object or a name.

    Raises:
        UsageError: it is none of these, or an evaluator that trains, which needs a run.
        InputError: the file is missing or wrong; lists all problems.
    """
    if isinstance(evaluate, str):
        return _named(space, evaluate, seed)
    if isinstance(evaluate, _IsEvaluator):
        return evaluate
    if isinstance(evaluate, _IsCodeEvaluator):
        return PredictorEvaluator(space.definition, evaluate)
    if callable(evaluate):
        return FunctionEvaluator(evaluate)
    raise UsageError(
        "evaluate must be a function from an architecture to a score, an evaluator, or one of "
        f"{spellings(_needs_no_run)}, got {evaluate!r}"
    )


def _needs_no_run(entry: EvaluatorEntry) -> bool:
    """Return whether an evaluator trains nothing and sees no images."""
    return entry.trains == "nothing" and not entry.needs_images


def _named(space: Space, name: str, seed: int) -> Evaluator:
    try:
        spec = EvaluatorSpec.parse(name)
    except ValueError:
        spec = None
    if spec is None or not _needs_no_run(spec.entry):
        raise UsageError(
            f"evaluate {name!r} is not one of {spellings(_needs_no_run)}. Next: choose one; "
            "evaluators that train need images and a run folder: hwnas.run"
        )
    return spec.entry.evaluator(EvaluatorContext(space.definition, seed, spec.file))
