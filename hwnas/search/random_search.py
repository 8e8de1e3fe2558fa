"""Random search: networks drawn uniformly from those just below the budget.

The baseline every search must beat (Li and Talwalkar, "Random search and reproducibility for
neural architecture search", UAI 2019; Yu et al., ICLR 2020). Departure: draws are uniform over the
*window* of codes between ``low_share`` of the budget and the budget, not over the whole space, so
that no evaluation is spent on a network that breaks a limit or leaves most of the budget unused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from hwnas.arch import Arch
from hwnas.interfaces import Codes, Evaluation
from hwnas.rng import stream
from hwnas.search.feasible import Feasible
from hwnas.search.limits import LimitedSpace
from hwnas.search.population import LOW_SHARE, Floats, History, draw_new


@dataclass
class RandomSearch:
    """Asks for distinct networks, uniform over the window; learns nothing from being told.

    A window that runs dry (a small space) is followed by the networks below it, down to the
    fastest. Implements ``interfaces.Searcher``.
    """

    limited: LimitedSpace
    high_ms: float
    seed: int
    low_share: float = LOW_SHARE
    _networks: Iterator[Arch] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._networks = self._draw()

    def _draw(self) -> Iterator[Arch]:
        fastest, _ = self.limited.extremes()
        low = min(max(fastest, self.low_share * self.high_ms), self.high_ms)
        seen = set()
        for number, bounds in enumerate(((low, self.high_ms), (fastest, low))):
            for arch in self.limited.draws(*bounds, stream(self.seed, "random search", number)):
                network_id = self.limited.space.network_id(arch)
                if network_id not in seen:
                    seen.add(network_id)
                    yield arch

    def ask(self, count: int) -> list[Arch]:
        """Return the next ``count`` networks; fewer when all have been asked for."""
        return list(islice(self._networks, count))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the evaluations; random search does not use them."""


@dataclass
class RandomCodes:
    """Random search on codes, under any limits. Implements ``interfaces.CodeSearcher``.

    Networks are distinct and uniform over the codes of the window; then come those below it.
    """

    feasible: Feasible
    seed: int
    low_share: float = LOW_SHARE
    history: History = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.history = History(self.feasible.space)

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` networks; fewer when all have been asked for."""
        rng = stream(self.seed, "random codes", self.history.num_asked)
        return self.history.ask(draw_new(self.feasible, self.history, count, rng, self.low_share))

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the scores; random search does not use them."""
