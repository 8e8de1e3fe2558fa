"""Work as a first guess of accuracy: the multiply-accumulates of codes.

Of networks that are equally fast the one that does more work is more often the better one. Nobody
has to train for this guess, and it ranks networks about as well as the best scores computed
without training do (Ning et al., "Evaluating Efficient Performance Estimators of Neural
Architectures", NeurIPS 2021, §5; White et al., "A Deeper Look at Zero-Cost Proxies for Lightweight
NAS", ICLR blog track 2022). Searches use it to choose among candidates that they know nothing else
of; it never replaces an evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term, sum_of_terms
from hwnas.interfaces import Codes, SearchSpace
from hwnas.latency.networks import macs_terms


@dataclass(frozen=True)
class Work:
    """The multiply-accumulates of a space's networks."""

    space: SearchSpace

    @cached_property
    def _terms(self) -> tuple[Term, ...]:
        return tuple(macs_terms(self.space))

    def macs(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` multiply-accumulates of the networks of codes."""
        return sum_of_terms(self._terms, codes)

    def most(self, codes: Codes, count: int) -> Codes:
        """Return the ``count`` of ``codes`` with the most multiply-accumulates, most first."""
        chosen: Codes = codes[np.argsort(-self.macs(codes), kind="stable")[:count]]
        return chosen
