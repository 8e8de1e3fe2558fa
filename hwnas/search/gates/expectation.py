"""The expected value of an additive function under independent choices, and its gradient.

The latency of ProxylessNAS (ICLR 2019, eq. 5) generalised to factors over several choices: exact,
not sampled, and over the full softmax also where a step samples two paths only.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.additive.graph import Term
from hwnas.search.gates.binary_gates import Floats, alpha_gradient, probabilities


@dataclass(frozen=True)
class Expectation:
    """``E[f]`` for ``f`` a sum of terms, each over one or several choices, none of them absent.

    Terms with no value (NaN) for some options count as 0 there: such options must have probability
    0 (alpha minus infinity).
    """

    terms: tuple[Term, ...]

    def value(self, p: Floats) -> float:
        """Return the expected value under ``p`` (num_choices, max_options)."""
        return float(sum(self._contract(term, p, None) for term in self.terms))

    def slope(self, p: Floats) -> Floats:
        """Return dE/dp, the mean with an option minus what does not depend on it, for each."""
        slope = np.zeros_like(p)
        for term in self.terms:
            for axis, choice in enumerate(term.choices):
                part = self._contract(term, p, axis)
                slope[choice, : len(part)] += part
        return slope

    def gradient(self, alpha: Floats) -> tuple[float, Floats]:
        """Return (E, dE/dalpha), the latter ``(num_choices, max_options)``."""
        p = probabilities(alpha)
        return self.value(p), alpha_gradient(p, self.slope(p))

    @staticmethod
    def _contract(term: Term, p: Floats, kept: int | None) -> Floats:
        """Return the mean of a term over all its choices but the one on axis ``kept``."""
        values = np.nan_to_num(term.values, nan=0.0, posinf=0.0, neginf=0.0)
        letters = string.ascii_lowercase[: values.ndim]
        others = [axis for axis in range(values.ndim) if axis != kept]
        weights = [p[term.choices[axis], : values.shape[axis]] for axis in others]
        spec = ",".join([letters, *(letters[axis] for axis in others)])
        out = "" if kept is None else letters[kept]
        return np.asarray(np.einsum(f"{spec}->{out}", values, *weights))


def score_terms(values: Floats, sizes: Sequence[int]) -> tuple[Term, ...]:
    """Return ``(num_choices, max_options)`` scores as terms of one choice each."""
    return tuple(Term((choice,), values[choice, :size]) for choice, size in enumerate(sizes))
