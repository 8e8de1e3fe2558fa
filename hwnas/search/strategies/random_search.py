"""Random search: networks drawn uniformly from those just below the budget.

The baseline every search must beat (Li and Talwalkar, "Random search and reproducibility for
neural architecture search", UAI 2019; Yu et al., ICLR 2020). Departure: draws are uniform over the
*window* of codes between ``low_share`` of the budget and the budget, not over the whole space, so
that no evaluation is spent on a network that breaks a limit or leaves most of the budget unused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import LOW_SHARE, Floats, History, draw_new
from hwnas.search.strategies.registry import SearchProblem

BLOCK = 64  # networks drawn at a time, so that asking in parts gives what asking at once does


@dataclass
class RandomSearch:
    """Asks for distinct networks, uniform over the codes of the window; then those below it.

    Scores change nothing. Implements ``protocols.CodeSearcher``.
    """

    feasible: Feasible
    seed: int
    low_share: float = LOW_SHARE
    history: History = field(init=False, repr=False)
    _drawn: Codes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.history = History(self.feasible.space)
        self._drawn = np.empty((0, len(self.feasible.space.choices)), dtype=np.int16)

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` networks; fewer when all have been asked for."""
        while len(self._drawn) < count:
            rng = stream(self.seed, "random search", self.history.num_asked)
            more = draw_new(self.feasible, self.history, BLOCK, rng, self.low_share)
            if len(more) == 0:
                break
            self._drawn = np.concatenate([self._drawn, self.history.ask(more)])
        asked, self._drawn = self._drawn[:count], self._drawn[count:]
        return asked

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the scores; random search does not use them."""


def build(problem: SearchProblem) -> RandomSearch:
    """Return the random search of a run."""
    return RandomSearch(problem.feasible, problem.seed, problem.low_share)
