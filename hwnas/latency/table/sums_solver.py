"""Rows of a table from sums of them: least squares over how often networks execute operations.

With ``A[i, j]`` the number of times network i executes operation j, the latencies are ``A x``. The
rows ``x`` are solved for by least squares, which is exact where the sums are exact.

- **Rank.** Operations that always occur together cannot be separated: the stem and the head are in
  every network, and so is one operation of each layer whose shape changes. Every network of the
  space has the same prediction however their time is shared among them. The rows returned are
  positive and as near to a common speed (ms per MAC) as the sums allow.
- **Rounding.** If all residuals can be rounding, the fit minimises the largest one (Lawson's
  reweighting; Cline, SIAM J. Numer. Anal. 1972), as that of the true table is half a unit. (A
  linear program, ``scipy.optimize.linprog``, gives rows as near to the true ones and takes 3 to 6
  times as long on 500 to 5,000 networks of ``fbnet``.)
- **Wrong lines.** A few lines that fit no sum get no weight (least absolute residuals, by
  reweighting) and are reported by their residual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InputError
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, SearchSpace
from hwnas.rng import stream

Array = NDArray[np.floating[Any]]

ROUNDING = 1e-4  # share of a latency that a residual may be, if the sums are rounded no coarser
COARSEST = 0.01  # unit that sums may be rounded to, as a share of their median
MAX_WRONG = 0.05  # share of lines that may be wrong among sums
MAX_CELLS = 10**8  # networks x rank: 800 MB
MAX_OPS = 4000
ZERO = 1e-9  # of the largest eigenvalue
MIN_SHARES = (0.25, 0.0)  # of the time at common speed that a row has at least: first that fits


@dataclass(frozen=True)
class Solution:
    """The rows that explain sums best.

    ``row_ms (num_ops,)``; ``rank`` of the networks and ``space_rank`` of all networks of the
    space; ``open_ops``: rows that the networks leave open and the space does not;
    ``residual_ms (n,)``; ``unit_ms``: what the sums are rounded to, 0 if to nothing visible.
    """

    ops: tuple[OpSpec, ...]
    row_ms: Array
    num_networks: NDArray[np.int64]
    rank: int
    space_rank: int
    num_identified: int
    open_ops: tuple[OpSpec, ...]
    residual_ms: Array
    tolerance_ms: Array
    unit_ms: float

    @property
    def misfits(self) -> NDArray[np.int64]:
        """Positions of the networks whose residual is beyond rounding, largest first."""
        beyond = np.flatnonzero(np.abs(self.residual_ms) > self.tolerance_ms)
        order = np.argsort(-np.abs(self.residual_ms[beyond]), kind="stable")
        return np.asarray(beyond[order], dtype=np.int64)

    def statement(self) -> dict[str, str]:
        """Return rank and residual in words, for a table's provenance."""
        good = np.abs(self.residual_ms) <= self.tolerance_ms
        kept = self.residual_ms[good] if good.any() else self.residual_ms
        return {
            "rank": f"{self.rank} of {len(self.ops)} rows ({self.space_rank} is all that networks "
            f"of the space can tell); {self.num_identified} rows are identified, the "
            "others up to time moved between operations that always occur together",
            "residual": f"max {np.abs(kept).max():.3g} ms, rms {math.sqrt(np.mean(kept**2)):.3g} "
            f"ms over {len(kept)} networks"
            + (f"; {(~good).sum()} networks fit no sum" if not good.all() else ""),
        }


