"""A Gaussian process over codes: expected score and uncertainty of networks from few evaluations.

The kernel is ``share * exp(-h(codes) / length) + (1 - share) * exp(-h(keys) / length)`` with h the
share of columns in which two rows differ, of the codes and of the space's network keys: the first
knows the choices, the second that some of them change nothing. Length, share and noise maximise the
evidence over a grid, the variance does so in closed form (``stats/gp.py``, which has the notation).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hwnas.stats.gp import Floats, Posterior, condition, exponential, hamming

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
        by_code, by_key = exponential(codes, self.length), exponential(keys, self.length)
        return np.asarray(self.share * by_code + (1 - self.share) * by_key)


class GaussianProcess:
    """Fitted to ``values`` ``(num_archs,)`` of codes and network keys ``(num_archs, columns)``.

    ``kernel`` None: the settings of largest evidence. One that is given is kept.
    """

    def __init__(
        self, codes: Ints, keys: Ints, values: Floats, kernel: Kernel | None = None
    ) -> None:
        self.codes, self.keys = codes, keys
        self.mean, self.scale = float(values.mean()), float(values.std()) or 1.0
        y = (values - self.mean) / self.scale
        by_code, by_key = hamming(codes, codes), hamming(keys, keys)  # (num_archs, num_archs)

        def fitted(candidate: Kernel) -> Posterior:
            return condition(candidate(by_code, by_key), candidate.noise, y)

        self.kernel = kernel or max(
            (Kernel(*v) for v in product(LENGTHS, SHARES, NOISES)),
            key=lambda candidate: fitted(candidate).evidence,
        )
        self._posterior = fitted(self.kernel)

    @property
    def evidence(self) -> float:
        """The log marginal likelihood of the standardised values."""
        return self._posterior.evidence

    def predict(self, codes: Ints, keys: Ints) -> tuple[Floats, Floats]:
        """Return ``(num_archs,)`` means and standard deviations of the noise-free scores."""
        across = self.kernel(hamming(codes, self.codes), hamming(keys, self.keys))
        means = self.mean + self.scale * self._posterior.mean(across)
        return means, self.scale * self._posterior.deviation(across)
