"""The strategies that ask and learn, built from a run's configuration by the registry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.arch import Arch
from hwnas.pipeline.config.search import SearchConfig
from hwnas.pipeline.context import Context
from hwnas.pipeline.stages.search.evaluators import kept_seed_archs
from hwnas.protocols import CodeEvaluator, Codes, Evaluation, Searcher
from hwnas.rng import derived_seed
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import LimitedSpace
from hwnas.search.problem.warm_start import seed_archs, start_from
from hwnas.search.strategies.population import ArchSearcher
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.search.strategies.registry import AskTellStrategy, SearchProblem

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchedSearcher:
    """A searcher, and how many networks it is asked for at a time."""

    searcher: Searcher
    batch: int


@dataclass
class FixedList:
    """A searcher that asks for a fixed list of networks, in order."""

    archs: list[Arch]
    asked: int = 0

    def ask(self, count: int) -> list[Arch]:
        """Return the next of the list."""
        first, self.asked = self.asked, self.asked + count
        return self.archs[first : first + count]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the evaluations; the list does not depend on them."""


def build_searcher(
    context: Context, settings: SearchConfig, limited: LimitedSpace, place: int
) -> BatchedSearcher:
    """Return the run's searcher under the limits of budget number ``place``.

    Raises:
        UsageError: the strategy cannot search this space; names those that can.
    """
    entry = settings.entry
    assert isinstance(entry, AskTellStrategy)  # the other kinds are not asked
    if entry.is_random:
        searcher = random_search(limited, context.execution.seed, settings.low_share)
        return BatchedSearcher(searcher, settings.batch or settings.evaluations)
    problem = search_problem(context, settings, limited, place)
    codes = entry.searcher(problem, surrogate=settings.surrogate)
    batch = settings.batch or entry.usual_batch(settings.evaluations)
    return BatchedSearcher(ArchSearcher(context.space, codes), batch)


def random_search(limited: LimitedSpace, seed: int, low_share: float) -> ArchSearcher:
    """Return random search under these limits, the baseline of the others too."""
    codes = RandomSearch(AdditiveFeasible(limited), seed, low_share)
    return ArchSearcher(limited.space, codes)


def search_problem(
    context: Context,
    settings: SearchConfig,
    limited: LimitedSpace,
    place: int,
    evaluator: CodeEvaluator | None = None,
) -> SearchProblem:
    """Return what the run's strategy is given to search below budget number ``place``."""
    feasible = AdditiveFeasible(limited)
    seed = derived_seed(context.execution.seed, "search", place)
    return SearchProblem(
        feasible,
        seed,
        settings.evaluations,
        low_share=settings.low_share,
        start=_start(context, settings, limited, feasible),
        prior=MacsPrior(feasible, seed) if settings.uses_prior else None,
        latencies=tuple(n for n, limit in enumerate(limited.limits) if limit.table is not None),
        settings=settings.strategy_settings(),
        evaluator=evaluator,
    )


def _start(
    context: Context, settings: SearchConfig, limited: LimitedSpace, feasible: AdditiveFeasible
) -> Codes | None:
    """Return the codes of ``seed_archs`` within the limits; report those that are left out."""
    given = kept_seed_archs(context.folder, settings)
    if given is None:
        return None
    start = start_from(feasible, seed_archs(context.space, given), limited.limits)
    for name, reason in start.refused.items():
        logger.info(f"not started from: {name} {reason}")
    return start.codes
