"""Which networks to time on a new device.

Greedy choice of the network whose measurement lowers the mean variance of all networks most
(the A-optimal or "integrated variance" criterion: Cohn, Ghahramani and Jordan, "Active learning
with statistical models", JAIR 1996, §3), under the covariance of the few-shot process, with
the medians of its prior variances and the noise of a quiet timer: all known before anything is
timed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.few_shot.feature_space import FeatureMatrix
from hwnas.latency.few_shot.process import covariances, median_variances
from hwnas.rng import stream

MAX_CANDIDATES = 2000
NOISE = 0.03**2  # of a timing, in units of the mean latency


def suggest(
    pool: FeatureMatrix, count: int, *, timed: FeatureMatrix | None = None, seed: int = 0
) -> NDArray[np.intp]:
    """Return up to ``count`` rows of ``pool`` to time, most useful first, none of ``timed``.

    Of a pool of more than MAX_CANDIDATES networks a random part is considered (by ``seed``).
    No two build one network. Fewer come back where the pool holds fewer networks.
    """
    _, first = np.unique(pool.structure.symbols[1], axis=0, return_index=True)
    rows = np.sort(first)
    if len(rows) > MAX_CANDIDATES:
        rng = stream(seed, "transfer candidates")
        rows = np.sort(rng.choice(rows, MAX_CANDIDATES, replace=False))
    candidates = pool.take(rows)
    variances = median_variances()
    left = np.tensordot(variances, covariances(candidates, candidates), 1)
    free = np.ones(len(rows), dtype=bool)
    if timed is not None and len(timed):
        across = np.tensordot(variances, covariances(candidates, timed), 1)
        among = np.tensordot(variances, covariances(timed, timed), 1) + NOISE * np.eye(len(timed))
        left -= across @ np.linalg.solve(among, across.T)
        known = set(map(bytes, timed.structure.symbols[1]))
        free = np.array([bytes(key) not in known for key in candidates.structure.symbols[1]])
    # adding network j lowers the summed variance by sum_i left[i, j]^2 / (left[j, j] + noise)
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        gain = (left**2).sum(axis=0) / (np.diag(left) + NOISE)
        best = int(np.argmax(np.where(free, gain, -np.inf)))
        chosen.append(best)
        free[best] = False
        column = left[:, best].copy()
        left -= np.outer(column, column) / (column[best] + NOISE)
    return np.asarray(rows[chosen], dtype=np.intp)
