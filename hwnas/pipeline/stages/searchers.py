"""The strategies that ask and are told, made from a run's configuration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hwnas.arch import Arch
from hwnas.pipeline.context import Run
from hwnas.pipeline.stages.evaluators import kept_seed_archs
from hwnas.protocols import Codes, CodeSearcher, Evaluation, Searcher
from hwnas.rng import derived_seed
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import LimitedSpace
from hwnas.search.problem.warm_start import seed_archs, start_from
from hwnas.search.strategies.evolution import Evolution
from hwnas.search.strategies.exhaustive import Exhaustive
from hwnas.search.strategies.local_search import LocalSearch
from hwnas.search.strategies.nsga2 import Nsga2
from hwnas.search.strategies.population import ArchSearcher
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.search.strategies.rl import PolicySearch, PolicySettings
from hwnas.search.strategies.surrogate import Surrogate

logger = logging.getLogger(__name__)

BATCH = 10  # networks that a strategy which learns asks for at a time, at most
MIN_BATCHES = 4  # a short search learns at least this often


@dataclass(frozen=True)
class Asking:
    """A searcher, and how many networks it is asked for at a time."""

    searcher: Searcher
    batch: int


@dataclass
class Listed:
    """A searcher that asks for a fixed list of networks, in order."""

    archs: list[Arch]
    asked: int = 0

    def ask(self, count: int) -> list[Arch]:
        """Return the next of the list."""
        first, self.asked = self.asked, self.asked + count
        return self.archs[first : first + count]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the evaluations; the list is what it is."""


def searcher_of(run: Run, limited: LimitedSpace, place: int) -> Asking:
    """Return the run's searcher under the limits of budget number ``place``.

    Raises:
        UsageError: the strategy cannot search this space; names those that can.
    """
    config = run.config.search
    if config.strategy == "random":
        searcher = random_search(limited, run.config.seed, config.low_share)
        return Asking(searcher, config.batch or config.evaluations)
    codes = _code_searcher(run, limited, place)
    usual = (
        config.evaluations
        if config.strategy == "exhaustive"
        else min(BATCH, max(1, config.evaluations // MIN_BATCHES))
    )
    return Asking(ArchSearcher(run.space, codes), config.batch or usual)


def random_search(limited: LimitedSpace, seed: int, low_share: float) -> ArchSearcher:
    """Return random search under these limits, the baseline of the others too."""
    codes = RandomSearch(AdditiveFeasible(limited), seed, low_share)
    return ArchSearcher(limited.space, codes)


def _code_searcher(run: Run, limited: LimitedSpace, place: int) -> CodeSearcher:
    config, count = run.config.search, run.config.search.evaluations
    feasible = AdditiveFeasible(limited)
    seed = derived_seed(run.config.seed, "search", place)
    start = _start(run, limited, feasible)
    population = min(20, max(4, count // MIN_BATCHES))
    found: CodeSearcher
    if config.strategy == "exhaustive":
        return Exhaustive(feasible, count)
    if config.strategy == "evolution":
        found = Evolution(
            feasible,
            seed,
            population=population,
            sample=min(5, population),
            low_share=config.low_share,
            start=start,
        )
    elif config.strategy == "local":
        found = LocalSearch(
            feasible, seed, initial=min(10, population), low_share=config.low_share, start=start
        )
    elif config.strategy == "rl":
        settings = PolicySettings(
            ppo=config.controller.algorithm == "ppo",
            reward_weight=config.controller.reward_weight,
            batch=min(20, population),
        )
        found = PolicySearch(feasible, seed, settings, low_share=config.low_share, start=start)
    else:
        latencies = [n for n, limit in enumerate(limited.limits) if limit.table is not None]
        found = Nsga2(
            feasible,
            seed,
            population=min(50, max(4, count // MIN_BATCHES)),
            metrics=latencies,
            start=start,
        )
    return Surrogate(feasible, found, seed, initial=population) if config.surrogate else found


def _start(run: Run, limited: LimitedSpace, feasible: AdditiveFeasible) -> Codes | None:
    """Return the codes of ``seed_archs`` within the limits; what is left out is said."""
    given = kept_seed_archs(run)
    if given is None:
        return None
    start = start_from(feasible, seed_archs(run.space, given), limited.limits)
    for name, reason in start.refused.items():
        logger.info(f"not started from: {name} {reason}")
    return start.codes
