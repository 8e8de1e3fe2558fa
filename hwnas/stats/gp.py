"""The core of all Gaussian processes: kernels, conditioning on observations, the evidence.

Notation (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 2)

- n observations ``y`` (n,) of a function f with mean 0, with independent noise;
- f has the covariance ``variance * K``, the noise the variance ``variance * noise``: K (n, n) are
  the correlations of f at the observations, ``noise`` is relative to the variance of f;
- L (n, n), lower triangular, is the Cholesky factor: L L^T = K + noise I;
- w (n,) = (K + noise I)^-1 y, the weights of the observations;
- ``across`` (m, n) are the correlations of f at m points with f at the observations.

The mean at the points is ``across w``, linear in the observations. The variance of largest evidence
is ``y^T w / n`` in closed form. Callers standardise y and choose kernel and noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SMALLEST_VARIANCE = 1e-12  # where all observations are equal


def hamming(left: NDArray[Any], right: NDArray[Any]) -> Floats:
    """Return ``(num_left, num_right)`` shares of the columns in which two rows differ."""
    differ = np.zeros((len(left), len(right)))
    for a, b in zip(left.T, right.T, strict=True):  # a (num_left,), b (num_right,)
        differ += a[:, None] != b[None, :]
    return np.asarray(differ / max(left.shape[1], 1))


def exponential(distance: Floats, length: float) -> Floats:
    """Return ``exp(-d / length)``: rough functions."""
    return np.asarray(np.exp(-distance / length))


def squared_exponential(distance: Floats) -> Floats:
    """Return ``exp(-d^2 / 2)`` of distances in length scales: smooth functions (eq. 4.9)."""
    return np.asarray(np.exp(-(distance**2) / 2))


def matern32(distance: Floats) -> Floats:
    """Return ``(1 + sqrt(3) d) exp(-sqrt(3) d)``: once differentiable functions (eq. 4.17)."""
    scaled = math.sqrt(3) * distance
    return np.asarray((1 + scaled) * np.exp(-scaled))


@dataclass(frozen=True)
class Posterior:
    """A process given its observations; see :func:`condition`.

    ``factor`` is L (n, n), ``weights`` w (n,), ``observed`` y (n,).
    """

    factor: Floats
    weights: Floats
    observed: Floats

    @cached_property
    def variance(self) -> float:
        """The variance of f that maximises the evidence, ``y^T w / n``."""
        return max(float(self.observed @ self.weights) / len(self.observed), SMALLEST_VARIANCE)

    @cached_property
    def evidence(self) -> float:
        """The log marginal likelihood of y at :attr:`variance` (eq. 2.30)."""
        # y^T (variance (K + noise I))^-1 y = n at this variance; log det = 2 sum log diag L
        fit = -0.5 * len(self.observed) * np.log(2 * np.pi * np.e * self.variance)
        return float(fit - np.log(np.diag(self.factor)).sum())

    def mean(self, across: Floats) -> Floats:
        """Return ``(m,)`` expected values of f at points."""
        return np.asarray(across @ self.weights)

    def deviation(self, across: Floats) -> Floats:
        """Return ``(m,)`` standard deviations of f at points whose own correlation is 1."""
        from scipy.linalg import solve_triangular

        reduced = solve_triangular(self.factor, across.T, lower=True)  # (n, m): L^-1 across^T
        share = np.maximum(1 - (reduced**2).sum(axis=0), 0)  # of the variance that is left
        return np.asarray(np.sqrt(self.variance * share))


def condition(correlation: Floats, noise: float, observed: Floats) -> Posterior:
    """Return the process of correlations K (n, n) given observations y (n,) (Algorithm 2.1).

    Raises:
        numpy.linalg.LinAlgError: K + noise I is not positive definite.
    """
    from scipy.linalg import cho_solve, cholesky

    factor = cholesky(correlation + noise * np.eye(len(observed)), lower=True)
    return Posterior(factor, cho_solve((factor, True), observed), observed)
