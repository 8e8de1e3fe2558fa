"""A strategy: simulated annealing (Kirkpatrick et al., Science 1983) on codes, within limits.

    hwnas search --strategy annealing --plugin strategy.py ...

A changed network becomes the present one if it is better, else with probability
exp(change / temperature); the temperature falls from ``hot`` to 0.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hwnas import plugins
from hwnas.plugins import Codes, SearchProblem


class AnnealingConfig(plugins.FileSchema):
    """``search.settings`` of a run: the temperature at the beginning, in top-1 accuracy."""

    hot: Annotated[float, Field(gt=0, le=1)] = 0.02


class Annealing:
    """Implements ``hwnas.protocols.CodeSearcher``."""

    def __init__(self, problem: SearchProblem) -> None:
        self.problem, self.feasible = problem, problem.feasible
        self.history = plugins.History(self.feasible.space)  # no network is asked for twice
        self.present: Codes = np.empty((0, len(self.feasible.space.choices)), dtype=np.int16)
        self.score = -np.inf

    def _random(self, step: int) -> np.random.Generator:
        """Return a generator of its own for each point of the search, as runs are resumed there."""
        return np.random.default_rng((self.problem.seed, step, self.history.num_asked))

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new networks within the limits; fewer when none are left."""
        rng = self._random(0)

        def near(number: int) -> Codes:  # (number, num_choices), each with one choice changed
            present = self.present.repeat(number, axis=0)
            return plugins.mutate(self.feasible.space, present, rng)

        found = self.history.ask(plugins.collect(near, self.feasible, self.history, count))
        # at the beginning, or once all neighbours are known
        drawn = plugins.draw_new(self.feasible, self.history, count - len(found), rng)
        return np.concatenate([found, self.history.ask(drawn)])

    def tell_codes(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Take ``(num_archs, 1)`` scores; NaN where an evaluation failed."""
        rng, left = self._random(1), 1 - self.history.num_asked / self.problem.evaluations
        for code, score in zip(codes, scores[:, 0], strict=True):
            change = (score - self.score) / (self.problem.settings.hot * max(left, 1e-9))
            if rng.random() < np.exp(np.minimum(0, change)):  # never for NaN
                self.present, self.score = code[None], float(score)


plugins.register_strategy("annealing", "Simulated annealing.", Annealing, settings=AnnealingConfig)
