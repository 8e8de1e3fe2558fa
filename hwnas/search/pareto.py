"""Non-dominated points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def non_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows of ``values`` (points, objectives), all minimised, no other row dominates.

    A row dominates another if it is at most as large in every objective and smaller in one; equal
    rows do not dominate each other. O(points^2).
    """
    no_worse = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] < values[None, :, :]).any(axis=2)
    dominated: NDArray[np.bool_] = np.asarray((no_worse & better).any(axis=0))
    return ~dominated
