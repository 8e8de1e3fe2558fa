"""How far the search's ranking agrees with what training from scratch says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from hwnas.rng import stream

RESAMPLES = 2000
FEW = 10  # below this an interval spans about everything


@dataclass(frozen=True)
class RankAgreement:
    """Kendall's tau-b between search and from-scratch scores of ``num_networks`` networks.

    ``interval`` is the 95 % percentile bootstrap over networks; ``macs_tau`` the tau of plain MACs
    with the from-scratch scores, which a search must beat to have learned anything. None where all
    scores are equal or there are fewer than 3 networks. ``statement`` says it in words.
    """

    num_networks: int
    tau: float | None
    interval: tuple[float, float] | None
    macs_tau: float | None
    statement: str

    def to_json(self) -> dict[str, Any]:
        """Return the object result files hold."""
        return asdict(self)


def rank_agreement(
    searched: Sequence[float], scratch: Sequence[float], macs: Sequence[float], *, seed: int
) -> RankAgreement:
    """Compare two scorings of the same networks, higher better; MACs stand beside them."""
    found, by_macs = _tau(searched, scratch), _tau(macs, scratch)
    interval = _bootstrap(searched, scratch, seed) if found is not None else None
    return RankAgreement(len(scratch), found, interval, by_macs,
                         _statement(len(scratch), found, interval, by_macs))


def _tau(left: Sequence[float], right: Sequence[float]) -> float | None:
    if len(left) < 3 or len(set(left)) < 2 or len(set(right)) < 2:
        return None
    return float(kendalltau(left, right).statistic)


def _bootstrap(
    left: Sequence[float], right: Sequence[float], seed: int
) -> tuple[float, float] | None:
    rng = stream(seed, "rank agreement")
    a, b = np.asarray(left), np.asarray(right)
    taus = []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(a), size=len(a))
        one = _tau(a[rows].tolist(), b[rows].tolist())
        if one is not None:
            taus.append(one)
    if not taus:
        return None
    low, high = np.percentile(taus, [2.5, 97.5])
    return float(low), float(high)


def _statement(
    count: int, tau: float | None, interval: tuple[float, float] | None, macs_tau: float | None
) -> str:
    if tau is None or interval is None:
        return (f"With {count} networks, or none that differ, nothing can be said of how the "
                "search's ranking agrees with training from scratch.")
    if count < FEW:
        return (f"{count} networks are too few to say whether the search's ranking agrees with "
                f"training from scratch (tau {tau:.2f}, 95 % interval {interval[0]:.2f} to "
                f"{interval[1]:.2f}): the finalists' order is that of training, not of the search.")
    verdict = ("agrees with" if interval[0] > 0 else "contradicts" if interval[1] < 0
               else "cannot be told from chance against")
    beside = "" if macs_tau is None else f"; MACs alone reach {macs_tau:.2f}"
    return (f"Over {count} networks the search's ranking {verdict} training from scratch (tau "
            f"{tau:.2f}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}){beside}.")
