"""How the speed of a device changes between two sessions, from a few networks timed in both.

A clock or a temperature changes all latencies by about one factor. A neighbour that takes cache
and memory bandwidth, and a slower call, cost fast networks a larger share than slow ones. So the
model is ``now = scale x then + offset``. Few anchors determine the offset badly, so it has a normal
prior around 0 with standard deviation OFFSET_STD, as a share of the fastest anchor's latency: with
anchors of one latency, or where anchors agree, it stays 0. Both are fitted to relative errors by
iteratively reweighted least squares with Cauchy weights, so that one disturbed anchor does not pass
for a drift of the device. (``scipy.optimize.least_squares`` with a Cauchy loss needs a loss of its
own for the prior, and ends in another minimum for 8 of 2,000 random sets of anchors.) The
uncertainty is the standard error of the latency in the middle of the
anchors' range, from their repeatability and their disagreement.

A drift smaller than its uncertainty is mostly noise, so :attr:`Drift.applied` shrinks the logarithm
of the scale towards 0, as a normal prior with standard deviation PRIOR_STD does: sessions differ by
1 to 3 % on an idle host and by up to 10 % on a shared one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

OFFSET_STD = 0.04  # share of the fastest anchor's latency
NO_OFFSET = 1e-6  # share of the fastest anchor's latency: smaller is rounding
PRIOR_STD = 0.05  # of the logarithm of the scale
MIN_NOISE = 0.01
"""Relative, of one anchor in two sessions beyond the drift of both: 0.5 to 1.1 % on a host, most
for networks bound by memory, though a network may repeat to 0.1 % within a session."""

CAUCHY = 2.385  # standard errors; an anchor further away has less than half the weight
PASSES = 20  # of reweighting


@dataclass(frozen=True)
class Anchor:
    """A network that the table holds, timed again.

    ``recorded_ms`` is the table's latency and ``measured_ms`` the new one; ``noise`` is the
    relative standard error of their ratio.
    """

    arch_id: str
    recorded_ms: float
    measured_ms: float
    noise: float = 0.0

    @property
    def ratio(self) -> float:
        """New latency over recorded latency."""
        return self.measured_ms / self.recorded_ms


@dataclass(frozen=True)
class Drift:
    """``now = scale x then + offset_ms``; ``uncertainty`` is a standard error of the scale."""

    scale: float
    offset_ms: float
    uncertainty: float
    spread: float

    @property
    def applied(self) -> float:
        """The scale to correct predictions by: shrunk towards 1 by what is not known."""
        trust = PRIOR_STD**2 / (PRIOR_STD**2 + self.uncertainty**2)
        return float(np.exp(trust * np.log(self.scale)))

    @property
    def factor(self) -> float:
        """What latencies are multiplied by: shrunk where the scale is all there is."""
        return self.scale if self.offset_ms else self.applied

    def correct(self, then_ms: Floats) -> Floats:
        """Return the milliseconds now of latencies of then."""
        return self.factor * then_ms + self.offset_ms

    def before(self, now_ms: Floats) -> Floats:
        """Return the milliseconds then of latencies of now."""
        return (now_ms - self.offset_ms) / self.factor

    def to_json(self) -> dict[str, Any]:
        """Return the object that reports hold."""
        return {
            "scale": round(self.scale, 5),
            "offset_ms": round(self.offset_ms, 6),
            "uncertainty": round(self.uncertainty, 5),
            "spread": round(self.spread, 5),
            "applied": round(self.applied, 5),
        }

    def __str__(self) -> str:
        offset = f" and {self.offset_ms * 1e3:+.3g} us" if self.offset_ms else ""
        return f"x{self.scale:.3f}{offset} (± {self.uncertainty:.1%})"


def fit_drift(anchors: Sequence[Anchor]) -> Drift:
    """Return the drift fitted to anchors.

    Its ``spread`` is the largest relative deviation of an anchor from the model.

    Raises:
        ValueError: no anchors.
    """
    if not anchors:
        raise ValueError("a drift needs at least one anchor")
    then = np.array([a.recorded_ms for a in anchors])
    now = np.array([a.measured_ms for a in anchors])
    noise = np.maximum([a.noise for a in anchors], MIN_NOISE)
    fastest = float(then.min())
    # relative errors: x (num_anchors, 2) @ (scale, offset / fastest) = 1
    x = np.stack([then / now, fastest / now], 1)
    (scale, share), covariance = _robust(x, noise)
    offset_ms = float(share) * fastest if abs(share) > NO_OFFSET else 0.0
    residual = x @ np.array([scale, share]) - 1
    middle = np.array([1.0, fastest / float(np.sqrt(then.min() * then.max()))])
    uncertainty = float(np.sqrt(middle @ covariance @ middle))
    return Drift(float(scale), offset_ms, uncertainty, float(np.abs(residual).max()))


def _robust(x: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Return the coefficients c of ``x @ c = 1`` and their covariance, with Cauchy weights.

    The second coefficient has the prior OFFSET_STD. The fit starts at the median ratio, so that one
    of three anchors may be wrong.
    """
    prior = np.array([[0.0, 1 / OFFSET_STD]])
    solution = np.array([1 / np.median(x[:, 0]), 0.0])
    for _ in range(PASSES):
        weights = _weights(x @ solution - 1, noise)
        root = np.sqrt(weights)  # the prior is one more row
        left, right = np.vstack([x * root[:, None], prior]), np.append(root, 0.0)
        solution = np.asarray(np.linalg.lstsq(left, right, rcond=None)[0], dtype=np.float64)
    residual = x @ solution - 1
    weights = _weights(residual, noise)
    # covariance = (X' W X + prior)^-1 x inflation
    information = x.T @ (x * weights[:, None]) + prior.T @ prior
    # chi^2 per degree of freedom, where anchors disagree by more than their noise
    inflation = max(1.0, float((residual**2 / noise**2).sum() / max(len(x) - 1, 1)))
    covariance: Floats = np.linalg.pinv(information) * inflation
    return solution, covariance


def _weights(residual: Floats, noise: Floats) -> Floats:
    weights: Floats = 1 / (1 + (residual / noise / CAUCHY) ** 2) / noise**2
    return weights
