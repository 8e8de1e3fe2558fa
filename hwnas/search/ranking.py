"""How far the search's ranking agrees with what training from scratch says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.rng import stream

Floats = NDArray[np.float64]

RESAMPLES = 2000
MIN_NETWORKS = 10  # with fewer the interval spans nearly all of [-1, 1]


@dataclass(frozen=True)
class RankAgreement:
    """Kendall's tau-b between search and from-scratch scores of ``num_networks`` networks.

    ``interval`` is the 95 % percentile bootstrap over networks; ``macs_tau`` the tau of plain MACs
    with the from-scratch scores, which a search must beat to have learned anything. None where all
    scores are equal or there are fewer than 3 networks. Networks that ``num_groups`` different
    supernets scored are compared within their group only. ``statement`` says it in words.
    """

    num_networks: int
    tau: float | None
    interval: tuple[float, float] | None
    macs_tau: float | None
    statement: str
    num_groups: int = 1


def rank_agreement(
    searched: Sequence[float],
    scratch: Sequence[float],
    macs: Sequence[float],
    groups: Sequence[int] | None = None,
    *,
    seed: int,
) -> RankAgreement:
    """Compare two scorings of the same networks, higher better, and MACs with the second.

    ``groups`` (num_networks,) name the supernet that scored each network, None: all by one. Scores
    of different supernets do not compare, so only pairs within a group count.
    """
    count = len(scratch)
    labels = np.zeros(count) if groups is None else np.asarray(groups)
    same = labels[:, None] == labels[None, :]  # (num_networks, num_networks)
    tau, macs_tau = (
        _taus(np.ones((1, count)), *_signs(given, scratch, same))[0] for given in (searched, macs)
    )
    interval = None
    if tau is not None:
        # bootstrap: how many times each network is drawn, (RESAMPLES, num_networks)
        rng = stream(seed, "rank agreement")
        drawn = rng.integers(count, size=(RESAMPLES, count))
        times = np.stack([np.bincount(rows, minlength=count) for rows in drawn]).astype(float)
        resampled = _taus(times, *_signs(searched, scratch, same))
        taus = [value for value in resampled if value is not None]
        low, high = np.percentile(taus, [2.5, 97.5])
        interval = float(low), float(high)
    num_groups = max(1, len(np.unique(labels)))
    return RankAgreement(
        count,
        tau,
        interval,
        macs_tau,
        _statement(count, num_groups, tau, interval, macs_tau),
        num_groups,
    )


def _signs(
    left: Sequence[float], right: Sequence[float], same: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return by either scoring the sign of the difference of each pair; 0 across groups.

    Two arrays ``(num_networks, num_networks)``.
    """
    first, second = (
        np.sign(np.subtract.outer(np.asarray(v), np.asarray(v))) * same for v in (left, right)
    )
    return first, second


def _taus(times: Floats, left: Floats, right: Floats) -> list[float | None]:
    """Return tau-b where each row of ``times`` (num_rows, num_networks) counts the networks.

    scipy's tau has no groups, and one call for each resample would take seconds.

    Kendall, "The treatment of ties in ranking problems", Biometrika 1945: concordant less
    discordant pairs, over the geometric mean of the pairs that either scoring does not tie.
    """
    if times.shape[1] < 3:
        return [None] * len(times)

    def pairs(matrix: Floats) -> Floats:
        # (num_rows,): t M t^T of each row t of ``times``
        weighted: Floats = ((times @ matrix) * times).sum(axis=1)
        return weighted

    both, one, other = pairs(left * right), pairs(left**2), pairs(right**2)
    return [
        float(agreed / np.sqrt(a * b)) if a * b > 0 else None
        for agreed, a, b in zip(both, one, other, strict=True)
    ]


def _statement(
    count: int,
    num_groups: int,
    tau: float | None,
    interval: tuple[float, float] | None,
    macs_tau: float | None,
) -> str:
    if tau is None or interval is None:
        return (
            f"With {count} networks, or none that differ, nothing can be said of how the "
            "search's ranking agrees with training from scratch."
        )
    if count < MIN_NETWORKS:
        scored = f" of {num_groups} supernets" if num_groups > 1 else ""
        return (
            f"{count} networks{scored} are too few to say whether the search's ranking agrees "
            f"with training from scratch (tau {tau:.2f}, 95 % interval {interval[0]:.2f} to "
            f"{interval[1]:.2f}): the finalists' order is that of training, not of the search."
        )
    within = (
        f", compared within each of the {num_groups} supernets that scored them,"
        if num_groups > 1
        else ""
    )
    verdict = (
        "agrees with"
        if interval[0] > 0
        else "contradicts"
        if interval[1] < 0
        else "cannot be told from chance against"
    )
    by_macs = "" if macs_tau is None else f"; MACs alone reach {macs_tau:.2f}"
    return (
        f"Over {count} networks{within} the search's ranking {verdict} training from scratch "
        f"(tau {tau:.2f}, 95 % interval {interval[0]:.2f} to {interval[1]:.2f}){by_macs}."
    )
