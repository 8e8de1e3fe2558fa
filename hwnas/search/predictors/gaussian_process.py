"""A Gaussian process over codes: expected score and uncertainty of networks from few evaluations.

Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, Algorithm 2.1. The kernel
is ``share * exp(-h(codes) / length) + (1 - share) * exp(-h(keys) / length)`` with h the share of
columns in which two rows differ, of the codes and of the space's network keys: the first knows the
choices, the second that some of them change nothing. Length, share and noise maximise the marginal
likelihood over a grid; the variance does so in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

Floats = NDArray[np.float64]
Ints = NDArray[np.int16]

LENGTHS = (0.1, 0.2, 0.4, 0.8, 1.6)
SHARES = (0.0, 0.5, 1.0)
NOISES = (0.01, 0.05, 0.2, 0.8)


@dataclass(frozen=True)
class Kernel:
    """The settings of the kernel; ``noise`` is relative to its variance."""

    length: float
    share: float
    noise: float

    def __call__(self, codes: Floats, keys: Floats) -> Floats:
        """Return the correlations at these Hamming distances (shares of columns)."""
        near: Floats = self.share * np.exp(-codes / self.length)
        return np.asarray(near + (1 - self.share) * np.exp(-keys / self.length))


def hamming(left: Ints, right: Ints) -> Floats:
    """Return ``(num_left, num_right)`` shares of columns that differ."""
    differ = np.zeros((len(left), len(right)))
    for a, b in zip(left.T, right.T, strict=True):
        differ += a[:, None] != b[None, :]
    return np.asarray(differ / max(left.shape[1], 1))


class GaussianProcess:
    """Fitted to ``values`` ``(num_archs,)`` of codes and network keys ``(num_archs, columns)``.

    ``kernel`` None: the settings of largest marginal likelihood. One that is given is kept.
    """

    def __init__(
        self, codes: Ints, keys: Ints, values: Floats, kernel: Kernel | None = None
    ) -> None:
        self.codes, self.keys = codes, keys
        self.mean, self.scale = float(values.mean()), float(values.std()) or 1.0
        y = (values - self.mean) / self.scale
        apart = hamming(codes, codes), hamming(keys, keys)
        self.kernel = kernel or max(
            (Kernel(*v) for v in product(LENGTHS, SHARES, NOISES)),
            key=lambda candidate: _evidence(candidate, apart, y)[0],
        )
        self.evidence, self._factor, self._weights, self._variance = _evidence(
            self.kernel, apart, y
        )

    def predict(self, codes: Ints, keys: Ints) -> tuple[Floats, Floats]:
        """Return ``(num_archs,)`` means and standard deviations of the noise-free scores."""
        across = self.kernel(hamming(codes, self.codes), hamming(keys, self.keys))
        reduced = solve_triangular(self._factor, across.T, lower=True)
        variance = self._variance * np.maximum(1 - (reduced**2).sum(axis=0), 0)
        return self.mean + self.scale * (across @ self._weights), self.scale * np.sqrt(variance)


def _evidence(
    kernel: Kernel, apart: tuple[Floats, Floats], y: Floats
) -> tuple[float, Floats, Floats, float]:
    """Return log marginal likelihood, Cholesky factor, weights and variance of a kernel."""
    factor = cholesky(kernel(*apart) + kernel.noise * np.eye(len(y)), lower=True)
    weights = cho_solve((factor, True), y)
    variance = max(float(y @ weights) / len(y), 1e-12)
    log_likelihood = (
        -0.5 * len(y) * np.log(2 * np.pi * np.e * variance) - np.log(np.diag(factor)).sum()
    )
    return float(log_likelihood), factor, weights, variance
