"""NSGA-II: the whole front of several objectives in one run.

Deb, Pratap, Agarwal and Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II",
IEEE Transactions on Evolutionary Computation 6(2), 2002: non-dominated sorting (section III-A),
crowding distance (III-B), binary tournaments by rank and then crowding, and survival of the best
``population`` of parents and children together (III-C).

Departures: a generation is what is asked for at a time; children meet the limits and are new
networks (``population.offspring``), so no constraint domination is needed; the first networks are
spread evenly over the range of the first limited metric instead of uniformly over codes, most of
which lie in its middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import (
    Floats,
    History,
    Ints,
    collect,
    draw_new,
    first_codes,
    offspring,
    population_size,
)
from hwnas.search.strategies.registry import SearchProblem

BANDS = 8  # of the first limited metric, from which the first networks come in equal parts
ATTEMPTS = 4  # rounds of parents before random networks take over


def ranks(values: Floats) -> Ints:
    """Return ``(num_points,)`` fronts, 0 the best, of ``(num_points, num_objectives)`` values.

    All objectives are minimised.
    """
    # no_worse[i, j]: point i is at most point j in every objective
    no_worse = np.asarray((values[:, None, :] <= values[None, :, :]).all(axis=2))
    dominates = no_worse & ~no_worse.T
    by = dominates.sum(axis=0)  # (num_points,) by how many points each is dominated
    rank = np.full(len(values), -1)
    front = 0
    while (rank < 0).any():
        now = (by == 0) & (rank < 0)
        rank[now] = front
        by = by - dominates[now].sum(axis=0)
        front += 1
    return rank


def crowding(values: Floats) -> Floats:
    """Return ``(num_points,)`` crowding distances of one front; the ends of each objective: inf."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        spread = ordered[-1] - ordered[0]
        gaps = np.full(len(values), np.inf)
        if len(values) > 2:
            gaps[1:-1] = (ordered[2:] - ordered[:-2]) / spread if spread > 0 else 0.0
        distance[order] += gaps
    return distance


def survivors(values: Floats, count: int) -> tuple[Ints, Ints, Floats]:
    """Return the rows of the ``count`` best points, with their ranks and crowding distances."""
    rank = ranks(values)
    distance = np.empty(len(values))
    for front in range(rank.max(initial=-1) + 1):
        distance[rank == front] = crowding(values[rank == front])
    rows = np.lexsort((-distance, rank))[:count]
    return rows, rank[rows], distance[rows]


@dataclass
class Nsga2:
    """NSGA-II within limits. Implements ``protocols.CodeSearcher``.

    The objectives are the ``num_scores`` columns of scores (more is better) and the limited
    metrics ``metrics`` (columns of ``feasible.metrics``, less is better): latency is known without
    an evaluation.

    Raises:
        ValueError: a population below 4, or fewer than one objective.
    """

    feasible: Feasible
    seed: int
    population: int = 50
    num_scores: int = 1
    metrics: Sequence[int] = (0,)
    crossover: float = 0.5
    start: Codes | None = None
    history: History = field(init=False, repr=False)
    _rows: Ints = field(init=False, repr=False)
    _rank: Ints = field(init=False, repr=False)
    _distance: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.population < 4 or self.num_scores < 1:
            raise ValueError(
                "NSGA-II needs a population of at least 4 and an objective, got "
                f"{self.population} and {self.num_scores}"
            )
        self.history = History(self.feasible.space, self.num_scores)
        self._rows, self._rank = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self._distance = np.empty(0)

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new networks within the limits; fewer when none are left."""
        rng = stream(self.seed, "nsga2", self.history.num_asked)
        found = self.history.ask(first_codes(self.feasible, self.history, self.start, count))
        random = self.population - self.history.num_asked if len(self._rows) else count
        random = min(random, count - len(found))
        if random > 0:
            found = np.concatenate([found, self.history.ask(self._spread(random, rng))])
        for _ in range(ATTEMPTS):
            if len(found) < count and len(self._rows):
                children = self._children(count - len(found), rng)
                found = np.concatenate([found, self.history.ask(children)])
        missing = count - len(found)
        if missing > 0:
            drawn = draw_new(self.feasible, self.history, missing, rng, 0.0)
            found = np.concatenate([found, self.history.ask(drawn)])
        return found

    def _spread(self, count: int, rng: np.random.Generator) -> Codes:
        """Return up to ``count`` new random networks, spread over the first metric's range."""

        def propose(number: int) -> Codes:
            each = -(-number // BANDS)
            bands = [
                self.feasible.sample(each, rng, band / BANDS, (band + 1) / BANDS)
                for band in range(BANDS)
            ]
            return np.stack(bands, axis=1).reshape(each * BANDS, -1)

        return collect(propose, self.feasible, self.history, count, rounds=4)

    def _children(self, count: int, rng: np.random.Generator) -> Codes:
        pairs = rng.integers(len(self._rows), size=(2, count, 2))
        rank, distance = self._rank[pairs], self._distance[pairs]
        second = (rank[..., 1] < rank[..., 0]) | (
            (rank[..., 1] == rank[..., 0]) & (distance[..., 1] > distance[..., 0])
        )
        won = np.where(second, pairs[..., 1], pairs[..., 0])
        mothers, fathers = self.history.codes[self._rows[won]]
        return offspring(self.feasible, self.history, mothers, fathers, self.crossover, rng)

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the ``(num_archs, num_scores)`` scores of what was asked; NaN: failed."""
        before = len(self.history.scores)
        self.history.tell(codes, scores)
        pool = np.concatenate([self._rows, np.arange(before, len(self.history.scores))])
        if len(pool):
            kept, self._rank, self._distance = survivors(self._values(pool), self.population)
            self._rows = pool[kept]

    def _values(self, rows: Ints) -> Floats:
        """Return the objectives of rows of the history, all minimised."""
        metrics = self.feasible.metrics(self.history.codes[rows])[:, list(self.metrics)]
        return np.concatenate([-self.history.scores[rows], metrics], axis=1)

    def front(self) -> tuple[Codes, Floats]:
        """Return the non-dominated networks of the survivors and their objectives, minimised."""
        rows = self._rows[self._rank == 0]
        return self.history.codes[rows], self._values(rows)


def build(problem: SearchProblem) -> Nsga2:
    """Return the NSGA-II of a run: accuracy and the latencies of its targets."""
    return Nsga2(
        problem.feasible,
        problem.seed,
        population=population_size(problem.evaluations, 50),
        metrics=problem.latencies,
        start=problem.start,
    )
