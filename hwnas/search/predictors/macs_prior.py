"""MacsPrior as a first guess of accuracy: the multiply-accumulates of codes.

Of networks that are equally fast the one that does more work is more often the better one. Nobody
has to train for this guess, and it ranks networks about as well as the best scores computed
without training do (Ning et al., "Evaluating Efficient Performance Estimators of Neural
Architectures", NeurIPS 2021, §5; White et al., "A Deeper Look at Zero-Cost Proxies for Lightweight
NAS", ICLR blog track 2022). Searches use it to choose among candidates that they know nothing else
of, and evaluate the top_by_macs now and then; it never replaces an evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.problem.feasible import Feasible

LISTED = 200  # top_by_macs networks that are known at a time


@dataclass(frozen=True)
class MacsPrior:
    """The multiply-accumulates of the networks of a space under limits.

    The top_by_macs come in an order of ``seed`` where they are equal.
    """

    feasible: Feasible
    seed: int = 0

    def macs(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` multiply-accumulates of the networks of codes."""
        return self.feasible.macs(codes)

    def most(self, codes: Codes, count: int) -> Codes:
        """Return the ``count`` of ``codes`` with the most multiply-accumulates, most first."""
        chosen: Codes = codes[np.argsort(-self.macs(codes), kind="stable")[:count]]
        return chosen

    def concordance(self, codes: Codes, scores: NDArray[np.float64]) -> float:
        """Return how often, of two of these networks, the busier one has the higher score.

        Kendall's tau (b) as a share of pairs, 0 to 1; 0.5 where nothing can be said.
        """
        tau = float(kendalltau(self.macs(codes), scores).statistic) if len(codes) > 1 else 0.0
        return 0.5 if np.isnan(tau) else (tau + 1) / 2

    @cached_property
    def top_by_macs(self) -> Codes:
        """The LISTED top_by_macs networks within the limits, top_by_macs first."""
        return self.feasible.top_by_macs(LISTED, stream(self.seed, "top_by_macs"))
