"""Non-dominated points, and the volume they dominate, by moocore."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def non_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows of ``values`` (points, objectives), all minimised, no other row dominates.

    A row dominates another if it is at most as large in every objective and smaller in one; equal
    rows do not dominate each other.
    """
    if len(values) == 0:
        return np.zeros(0, dtype=bool)
    import moocore  # 0.1 s, paid by what draws fronts

    return np.asarray(moocore.is_nondominated(values, keep_weakly=True), dtype=bool)


def hypervolume(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return the volume that points dominate within ``reference``, exactly; all minimised.

    ``values`` (points, objectives), ``reference`` (objectives,).
    """
    reference = np.asarray(reference, dtype=np.float64)
    inside = values[(values < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if inside.shape[1] == 1:  # moocore needs two objectives
        return float(reference[0] - inside.min())
    import moocore

    return float(moocore.hypervolume(inside, ref=reference))