class Design:
    """Which operations a space's networks execute, as counts: rows of ``A``."""

    def __init__(self, space: SearchSpace) -> None:
        factors = space.factors()
        numbers: dict[OpSpec | None, int] = {}
        self._places = []
        for factor in factors:
            values = factor.values(lambda op: float(numbers.setdefault(op, len(numbers))))
            self._places.append((factor.choices, np.nan_to_num(values).astype(np.int64)))
        kept = [op is not None for op in numbers]
        self._columns = np.flatnonzero(kept)
        self.ops = tuple(op for op in numbers if op is not None)
        self._width = len(numbers)
        if len(self.ops) > MAX_OPS:
            raise InputError(
                f"space {space.name}",
                [f"has {len(self.ops)} distinct operations; at most {MAX_OPS} rows can be solved"],
            )

    def counts(self, codes: Codes) -> Array:
        """Return ``(num_archs, num_ops)``: how often each network executes each operation."""
        counts = np.zeros((len(codes), self._width))
        columns = codes.T
        rows = np.arange(len(codes))
        for choices, numbers in self._places:
            np.add.at(counts, (rows, numbers[tuple(columns[choice] for choice in choices)]), 1.0)
        return counts[:, self._columns]


def solve(space: SearchSpace, codes: Codes, latency_ms: Array) -> Solution:
    """Return the rows that explain ``latency_ms (n,)`` of ``codes (n, num_choices)`` best.

    Raises:
        InputError: more operations, or networks, than can be solved.
    """
    design = Design(space)
    row_space, kernel = _spaces([design.counts(part) for part in _parts(codes)])
    full_kernel = _kernel_of_space(space, design)
    rank, space_rank = row_space.shape[1], len(design.ops) - full_kernel.shape[1]
    if len(codes) * rank > MAX_CELLS:
        raise InputError(
            "--format sums",
            [
                f"{len(codes)} networks of rank {rank} are more "
                f"than fit; at most {MAX_CELLS // rank} can be solved"
            ],
        )
    seen = np.zeros(len(design.ops), dtype=np.int64)
    projected = np.empty((len(codes), rank))
    start = 0
    for part in _parts(codes):
        counts = design.counts(part)
        projected[start : start + len(part)] = counts @ row_space
        seen += (counts > 0).sum(axis=0)
        start += len(part)
    tolerance, unit = _tolerance(latency_ms)
    fit = _fit(projected, latency_ms, tolerance)
    rows = _positive(row_space, fit, design.ops, float(np.median(latency_ms)))
    # what the networks leave open beyond what the space itself does
    beyond = kernel - full_kernel @ (full_kernel.T @ kernel)
    is_open = np.asarray((np.abs(beyond) > 1e-6).any(axis=1))
    return Solution(
        ops=design.ops,
        row_ms=rows,
        num_networks=seen,
        rank=rank,
        space_rank=space_rank,
        num_identified=int((~is_open & (np.abs(full_kernel) < 1e-6).all(axis=1)).sum()),
        open_ops=tuple(op for op, is_one in zip(design.ops, is_open, strict=True) if is_one),
        residual_ms=latency_ms - projected @ (row_space.T @ rows),
        tolerance_ms=tolerance,
        unit_ms=unit,
    )


def _parts(codes: Codes) -> list[Codes]:
    return [codes[start : start + 8192] for start in range(0, len(codes), 8192)]


def _spaces(parts: Sequence[Array]) -> tuple[Array, Array]:
    """Return orthonormal bases of the row space and the kernel of stacked counts.

    The Gram matrix of counts is exact in float64, being of small integers.
    """
    gram = sum(part.T @ part for part in parts)
    values, vectors = np.linalg.eigh(gram)
    is_kept = values > ZERO * max(values[-1], 1.0)
    return vectors[:, is_kept], vectors[:, ~is_kept]


def _kernel_of_space(space: SearchSpace, design: Design) -> Array:
    """Return the kernel of the space's networks, from random ones until the rank stays the same."""
    random = stream(0, "networks of a space")
    options = [len(choice.options) for choice in space.choices]
    shape = (2 * len(design.ops) + 64, len(options))
    gram = np.zeros((len(design.ops), len(design.ops)))
    rank = -1
    while True:
        counts = design.counts(space.repair(random.integers(options, size=shape).astype(np.int16)))
        gram += counts.T @ counts
        values, vectors = np.linalg.eigh(gram)
        is_kept = values > ZERO * values[-1]
        if is_kept.sum() == rank:
            return np.asarray(vectors[:, ~is_kept])
        rank = int(is_kept.sum())


