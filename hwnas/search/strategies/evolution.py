"""Aging evolution within limits.

Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture search",
AAAI 2019, Algorithm 1, with P = ``population``, S = ``sample``::

    while |population| < P:                          # initialise
        add RandomArchitecture() to the right of population, and to history
    while |history| < C:                             # evolve
        sample S candidates from population, each of which stays there
        parent = the candidate of the highest accuracy
        child = Mutate(parent): one change
        add child to the right of population, and to history
        remove the oldest from the left of population
    return the best of history

``ask_codes`` is RandomArchitecture and Mutate, ``tell_codes`` adds to population and history.

Departures, for limits that every network has to meet and networks that are evaluated once:

- RandomArchitecture is uniform over the window below the budget.
- Mutate proposes many children of a parent, by one change, two, or more (geometric); the child is
  the first with the fewest changes that is within the limits and new. A parent just below the limit
  has few such children by one change, and soon none. Where a parent has none at all, others are
  drawn; where none has, RandomArchitecture takes over, so that a search ends only when no network
  is left.
- The children of one batch have one population; a failed evaluation never joins it.

``prior`` is a part of its own (``predictors/macs_prior.py``). With it the first networks are those
of a larger sample with the most MACs, every tenth network has the most MACs of those left, half as
many as P of the best networks ever are parents too, half of the children begin as a uniform
crossover of two parents, and of a parent's children with the fewest changes the one with the most
MACs is taken, as often as MACs rank two evaluated networks rightly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import POOL, MacsPrior
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import (
    LOW_SHARE,
    Floats,
    History,
    Ints,
    draw_new,
    first_codes,
    offspring,
    population_size,
)
from hwnas.search.strategies.registry import SearchProblem

ATTEMPTS = 4  # rounds of parents before random networks take over


@dataclass
class Evolution:
    """Aging evolution within limits. Implements ``protocols.CodeSearcher`` (one objective).

    The last ``population`` networks are kept; parents win tournaments of ``sample``. Random
    networks come from ``[low_share, 1] x budget``; ``start`` are codes to begin with. A share of
    ``crossover`` of the children has two parents where there is a ``prior``. Deterministic in
    ``seed`` and in the numbers asked for.

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
    prior: MacsPrior | None = None
    history: History = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.population < 2 or self.sample < 1 or not 0 <= self.crossover <= 1:
            raise ValueError(
                "evolution needs population >= 2, sample >= 1 and crossover in "
                f"[0, 1], got {self.population}, {self.sample}, {self.crossover}"
            )
        self.history = History(self.feasible.space)

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new networks within the limits; fewer when none are left."""
        rng = stream(self.seed, "evolution", self.history.num_asked)
        found = self._given(count)
        # initialise: random architectures until there are P; all, while no score is known
        missing = self.population - self.history.num_asked
        missing = missing if len(self.history.scores) else count
        found = self._extend(found, min(missing, count - len(found)), rng, self.prior)
        # evolve: children of the winners of tournaments
        for _ in range(ATTEMPTS):
            if len(found) < count and len(self.history.scores):
                children = self._children(count - len(found), rng)
                found = np.concatenate([found, self.history.ask(children)])
        return self._extend(found, count - len(found), rng)

    def _given(self, count: int) -> Codes:
        """Return what does not depend on scores: ``start``, and what is due by the prior."""
        start = first_codes(self.feasible, self.history, self.start, count)
        if self.prior is None:
            return self.history.ask(start)
        due = self.prior.due(self.history, count, count - len(start))
        start = self.history.ask(start)
        return np.concatenate([start, self.history.ask(due[self.history.fresh(due)])])

    def _extend(
        self, found: Codes, count: int, rng: np.random.Generator, prior: MacsPrior | None = None
    ) -> Codes:
        """Add ``count`` random networks; with a prior, those of more draws with the most MACs."""
        if count <= 0:
            return found
        pool = count if prior is None else POOL * count
        drawn = draw_new(self.feasible, self.history, pool, rng, self.low_share)
        if prior is not None and len(drawn) > count:
            drawn = prior.most(drawn, count)
        return np.concatenate([found, self.history.ask(drawn)])

    def _children(self, count: int, rng: np.random.Generator) -> Codes:
        """Return up to ``count`` new children, at most one of each drawn parent."""
        history, scores = self.history, self.history.scores[:, 0]
        population = np.arange(max(0, len(scores) - self.population), len(scores))
        if self.prior is None:
            parents = history.codes[tournament(scores, population, count, self.sample, rng)]
            return offspring(self.feasible, history, parents, parents, 0.0, rng)
        rows = self.prior.parents(scores, population, self.population // 2)
        mothers, fathers = (
            history.codes[tournament(scores, rows, count, self.sample, rng)] for _ in range(2)
        )
        guided = self.prior.concordance(history.codes, scores)
        return offspring(
            self.feasible, history, mothers, fathers, self.crossover, rng, self.prior, guided
        )

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the ``(num_archs, 1)`` scores of what was asked; NaN: failed."""
        self.history.tell(codes, scores)  # the population is its last P rows


def tournament(
    scores: Floats, rows: Ints, count: int, sample: int, rng: np.random.Generator
) -> Ints:
    """Return ``(count,)`` of ``rows``, each the best of ``sample`` drawn with replacement."""
    drawn = rows[rng.integers(len(rows), size=(count, sample))]  # (count, sample)
    return np.asarray(drawn[np.arange(count), scores[drawn].argmax(axis=1)])


def build(problem: SearchProblem) -> Evolution:
    """Return the evolution of a run."""
    population = population_size(problem.evaluations)
    return Evolution(
        problem.feasible,
        problem.seed,
        population=population,
        sample=min(5, population),
        low_share=problem.low_share,
        start=problem.start,
        prior=problem.prior,
    )
