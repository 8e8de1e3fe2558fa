"""How a device has moved between two sessions, from a few networks timed in both.

A clock, a temperature or a neighbour changes all latencies by about one factor; a slower call adds
the same to each. So the model is ``now = scale x then``, or ``now = scale x then + offset`` where
FOR_OFFSET anchors or more over a range of RANGE_FOR_OFFSET or more say so. Both are fitted in
relative errors, robustly: an anchor that was disturbed must not pass for the device. The
uncertainty is what the anchors' own repeatability and their disagreement leave.

A drift smaller than its uncertainty is mostly noise, so :attr:`Drift.applied` shrinks the logarithm
of the scale towards 0 as a normal prior of PRIOR would: sessions differ by 1 to 3 % on an idle
host, by up to 10 % on a shared one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FOR_OFFSET = 5
RANGE_FOR_OFFSET = 3.0  # slowest over fastest anchor
PRIOR = 0.05
LEAST_NOISE = 0.004  # relative, of one anchor in two sessions
HUBER = 1.5  # in standard errors; beyond it an anchor's weight falls
PASSES = 20


@dataclass(frozen=True)
class Anchor:
    """A network timed in both sessions; ``noise``: relative, of both measurements together."""

    name: str
    then_ms: float
    now_ms: float
    noise: float = 0.0

    @property
    def ratio(self) -> float:
        """Now over then."""
        return self.now_ms / self.then_ms


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
        trust = PRIOR**2 / (PRIOR**2 + self.uncertainty**2)
        return float(np.exp(trust * np.log(self.scale)))

    def correct(self, then_ms: Floats) -> Floats:
        """Return the milliseconds now of latencies of then."""
        if self.offset_ms:
            return self.scale * then_ms + self.offset_ms
        return self.applied * then_ms

    def to_json(self) -> dict[str, Any]:
        """Return the object that reports hold."""
        return {"scale": round(self.scale, 5), "offset_ms": round(self.offset_ms, 6),
                "uncertainty": round(self.uncertainty, 5), "spread": round(self.spread, 5),
                "applied": round(self.applied, 5)}

    def __str__(self) -> str:
        offset = f" and {self.offset_ms * 1e3:+.3g} us" if self.offset_ms else ""
        return f"x{self.scale:.3f}{offset} (± {self.uncertainty:.1%})"


def fit_drift(anchors: Sequence[Anchor]) -> Drift:
    """Return the drift that the anchors tell.

    ``spread`` is the largest relative deviation of an anchor from the model.

    Raises:
        ValueError: no anchors.
    """
    if not anchors:
        raise ValueError("a drift needs at least one anchor")
    then = np.array([a.then_ms for a in anchors])
    now = np.array([a.now_ms for a in anchors])
    noise = np.maximum([a.noise for a in anchors], LEAST_NOISE)
    columns = [then / now]
    if len(anchors) >= FOR_OFFSET and then.max() / then.min() >= RANGE_FOR_OFFSET:
        both, error = _robust(np.stack([then / now, 1 / now], 1), noise)
        one, _ = _robust(np.stack(columns, 1), noise)
        if abs(both[1]) > 2 * error[1]:
            residual = (both[0] * then + both[1]) / now - 1
            return Drift(float(both[0]), float(both[1]), float(error[0]),
                         float(np.abs(residual).max()))
        return _scaled(float(one[0]), then, now, noise)
    one, _ = _robust(np.stack(columns, 1), noise)
    return _scaled(float(one[0]), then, now, noise)


def _scaled(scale: float, then: Floats, now: Floats, noise: Floats) -> Drift:
    residual = scale * then / now - 1
    count = len(then)
    known = float(np.sqrt((noise**2).mean() / count))
    # the anchors' disagreement, where it is more than their noise explains
    seen = float(np.sqrt((residual**2).sum() / max(count - 1, 1) / count)) if count > 1 else 0.0
    return Drift(scale, 0.0, max(known, seen), float(np.abs(residual).max()))


def _robust(x: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Return coefficients of ``x @ c = 1`` and their errors, by Huber's reweighting.

    Starts at the median ratio, so that of three anchors one may be wrong.
    """
    start: Floats = np.zeros(x.shape[1])
    start[0] = 1 / np.median(x[:, 0])
    weights = _weights(x @ start - 1, noise)
    solution = np.asarray(start, dtype=np.float64)
    for _ in range(PASSES):
        root = np.sqrt(weights)[:, None]
        solution = np.asarray(np.linalg.lstsq(x * root, root[:, 0], rcond=None)[0])
        weights = _weights(x @ solution - 1, noise)
    information = x.T @ (x * weights[:, None])
    residual = x @ solution - 1
    freedom = max(len(x) - x.shape[1], 1)
    inflation = max(1.0, float((weights * residual**2).sum() / freedom))
    error = np.sqrt(np.diag(np.linalg.pinv(information)) * inflation)
    return solution, error


def _weights(residual: Floats, noise: Floats) -> Floats:
    size = np.maximum(np.abs(residual / noise), 1e-12)
    weights: Floats = np.minimum(1.0, HUBER / size) / noise**2
    return weights