def _tolerance(latency_ms: Array) -> tuple[Array, float]:
    """Return what rounding may leave of each sum, in ms, and the decimal unit they are rounded to.

    A unit too coarse for the latencies counts as none.
    """
    unit = 0.0
    for decimals in range(7):
        if np.abs(np.round(latency_ms, decimals) - latency_ms).max() < 1e-9:
            unit = 10.0**-decimals
            break
    if unit > COARSEST * np.median(latency_ms):
        unit = 0.0
    return np.maximum(ROUNDING * latency_ms, 0.75 * unit), unit


def _fit(projected: Array, latency_ms: Array, tolerance: Array) -> Array:
    """Return coordinates: least squares, robust where lines do not fit, minimax where all do."""
    fit: Array = np.linalg.lstsq(projected, latency_ms, rcond=None)[0]
    residual = latency_ms - projected @ fit
    if (np.abs(residual) <= tolerance).all():
        return _smallest_largest(projected, latency_ms, fit)
    robust = fit
    for step in range(40):  # least absolute residuals, approached by reweighting
        floor = max(float(np.median(np.abs(residual))) * 0.5**step, float(tolerance.min()))
        weights = 1 / np.sqrt(np.maximum(np.abs(residual), floor))
        robust = np.linalg.lstsq(projected * weights[:, None], latency_ms * weights, rcond=None)[0]
        residual = latency_ms - projected @ robust
    is_sum = np.abs(residual) <= tolerance
    if is_sum.sum() < (1 - MAX_WRONG) * len(residual) or is_sum.sum() < projected.shape[1]:
        return fit
    robust = np.linalg.lstsq(projected[is_sum], latency_ms[is_sum], rcond=None)[0]
    return _smallest_largest(projected[is_sum], latency_ms[is_sum], robust)


def _smallest_largest(projected: Array, latency_ms: Array, fit: Array) -> Array:
    """Return coordinates that about minimise the largest residual (Lawson's reweighting)."""
    residual = latency_ms - projected @ fit
    best, best_residual = fit, np.abs(residual).max()
    if best_residual <= 1e-12 * latency_ms.max():
        return fit
    weights = np.full(len(residual), 1 / len(residual))
    for _ in range(100):
        # w_i <- w_i |r_i|, then one Newton step of the weighted least squares
        weights = weights * np.abs(residual) + 1e-18
        weights /= weights.sum()
        gram = (projected * weights[:, None]).T @ projected
        gram += 1e-14 * np.trace(gram) / len(gram) * np.eye(len(gram))
        fit = fit + np.linalg.solve(gram, projected.T @ (weights * residual))
        residual = latency_ms - projected @ fit
        if np.abs(residual).max() < best_residual:
            best, best_residual = fit, np.abs(residual).max()
    return best


def _positive(row_space: Array, fit: Array, ops: Sequence[OpSpec], median_ms: float) -> Array:
    """Return rows above 0 with these coordinates, near to a common speed; else the nearest.

    One non-negative least squares: coordinates with a weight so large that the preference for a
    common speed only decides what they leave open.
    """
    from scipy.optimize import nnls  # a tenth of a second to import

    macs = np.array([float(op.macs) for op in ops])
    speed = max(float((row_space @ fit).sum()), 1e-9 * median_ms) / max(macs.sum(), 1.0)
    prior = np.maximum(macs * speed, 1e-4 * median_ms)
    rigid = 1e5 / float(prior.min())
    matrix = np.vstack([rigid * row_space.T, np.diag(1 / prior)])
    for share in MIN_SHARES:
        least = np.maximum(share * prior, 1e-7 * median_ms)
        wanted = np.concatenate([rigid * (fit - row_space.T @ least), (prior - least) / prior])
        rows: Array = nnls(matrix, wanted, maxiter=50 * len(ops))[0] + least
        misfit = row_space @ (fit - row_space.T @ rows)
        if (np.abs(misfit) < 0.5 * least).all() and np.abs(misfit).max() < 1e-6 * median_ms:
            return rows + misfit
    return rows
