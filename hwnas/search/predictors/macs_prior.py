"""The prior of searches with few evaluations: multiply-accumulates (MACs) and the best networks.

Of networks that are equally fast the one with more MACs is more often the better one. That ranks
networks about as well as the best scores computed without training do (Ning et al., "Evaluating
Efficient Performance Estimators of Neural Architectures", NeurIPS 2021, §5; White et al., "A Deeper
Look at Zero-Cost Proxies for Lightweight NAS", ICLR blog track 2022). ``search.prior: macs`` (the
default) adds it to the published algorithms of evolution and rl, ``none`` leaves it out:

- the first networks have the most MACs of POOL times as many random ones;
- every TURN-th network has the most MACs of those not evaluated;
- of candidates that the algorithm does not distinguish, the one with the most MACs is preferred, as
  often as MACs rank two evaluated networks rightly;
- the best networks ever evaluated stay parents (evolution) and are imitated (rl).

It never replaces an evaluation. ``benchmarks/nasbench201.py`` shows both forms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.problem.feasible import Feasible

LISTED = 200  # networks with the most MACs that are known at a time
POOL = 4  # tuned, as TURN, on nasbench201 under 12 budgets of four devices, 200 evaluations
TURN = 10


class Asked(Protocol):
    """The networks that a search has asked for (``strategies.population.History``)."""

    @property
    def num_asked(self) -> int:
        """How many networks were asked for."""

    def fresh(self, codes: Codes) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: whether a network was not asked for."""


@dataclass(frozen=True)
class MacsPrior:
    """Preferences by MACs among the networks of a space under limits.

    ``seed`` decides the order of networks with equal MACs.
    """

    feasible: Feasible
    seed: int = 0

    def macs(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` multiply-accumulates of the networks of codes."""
        return self.feasible.macs(codes)

    def most(self, codes: Codes, count: int) -> Codes:
        """Return the ``count`` of ``codes`` with the most MACs, most first."""
        chosen: Codes = codes[np.argsort(-self.macs(codes), kind="stable")[:count]]
        return chosen

    def concordance(self, codes: Codes, scores: NDArray[np.float64]) -> float:
        """Return how often, of two of these networks, that with more MACs has the higher score.

        Kendall's tau (b) as a share of pairs, 0 to 1; 0.5 where it is not defined.
        """
        from scipy.stats import kendalltau  # 0.5 s, paid by the searches that use it

        tau = float(kendalltau(self.macs(codes), scores).statistic) if len(codes) > 1 else 0.0
        return 0.5 if np.isnan(tau) else (tau + 1) / 2

    def due(self, asked: Asked, count: int, room: int) -> Codes:
        """Return the networks with the most MACs not asked for yet, at most ``room`` of them.

        One of TURN networks of a search is such a one: due are those among the next ``count``.
        """
        num_due = -(-(asked.num_asked + count) // TURN) - -(-asked.num_asked // TURN)
        if min(num_due, room) <= 0:
            return self.top_by_macs[:0]
        fresh = self.top_by_macs[asked.fresh(self.top_by_macs)]
        return np.asarray(fresh[: min(num_due, room)])

    def parents(
        self, scores: NDArray[np.float64], youngest: NDArray[np.int64], count: int
    ) -> NDArray[np.int64]:
        """Return the rows of ``scores`` (num_told,) that may be parents.

        They are ``youngest``, the population by age, and the ``count`` best ever.
        """
        best = np.argsort(-scores, kind="stable")[:count]
        return np.union1d(youngest, best)

    @cached_property
    def top_by_macs(self) -> Codes:
        """The LISTED networks within the limits with the most MACs, most first."""
        # "busiest": the stream's name since the first version, so that seeds mean the same
        return self.feasible.top_by_macs(LISTED, stream(self.seed, "busiest"))
