"""Non-dominated points, and the volume they dominate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def non_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows of ``values`` (points, objectives), all minimised, no other row dominates.

    A row dominates another if it is at most as large in every objective and smaller in one; equal
    rows do not dominate each other. Two objectives by sorting, others in O(points^2) memory.
    """
    if values.shape[1] == 2 and not np.isnan(values).any():
        return _lowest_steps(values)
    no_worse = (values[:, None, :] <= values[None, :, :]).all(axis=2)
    better = (values[:, None, :] < values[None, :, :]).any(axis=2)
    dominated: NDArray[np.bool_] = np.asarray((no_worse & better).any(axis=0))
    return ~dominated


def _lowest_steps(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return :func:`non_dominated` of two objectives: the first lowest at each new low."""
    order = np.lexsort(values.T[::-1])
    first, second = values[order].T
    begins = np.ones(len(first), dtype=bool)
    begins[1:] = first[1:] != first[:-1]
    starts, group = np.flatnonzero(begins), np.cumsum(begins) - 1
    lowest = second[starts]  # of each value of the first objective
    is_new = np.ones(len(starts), dtype=bool)
    is_new[1:] = lowest[1:] < np.minimum.accumulate(lowest)[:-1]
    kept = np.empty(len(values), dtype=bool)
    kept[order] = is_new[group] & (second == lowest[group])
    return kept


def hypervolume(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return the volume that points dominate within ``reference``, exactly; all minimised.

    ``values`` (points, objectives), ``reference`` (objectives,). Two objectives by sorting; more
    by slices along the last one, each a problem of one objective less (While et al., "A faster
    algorithm for calculating hypervolume", 2006): fit for a few objectives and hundreds of points.
    """
    reference = np.asarray(reference, dtype=np.float64)
    inside = values[(values < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if inside.shape[1] == 1:
        return float(reference[0] - inside.min())
    if inside.shape[1] == 2:
        ordered = inside[np.lexsort(inside.T[::-1])]
        widths = np.diff(np.append(ordered[:, 0], reference[0]))
        return float(widths @ (reference[1] - np.minimum.accumulate(ordered[:, 1])))
    ordered = inside[non_dominated(inside)]
    ordered = ordered[np.argsort(ordered[:, -1], kind="stable")]
    depths = np.diff(np.append(ordered[:, -1], reference[-1]))
    slices = (
        hypervolume(ordered[: i + 1, :-1], reference[:-1]) if depth > 0 else 0.0
        for i, depth in enumerate(depths)
    )
    return float(sum(depth * area for depth, area in zip(depths, slices, strict=True)))
