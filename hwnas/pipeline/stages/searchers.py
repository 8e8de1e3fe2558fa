"""The strategies that ask and learn, built from a run's configuration by the registry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.arch import Arch
from hwnas.pipeline.context import Run
from hwnas.pipeline.stages.evaluators import kept_seed_archs
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


def build_searcher(run: Run, limited: LimitedSpace, place: int) -> BatchedSearcher:
    """Return the run's searcher under the limits of budget number ``place``.

    Raises:
        UsageError: the strategy cannot search this space; names those that can.
    """
    config, entry = run.config.search, run.config.search.entry
    assert isinstance(entry, AskTellStrategy)  # the other kinds are not asked
    if entry.is_random:
        searcher = random_search(limited, run.config.seed, config.low_share)
        return BatchedSearcher(searcher, config.batch or config.evaluations)
    codes = entry.searcher(search_problem(run, limited, place), surrogate=config.surrogate)
    batch = config.batch or entry.usual_batch(config.evaluations)
    return BatchedSearcher(ArchSearcher(run.space, codes), batch)


def random_search(limited: LimitedSpace, seed: int, low_share: float) -> ArchSearcher:
    """Return random search under these limits, the baseline of the others too."""
    codes = RandomSearch(AdditiveFeasible(limited), seed, low_share)
    return ArchSearcher(limited.space, codes)


def search_problem(
    run: Run, limited: LimitedSpace, place: int, evaluator: CodeEvaluator | None = None
) -> SearchProblem:
    """Return what the run's strategy is given to search below budget number ``place``."""
    config = run.config.search
    feasible = AdditiveFeasible(limited)
    seed = derived_seed(run.config.seed, "search", place)
    return SearchProblem(
        feasible,
        seed,
        config.evaluations,
        low_share=config.low_share,
        start=_start(run, limited, feasible),
        prior=MacsPrior(feasible, seed) if config.uses_prior else None,
        latencies=tuple(n for n, limit in enumerate(limited.limits) if limit.table is not None),
        settings=config.strategy_settings(),
        evaluator=evaluator,
    )


def _start(run: Run, limited: LimitedSpace, feasible: AdditiveFeasible) -> Codes | None:
    """Return the codes of ``seed_archs`` within the limits; report those that are left out."""
    given = kept_seed_archs(run)
    if given is None:
        return None
    start = start_from(feasible, seed_archs(run.space, given), limited.limits)
    for name, reason in start.refused.items():
        logger.info(f"not started from: {name} {reason}")
    return start.codes
