"""Aging evolution under limits, made for few evaluations.

Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture search",
AAAI 2019, Algorithm 1: the population is the last ``population`` networks evaluated; a parent is
the best of ``sample`` drawn from it; its child is evaluated and the oldest dies.

Departures, each for a limit that every network has to meet:

- Half as many as ``population`` of the best networks ever evaluated stay parents beside the last
  ones: accuracies are looked up or trained once, so there is no lucky evaluation to forget.
- A parent just below the limit has few children within it by one change, and soon all of them are
  known: plain mutation stays where it is. So each parent proposes many children, by one change, by
  two, by more (geometric), which trade latency between choices, and by uniform crossover with a
  second parent followed by no change, one, ...; the child is one within all limits and not known
  yet, of those with the fewest changes the first, or the one with the most multiply-accumulates
  (``work.py``), as often as these tell the better of two evaluated networks. Where a parent has
  none, others are drawn; where none has, random networks of the window take over (see
  ``population.draw_new``), so that a search ends only when no network is left.
- The first networks have the most multiply-accumulates of POOL times as many random ones from the
  window just below the budget.
- Every tenth network has the most MACs of those not evaluated: a guess that evolution does not
  depend on.
- A batch of children comes from one population; a failed evaluation never joins it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import (
    LOW_SHARE,
    Floats,
    History,
    Ints,
    busiest_due,
    draw_new,
    first_codes,
    offspring,
)

ATTEMPTS = 4  # rounds of parents before random networks take over
POOL = 4


@dataclass
class Evolution:
    """Aging evolution within limits. Implements ``interfaces.CodeSearcher`` (one objective).

    ``population`` networks are kept by age and half as many by score; parents win tournaments of
    ``sample``; a share of ``crossover`` of the children has two parents. Deterministic in ``seed``
    and in the numbers asked for.

    Raises:
        ValueError: a setting outside its range.
    """

    feasible: Feasible
    seed: int
    population: int = 20
    sample: int = 5
    crossover: float = 0.5
    low_share: float = LOW_SHARE
    start: Codes | None = None
    history: History = field(init=False, repr=False)
    work: MacsPrior = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.population < 2 or self.sample < 1 or not 0 <= self.crossover <= 1:
            raise ValueError(
                "evolution needs population >= 2, sample >= 1 and crossover in "
                f"[0, 1], got {self.population}, {self.sample}, {self.crossover}"
            )
        self.history = History(self.feasible.space)
        self.work = MacsPrior(self.feasible, self.seed)

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new networks within the limits; fewer when none are left."""
        rng = stream(self.seed, "evolution", self.history.num_asked)
        start = first_codes(self.feasible, self.history, self.start, count)
        busy = busiest_due(self.work, self.history, count, count - len(start))
        found = np.concatenate([self._ask(start), self._ask(busy[self.history.fresh(busy)])])
        random = self.population - self.history.num_asked
        if len(self.history.scores) == 0:
            random = count
        found = self._extend(found, min(random, count - len(found)), rng, POOL)
        for _ in range(ATTEMPTS):
            if len(found) < count and len(self.history.scores):
                children = self._children(count - len(found), rng)
                found = np.concatenate([found, self._ask(children)])
        return self._extend(found, count - len(found), rng)

    def _ask(self, codes: Codes) -> Codes:
        return self.history.ask(codes)

    def _extend(self, found: Codes, count: int, rng: np.random.Generator, pool: int = 1) -> Codes:
        """Add the ``count`` networks that do most of ``pool`` times as many of the window."""
        if count <= 0:
            return found
        drawn = draw_new(self.feasible, self.history, pool * count, rng, self.low_share)
        drawn = self.work.most(drawn, count) if len(drawn) > count else drawn
        return np.concatenate([found, self._ask(drawn)])

    def _parents(self) -> Ints:
        """Return the rows of the history that may be parents: the last ones and the best."""
        scores = self.history.scores[:, 0]
        last = np.arange(max(0, len(scores) - self.population), len(scores))
        best = np.argsort(-scores, kind="stable")[: self.population // 2]
        return np.union1d(last, best)

    def _children(self, count: int, rng: np.random.Generator) -> Codes:
        """Return up to ``count`` new children, at most one of each drawn parent."""
        rows, history = self._parents(), self.history
        first, second = (
            tournament(history.scores[:, 0], rows, count, self.sample, rng) for _ in range(2)
        )
        mothers, fathers = history.codes[first], history.codes[second]
        guided = self.work.concordance(history.codes, history.scores[:, 0])
        return offspring(
            self.feasible, history, mothers, fathers, self.crossover, rng, self.work, guided
        )

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the ``(num_archs, 1)`` scores of what was asked; NaN: failed."""
        self.history.tell(codes, scores)


def tournament(
    scores: Floats, rows: Ints, count: int, sample: int, rng: np.random.Generator
) -> Ints:
    """Return ``(count,)`` of ``rows``, each the best of ``sample`` drawn with replacement."""
    drawn = rows[rng.integers(len(rows), size=(count, sample))]
    return np.asarray(drawn[np.arange(count), scores[drawn].argmax(axis=1)])
