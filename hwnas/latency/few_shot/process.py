"""A Gaussian process for the latency of networks on one device, fitted to a few timed networks.

Its covariance is a weighted sum of components (Rasmussen and Williams, "Gaussian Processes for
Machine Learning", 2006, §2.3 and §5.2): the networks' mean latency on the source devices, the
deviations of the sources from it, the operations executed, the code, and interactions of codes and
of executed graphs. Which component a new device follows is not known before it is timed, so none is
chosen: PriorSamples is a fixed set of random weightings, log-uniform and sparse, averaged by
marginal likelihood (Bayesian model averaging, §5.2), the scale of each integrated out. Runtimes
that prune dead edges thus move the average to the executed graph, others to the code.

The noise is constant or proportional to latency, and at least that of the timer's tick. A timing
far from the prediction of the others, such as one that another program disturbed, is given the
noise that explains it, and the fit is repeated (iterated reweighting: Holland and Welsch, "Robust
regression using iteratively reweighted least-squares", 1977).

Notation and shapes: n timed networks, c components, m weightings. K_m = sum_c v[m, c] K[c] + N_m is
the ``(n, n)`` covariance of weighting m, y ``(n,)`` the latencies over their mean; the posterior
mean of weighting m at t is k_m(t)' K_m^-1 y, and its weight in the average is its evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.few_shot.feature_space import FeatureMatrix
from hwnas.rng import stream
from hwnas.stats.gp import exponential, hamming

Floats = NDArray[np.float64]

AMPLITUDES = {
    "common": (0.1, 3.0),
    "constant": (0.1, 3.0),
    "deviations": (0.01, 0.5),
    "totals": (0.0025, 0.6),
    "classes": (0.0025, 0.6),
    "alike": (0.0025, 0.6),
    "options": (0.0025, 0.6),
    "code": (0.0015, 0.1),
    "network": (0.0015, 0.1),
    "code interactions": (0.0015, 0.05),
    "network interactions": (0.0015, 0.05),
}
"""Range of each component's standard deviation, in units of the mean latency."""

ALWAYS = 2  # components, the first of AMPLITUDES, are in every weighting
LEFT_OUT = 0.6  # chance with which each other component is left out of a weighting
NOISE = (0.005, 0.3)  # range of its standard deviation, in units of the mean latency
LENGTH = 0.5  # of the interactions, as a share of columns that differ
NUM_WEIGHTINGS = 400
SCALE_FREEDOM = 4.0
"""Degrees of freedom of the prior by which the scale of a weighting is about 1."""

OUTLIER_STD = 1.5
"""A network this many standard deviations from the others' prediction or further counts less."""

REWEIGHTINGS = 3
"""A disturbed timing hides behind the noise it makes likely; each step uncovers more of it."""

MIN_NETWORKS = 5
MAX_NETWORKS = 400
STD_WEIGHTINGS = 32  # likeliest weightings, from which the standard deviation is computed


@dataclass(frozen=True)
class PriorSamples:
    """Weightings: variances of components ``(m, components)`` and of the noise ``(m,)``.

    ``proportional`` ``(m,)``: whether the noise is proportional to latency.
    """

    variances: Floats
    noise: Floats
    proportional: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.noise)

    def take(self, rows: NDArray[np.intp]) -> PriorSamples:
        """Return these weightings."""
        return PriorSamples(self.variances[rows], self.noise[rows], self.proportional[rows])


def draw_weightings(count: int) -> PriorSamples:
    """Return the first ``count`` random weightings, the same ones in every call."""
    rng = stream(0, "transfer weightings")
    ranges = np.log(np.array(list(AMPLITUDES.values())))
    low, high = ranges.T
    amplitudes = np.exp(low + (high - low) * rng.random((count, len(ranges))))
    out = rng.random(amplitudes.shape) < LEFT_OUT
    out[:, :ALWAYS] = False
    noise = np.exp(rng.uniform(np.log(NOISE[0]), np.log(NOISE[1]), count))
    return PriorSamples(np.where(out, 0.0, amplitudes**2), noise**2, rng.random(count) < 0.5)


def median_variances() -> Floats:
    """Return ``(components,)``: the median variance of each, times the share of its weightings.

    Means would be dominated by the few weightings of greatest amplitude.
    """
    low, high = np.array(list(AMPLITUDES.values())).T
    chance = np.where(np.arange(len(low)) < ALWAYS, 1.0, 1 - LEFT_OUT)
    return np.asarray(chance * low * high)


def covariances(left: FeatureMatrix, right: FeatureMatrix) -> Floats:
    """Return ``(components, num_left, num_right)`` covariances of each component at amplitude 1."""
    found = np.zeros((len(AMPLITUDES), len(left), len(right)))
    for place, name in enumerate(AMPLITUDES):
        if name in left.components:
            found[place] = left.components[name] @ right.components[name].T
    pairs = zip(left.structure.symbols, right.structure.symbols, strict=True)
    for place, (a, b) in enumerate(pairs, start=len(AMPLITUDES) - 2):
        found[place] = exponential(hamming(a, b), LENGTH)
    return found


def _variances(pool: FeatureMatrix) -> Floats:
    """Return ``(components, n)`` the diagonal of ``covariances(pool, pool)``."""
    zero = np.zeros((len(pool), 1))
    squares = [(pool.components.get(name, zero) ** 2).sum(axis=1) for name in list(AMPLITUDES)[:-2]]
    return np.stack([*squares, np.ones(len(pool)), np.ones(len(pool))])


