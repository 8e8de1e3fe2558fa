"""The strategies that ask and are told, made from a run's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.interfaces import Searcher
from hwnas.pipeline.setup import Run
from hwnas.search.limits import LimitedSpace
from hwnas.search.random_search import RandomSearch

BATCH = 16  # networks that a strategy which learns asks for at a time, at most


@dataclass(frozen=True)
class Asking:
    """A searcher, and how many networks it is asked for at a time."""

    searcher: Searcher
    batch: int


def searcher_of(run: Run, limited: LimitedSpace) -> Asking:
    """Return the run's searcher under these limits.

    Raises:
        UsageError: the strategy cannot search this space; names those that can.
    """
    config = run.config.search
    searcher = RandomSearch(limited, limited.limits[0].maximum, run.config.seed, config.low_share)
    return Asking(searcher, config.batch or config.evaluations)
