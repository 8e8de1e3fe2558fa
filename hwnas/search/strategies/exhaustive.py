"""Exhaustive search: every network within the limits once; for spaces small enough to list."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwnas.errors import UsageError
from hwnas.protocols import Codes
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import Floats, History
from hwnas.search.strategies.registry import SearchProblem


@dataclass
class Exhaustive:
    """Asks for all networks in lexicographic order of their first code.

    Implements ``protocols.CodeSearcher``.

    Raises:
        UsageError: more networks than ``most`` (None: than can be listed) are within the limits.
    """

    feasible: Feasible
    most: int | None = None
    _left: Codes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        space, codes = self.feasible.space, self.feasible.listed()
        if codes is not None:
            codes = codes[History(space).fresh(codes)]
        number = self.feasible.num_codes if codes is None else len(codes)
        if codes is None or (self.most is not None and number > self.most):
            what = "about " if codes is None else ""
            raise UsageError(
                f"exhaustive search evaluates every network, and {space.name} has "
                f"{what}{number:.4g} within its limits"
                + ("" if self.most is None else f", of which it may evaluate {self.most}")
                + ". Next: choose evolution, local or random "
                "search, or tighter limits"
            )
        self._left = codes

    def ask_codes(self, count: int) -> Codes:
        """Return the next ``count`` networks; fewer when all have been asked for."""
        asked, self._left = self._left[: max(count, 0)], self._left[max(count, 0) :]
        return asked

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the scores; what is asked does not depend on them."""


def build(problem: SearchProblem) -> Exhaustive:
    """Return the exhaustive search of a run."""
    return Exhaustive(problem.feasible, problem.evaluations)