def timer_tick_ms(latency_ms: Floats) -> float:
    """Return the step all latencies are multiples of, 1 or 0.1 ms; 0: of none of these."""
    for tick in (1.0, 0.1):
        if np.allclose(latency_ms / tick, np.round(latency_ms / tick), rtol=0, atol=1e-6):
            return tick
    return 0.0


class FewShotProcess:
    """The process fitted to the networks ``timed`` (of one FeatureSpace), ``latency_ms`` ``(n,)``.

    ``evidence`` are the shares ``(weightings,)`` of the weightings in the average; ``noise_factor``
    ``(n,)`` is by how much each timing's noise was widened, 1 for most.
    """

    def __init__(self, timed: FeatureMatrix, latency_ms: Floats) -> None:
        if not MIN_NETWORKS <= len(timed) <= MAX_NETWORKS:
            raise ValueError(
                f"the few-shot predictor is fitted to {MIN_NETWORKS} to "
                f"{MAX_NETWORKS} timed networks, got {len(timed)}"
            )
        self.timed = timed
        self.mean_ms = float(latency_ms.mean())
        self._tick = (timer_tick_ms(latency_ms) / self.mean_ms) ** 2 / 12
        # a weighting costs n^3; with many networks few weightings keep their evidence
        count = int(
            np.clip(NUM_WEIGHTINGS * (60 / len(timed)) ** 2, 2 * STD_WEIGHTINGS, NUM_WEIGHTINGS)
        )
        self._weightings = draw_weightings(count)
        self._covariance = np.tensordot(self._weightings.variances, covariances(timed, timed), 1)
        noise = _noise(self._weightings, timed, self._tick)
        target = latency_ms / self.mean_ms
        self.noise_factor = np.ones(len(timed))
        self._fit(target, noise)
        for _ in range(REWEIGHTINGS):
            self.noise_factor = np.maximum(np.abs(self._left_out(noise)) / OUTLIER_STD, 1)
            self._fit(target, noise * self.noise_factor**2)

    def _fit(self, target: Floats, noise: Floats) -> None:
        # (m, n, n) covariances; the evidence has the scale s_m integrated out (inverse gamma prior)
        num_timed = len(target)
        matrix = self._covariance.copy()
        matrix[:, np.arange(num_timed), np.arange(num_timed)] += noise
        self._inverse = np.linalg.inv(matrix)
        self._solved = self._inverse @ target
        misfit = self._solved @ target
        log_determinant = np.linalg.slogdet(matrix)[1]
        freedom = SCALE_FREEDOM + num_timed
        self._scale = (SCALE_FREEDOM + misfit) / freedom
        likelihood = -0.5 * log_determinant - 0.5 * freedom * np.log(self._scale)
        shares = np.exp(likelihood - likelihood.max())
        self.evidence: Floats = shares / shares.sum()

    def _left_out(self, noise: Floats) -> Floats:
        """Return ``(n,)``: residuals left out, over their standard deviations.

        In closed form for each weighting (Rasmussen and Williams, eq. 5.12), averaged: residual
        ``[K^-1 y]_i / [K^-1]_ii``, variance ``1 / [K^-1]_ii``. The variance uses ``noise``
        ``(weightings, n)`` without the widening of outliers.
        """
        variance = 1 / np.einsum("mii->mi", self._inverse)
        residual = self.evidence @ (self._solved * variance)
        variance -= noise * (self.noise_factor**2 - 1)
        return np.asarray(residual / np.sqrt(self.evidence @ (self._scale[:, None] * variance)))

    def predict_ms(self, pool: FeatureMatrix) -> Floats:
        """Return ``(n,)`` expected milliseconds."""
        # sum over m of evidence_m v[m, c] (K_m^-1 y)_i, then with k[c, t, i]
        weights = np.einsum("m,mc,mi->ci", self.evidence, self._weightings.variances, self._solved)
        found = np.einsum("ctn,cn->t", covariances(pool, self.timed), weights)
        return np.asarray(self.mean_ms * found)

    def predict(self, pool: FeatureMatrix) -> tuple[Floats, Floats]:
        """Return ``(n,)`` expected milliseconds and standard deviations of a measurement."""
        mean = self.predict_ms(pool) / self.mean_ms
        likeliest = np.argsort(-self.evidence)[:STD_WEIGHTINGS]
        shares = self.evidence[likeliest] / self.evidence[likeliest].sum()
        kept = self._weightings.take(likeliest)
        across = covariances(pool, self.timed)
        prior = kept.variances @ _variances(pool) + _noise(kept, pool, self._tick)
        square = np.zeros(len(pool))
        for number, (place, share) in enumerate(zip(likeliest, shares, strict=True)):
            k = np.tensordot(kept.variances[number], across, 1)
            reduced = ((k @ self._inverse[place]) * k).sum(axis=1)
            variance = self._scale[place] * np.maximum(prior[number] - reduced, 1e-12)
            variance = np.maximum(variance, self._tick)
            square += share * (variance + (k @ self._solved[place] - mean) ** 2)
        return self.mean_ms * mean, self.mean_ms * np.sqrt(square)


def _noise(weightings: PriorSamples, pool: FeatureMatrix, tick: float) -> Floats:
    """Return ``(weightings, n)`` variances of the measurements' noise."""
    size = np.where(weightings.proportional[:, None], pool.size[None] ** 2, 1.0)
    return np.asarray(weightings.noise[:, None] * size + tick)
