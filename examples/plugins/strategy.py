"""A strategy: simulated annealing (Kirkpatrick et al., Science 1983) on codes, within limits.

    hwnas search --strategy annealing --plugin strategy.py ...

A changed network becomes the present one if it is better, else with probability
exp(change / temperature); the temperature falls from ``hot`` to 0.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hwnas.plugins import Codes, FileSchema, SearchProblem, register_strategy

TRIES = 256  # changed networks looked at for a new one within the limits


class AnnealingConfig(FileSchema):
    """``search.settings`` of a run: the temperature at the beginning, in top-1 accuracy."""

    hot: Annotated[float, Field(gt=0, le=1)] = 0.02


class Annealing:
    """Implements ``hwnas.protocols.CodeSearcher``."""

    def __init__(self, problem: SearchProblem) -> None:
        self.problem, self.within = problem, problem.feasible
        self.asked: set[bytes] = set()
        self.present, self.score = self.within.sample(1, np.random.default_rng(0)), -np.inf

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` networks within the limits that were not asked for before."""
        space, rng = self.within.space, np.random.default_rng((self.problem.seed, len(self.asked)))
        sizes = np.array([len(choice.options) for choice in space.choices])
        # (TRIES, num_choices): the present code, one choice of each row drawn anew
        near, columns = self.present.repeat(TRIES, axis=0), rng.integers(len(sizes), size=TRIES)
        near[np.arange(TRIES), columns] = rng.integers(sizes[columns])
        near = space.repair(near)
        near = near[self.within.within(near)]
        near = np.concatenate([near, self.within.sample(TRIES, rng)])  # once all are known
        new: dict[bytes, int] = {}
        for row, key in enumerate(space.network_keys(near)):
            if len(new) < count and key.tobytes() not in self.asked:
                new.setdefault(key.tobytes(), row)
        self.asked.update(new)
        return near[list(new.values())]

    def tell_codes(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Take ``(num_archs, 1)`` scores; NaN where an evaluation failed."""
        heat = self.problem.settings.hot * max(1e-9, 1 - len(self.asked) / self.problem.evaluations)
        rng = np.random.default_rng((self.problem.seed, len(self.asked), 1))
        for code, score in zip(codes, scores[:, 0], strict=True):
            if rng.random() < np.exp(np.minimum(0, (score - self.score) / heat)):  # never for NaN
                self.present, self.score = code[None], float(score)


register_strategy("annealing", "Simulated annealing.", Annealing, settings=AnnealingConfig)
