"""``hwnas.search``: a strategy, a function that scores architectures, and hard limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from hwnas.api.problem import Limits
from hwnas.api.results import SearchResult
from hwnas.api.spaces import Space, SpaceLike, as_space
from hwnas.api.strategies import usual_batch
from hwnas.api.study import Study, evaluation_of
from hwnas.arch import Arch
from hwnas.errors import HwnasError, UsageError
from hwnas.protocols import CodeEvaluator, Evaluation, Evaluator

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


def search(
    space: SpaceLike,
    limits: Limits,
    *,
    evaluate: Function | Evaluator | CodeEvaluator | str,
    strategy: str = "evolution",
    evaluations: int = 100,
    batch: int | None = None,
    surrogate: bool = False,
    low_share: float = 0.75,
    seed: int = 0,
    path: str | Path | None = None,
) -> SearchResult:
    """Search the networks of ``space`` within ``limits`` for the highest score; return the result.

    ``evaluate`` is a function from an architecture to a score (more is better; a mapping with
    ``score`` keeps further values; None or an exception is a failed evaluation), an object that
    implements the Protocol ``Evaluator`` or ``CodeEvaluator``, or ``table:FILE`` of known
    accuracies or ``predictor:FILE``. ``hwnas.build`` makes the network of an architecture.

    The strategy proposes ``batch`` networks at a time (by default up to 10). ``low_share`` is where
    random draws begin, as a share of the first limit. With ``path``, a journal, a search that was
    stopped goes on when it is called again; evaluations on record are not repeated.

    Limits are kept for predicted latencies, exactly. Predictions err, so leave some of the budget.

    Raises:
        InfeasibleError: no network meets the limits; raised before any evaluation.
        InputError: wrong limits, or ``path`` holds another search.
        UsageError: no such strategy, or one that ``hwnas.run`` carries out.
        HwnasError: every evaluation failed; holds the first error.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> latency = hwnas.latency_model(space, "table.json")
        >>> def my_function(arch):
        ...     return sum(option != "identity" for option in arch.choices.values())
        >>> result = hwnas.search(space, {"latency_ms": (latency, 0.08)}, strategy="evolution",
        ...                       evaluate=my_function, evaluations=50)
        >>> result.best.score
        4.0
    """
    found = as_space(space)
    evaluator = make_evaluator(found, evaluate)
    study = Study(
        found,
        limits,
        strategy=strategy,
        evaluations=evaluations,
        surrogate=surrogate,
        low_share=low_share,
        seed=seed,
        path=path,
    )
    size = batch or usual_batch(strategy, evaluations)
    try:
        while (left := evaluations - study.num_evaluated) > 0:
            archs = study.ask_batch(min(size, left))
            if not archs:
                break
            for _, evaluation in evaluator.evaluate(archs):
                study.tell_evaluation(evaluation)
    finally:
        study.close()
    result = study.result()
    if result.trials and len(result.failures) == len(result.trials):
        raise HwnasError(
            f"all {len(result.trials)} evaluations failed, the first with: "
            f"{result.trials[0].error}. Next: call evaluate on one architecture, such as "
            "space.sample(1)[0]"
        )
    return result


def make_evaluator(space: Space, evaluate: Function | Evaluator | CodeEvaluator | str) -> Evaluator:
    """Return what scores architectures, of a function, an object or a file.

    Raises:
        UsageError: it is none of these; ``scratch`` and ``supernet`` need a run.
        InputError: the file is missing or wrong; lists all problems.
    """
    from hwnas.search.evaluators.predictor import PredictorEvaluator

    if isinstance(evaluate, str):
        return PredictorEvaluator(space.definition, _of_file(space, evaluate))
    if isinstance(evaluate, _IsEvaluator):
        return evaluate
    if isinstance(evaluate, _IsCodeEvaluator):
        return PredictorEvaluator(space.definition, evaluate)
    if callable(evaluate):
        return FunctionEvaluator(evaluate)
    raise UsageError(
        "evaluate must be a function from an architecture to a score, an evaluator, table:FILE or "
        f"predictor:FILE, got {evaluate!r}"
    )


def _of_file(space: Space, spec: str) -> CodeEvaluator:
    from hwnas.search.evaluators.table import TableScores
    from hwnas.search.predictors.fitted import load_fitted_predictor
    from hwnas.search.predictors.ofa import load_ofa_predictor

    kind, _, name = spec.partition(":")
    if kind not in ("table", "predictor") or not name:
        raise UsageError(
            f"evaluate {spec!r} is not table:FILE or predictor:FILE. Next: evaluators that train "
            "(scratch, supernet) need images and a run folder: hwnas.run"
        )
    path = Path(name)
    if kind == "table":
        return TableScores(path, space.definition)
    if path.suffix == ".json":
        return load_fitted_predictor(path, space.definition)
    return load_ofa_predictor(path, space.definition)
