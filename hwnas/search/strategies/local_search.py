"""Local search: try the neighbours of the best network, move to a better one, else begin again.

White, Nolen and Savani, "Exploring the loss landscape in neural architecture search", UAI 2021,
Algorithm 1: a few random networks, then all neighbours (one choice changed) of the best; a better
neighbour is the next centre; a network without one is a local optimum.

Departures: neighbours come in random order and in batches, and the search moves as soon as a batch
holds a better one (their query-until-lower variant); after a local optimum it begins again from
random networks; and for every neighbour that breaks a limit there is one that changes a second
choice as well, drawn at random among those that meet the limits (a trade), so that a network just
below the limit has neighbours at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import (
    LOW_SHARE,
    Floats,
    History,
    draw_new,
    first_codes,
    mutate,
    neighbours,
    population_size,
)
from hwnas.search.strategies.registry import SearchProblem

TRADES = 8  # second changes tried for a neighbour that breaks a limit


@dataclass
class LocalSearch:
    """Local search within limits. Implements ``protocols.CodeSearcher`` (one objective).

    ``initial`` random networks come first, and again after a local optimum.
    """

    feasible: Feasible
    seed: int
    initial: int = 10
    low_share: float = LOW_SHARE
    start: Codes | None = None
    history: History = field(init=False, repr=False)
    _centre: Codes = field(init=False, repr=False)
    _centre_score: float = field(init=False, default=-np.inf)
    _to_come: int = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.feasible.space)
        self._to_come = self.initial
        self._centre = np.empty((0, len(self.feasible.space.choices)), dtype=np.int16)

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new networks within the limits; fewer when none are left."""
        rng = stream(self.seed, "local search", self.history.num_asked)
        found = self.history.ask(first_codes(self.feasible, self.history, self.start, count))
        if self._to_come == 0 and len(found) < count:
            near = self._near(rng)[: count - len(found)]
            found = np.concatenate([found, self.history.ask(near)])
            if len(near) == 0:
                # a local optimum: begin again
                self._to_come, self._centre_score = self.initial, -np.inf
                self._centre = self._centre[:0]
        drawn = draw_new(self.feasible, self.history, count - len(found), rng, self.low_share)
        return np.concatenate([found, self.history.ask(drawn)])

    def _near(self, rng: np.random.Generator) -> Codes:
        """Return the new neighbours of the centre in random order, then its trades."""
        space = self.feasible.space
        near, _ = neighbours(space, self._centre)
        near = near[rng.permutation(len(near))]
        inside = self.feasible.within(near)
        trades = mutate(space, np.repeat(near[~inside], TRADES, axis=0), rng)
        is_good = self.feasible.within(trades)
        is_good[is_good] = self.history.unknown(trades[is_good])
        chosen = np.arange(len(trades) // TRADES) * TRADES
        chosen += is_good.reshape(-1, TRADES).argmax(axis=1)
        both = np.concatenate([near[inside], trades[chosen[is_good[chosen]]]])
        return both[self.history.fresh(both)]

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the ``(num_archs, 1)`` scores of what was asked; NaN: failed."""
        good = self.history.tell(codes, scores)
        self._to_come = max(0, self._to_come - len(codes))
        if good.any():
            values = np.where(good, np.asarray(scores, dtype=np.float64).reshape(-1), -np.inf)
            best = int(values.argmax())
            if values[best] > self._centre_score:
                self._centre, self._centre_score = codes[best : best + 1], float(values[best])
        if len(self._centre) == 0:
            self._to_come = max(self._to_come, 1)  # all failed so far: more random ones


def build(problem: SearchProblem) -> LocalSearch:
    """Return the local search of a run."""
    return LocalSearch(
        problem.feasible,
        problem.seed,
        initial=population_size(problem.evaluations, 10),
        low_share=problem.low_share,
        start=problem.start,
    )
