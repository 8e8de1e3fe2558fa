"""Counting and uniform sampling of the codes whose value lies in a window.

A grid (``grid.py``) yields a *superset* of the window's codes (every code that may be inside) and a
*sure* set (every code that must be). A code is drawn from the superset and accepted if its exact
sum is inside: accepted codes are uniform over the window. A code is drawn by its rank, one uniform
integer, so that this is exact; in a graph of too many states for that it is drawn choice by choice
by counts in doubles (``wide.py``), which is exact to within 1e-9. The grid is refined until the
sure set is at least half of the superset, which bounds the expected number of draws by two; a
superset without a code proves the window empty; a small superset is listed and filtered instead,
and so are all codes of a small space.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.contract import Contraction, contract, is_large
from hwnas.additive.graph import Graph, Ints
from hwnas.additive.grid import (
    Grid,
    Quantisation,
    count_completions,
    make_grid,
    num_codes,
    quantise,
    range_of,
)
from hwnas.additive.wide import WideGrid, make_wide
from hwnas.errors import InfeasibleError

LISTED_CODES = 100_000  # a superset up to this size is listed rather than sampled
LISTED_OF_LARGE = 1 << 14  # the same in a graph of too many states
FIRST_CELLS = 1 << 12
MAX_CELLS = 1 << 19  # cells of the finest grid, shared between the states of a layer
WIDE_CELLS = (1 << 14, 1 << 16)  # of the grids of a graph of too many states, in turn
MAX_HALVINGS = 12  # of the range that such a grid covers
KEPT_GRIDS = 2  # of them, for later windows; hundreds of MB each
MAX_DRAWS = 1_000  # draws per wanted code before sampling gives up (a window narrower than a cell)


def _share_cells(counts: NDArray[np.float64], shares: NDArray[np.float64]) -> Ints:
    """Return for each share the first cell with that share of ``counts`` at or below it.

    Small shares are counted from below and large ones from above, where doubles are exact.
    """
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    low = np.searchsorted(below, np.maximum(shares * below[-1], 1.0))
    last = len(counts) - 1
    high = last - np.searchsorted(above[:last], (1.0 - shares) * above[-1], side="right")
    chosen: Ints = np.where(shares <= 0.5, low, high).astype(np.int64)
    return chosen


@dataclass(frozen=True)
class Window:
    """The codes of ``graph`` whose path sum of ``function`` lies in ``[low, high]``.

    ``num_low <= number of codes <= num_high``; equal when the number is exact. ``listed`` holds
    all codes where they were few enough to list, ``grid`` counts them where they were not. Made by
    :class:`Windows`.
    """

    graph: Graph
    function: int
    low: int
    high: int
    num_low: int
    num_high: int
    grid: Grid | WideGrid | None
    listed: Ints | None

    @property
    def is_empty(self) -> bool:
        """Whether no code lies in the window (proved, not guessed)."""
        return self.num_high == 0

    @property
    def acceptance(self) -> float:
        """A lower bound of the share of draws that :meth:`sample` accepts."""
        return self.num_low / self.num_high if self.num_high else 0.0

    def sample(self, count: int, rng: np.random.Generator) -> Ints:
        """Return ``(count, num_choices)`` symbols, independent and uniform over the window.

        Raises:
            InfeasibleError: the window is empty, or narrower than the grid can resolve.
        """
        if self.is_empty:
            raise InfeasibleError("no network lies in the window")
        if self.listed is not None:
            return self.listed[rng.integers(len(self.listed), size=count)]
        assert self.grid is not None
        superset = self.grid.layout.superset(self.low, self.high)
        accepted = [np.empty((0, len(self.graph.steps)), dtype=np.int64)]
        missing, draws = count, 0
        while missing > 0:
            draw = min(max(64, int(missing / max(self.acceptance, 0.05)) + 8), 1 << 16)
            codes = self.grid.draw(self.graph, *superset, draw, rng)
            sums = self.graph.totals(codes)[self.function]
            codes = codes[(sums >= self.low) & (sums <= self.high)][:missing]
            accepted.append(codes)
            missing -= len(codes)
            draws += draw
            if missing and draws > MAX_DRAWS * count + (1 << 16):
                raise InfeasibleError(
                    f"the window is too narrow to sample: {draws} draws gave "
                    f"{count - missing} networks. Next: widen it"
                )
        return np.concatenate(accepted)


@dataclass(frozen=True)
class Windows:
    """Opens windows of path sums of ``function``; those of a large graph share their grids."""

    graph: Graph
    function: int

    def open(self, low: int, high: int) -> Window:
        """Return the window ``[low, high]`` of path sums, on a grid fine enough.

        Raises:
            InfeasibleError: the counts of a grid would not fit into memory.
        """
        graph = self.graph
        if prod(graph.sizes) <= LISTED_CODES:
            codes = np.indices(graph.sizes).reshape(len(graph.sizes), -1).T
            return self._listed(codes[graph.possible(codes)], low, high)
        if low > high or num_codes(graph) == 0:
            return self._listed(np.empty((0, len(graph.steps)), dtype=np.int64), low, high)
        for grid in self._finer(high):
            superset, sure = grid.layout.superset(low, high), grid.layout.inner(low, high)
            num_high = grid.bounds(*superset)[1]
            if num_high <= (LISTED_OF_LARGE if is_large(graph) else LISTED_CODES):
                return self._listed(grid.listed(graph, *superset), low, high)
            num_low = grid.bounds(*sure)[0]
            if 2 * num_low >= num_high or grid.layout.cell == 1:
                break
        return Window(graph, self.function, low, high, num_low, num_high, grid, None)

    def _listed(self, codes: Ints, low: int, high: int) -> Window:
        """Return the window that holds those of ``codes`` that are inside."""
        sums = self.graph.totals(codes)[self.function]
        codes = codes[(sums >= low) & (sums <= high)]
        return Window(self.graph, self.function, low, high, len(codes), len(codes), None, codes)

    def _finer(self, high: int) -> Iterator[Grid | WideGrid]:
        """Yield grids that reach to ``high``, each finer than the one before it."""
        if is_large(self.graph):
            yield from (self._wide(num_cells, high) for num_cells in WIDE_CELLS)
            return
        most = self._most_cells()
        num_cells = FIRST_CELLS
        yield make_grid(self.graph, self.function, num_cells)
        while num_cells < most:
            num_cells *= 4
            yield make_grid(self.graph, self.function, num_cells)

    def _most_cells(self) -> int:
        states = max(map(self.graph.num_states, range(len(self.graph.steps) + 1)))
        most = max(FIRST_CELLS, MAX_CELLS // states)
        return most if num_codes(self.graph) < 2**62 else max(FIRST_CELLS, most // 8)

    @cached_property
    def _contraction(self) -> Contraction:
        return contract(self.graph)

    @cached_property
    def _wide_grids(self) -> dict[tuple[int, int], WideGrid]:
        return {}

    def _wide(self, num_cells: int, high: int) -> WideGrid:
        """Return a grid over the lowest 1, 1/2, 1/4, ... of all sums, the least with ``high``."""
        graph = self._contraction.graph
        origin, most = range_of(graph, self.function)
        halvings = 0
        while halvings < MAX_HALVINGS and origin + ((most - origin) >> halvings + 1) >= high:
            halvings += 1
        if (num_cells, halvings) not in self._wide_grids:
            while len(self._wide_grids) >= KEPT_GRIDS:
                self._wide_grids.pop(next(iter(self._wide_grids)))
            span = (most - origin) >> halvings
            grid = make_wide(self._contraction, self.function, num_cells, span)
            self._wide_grids[num_cells, halvings] = grid
        return self._wide_grids[num_cells, halvings]

    def quantile(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the values of the function at these shares (0..1) of all codes.

        See :func:`quantile`.
        """
        everything = self.open(-(2**60), 2**60)
        if everything.is_empty:
            raise InfeasibleError("no network is allowed, so there are no quantiles")
        scale = self.graph.functions[self.function]
        if everything.listed is not None:
            ordered = np.sort(self.graph.totals(everything.listed)[self.function])
            ranks = np.clip(np.ceil(shares * len(ordered)).astype(int) - 1, 0, len(ordered) - 1)
            return np.array([scale.value(int(total)) for total in ordered[ranks]])
        layout, counts = self._all_counts()
        middle = layout.origin + (layout.error_low + layout.error_high) // 2
        return np.array(
            [scale.value(middle + int(cell) * layout.cell) for cell in _share_cells(counts, shares)]
        )

    def _all_counts(self) -> tuple[Quantisation, NDArray[np.float64]]:
        """Return the finest layout and how many codes have each sum of cells."""
        if is_large(self.graph):
            grid = self._wide(WIDE_CELLS[-1], 2**60)
            return grid.layout, grid.counts[0][0]
        layout = quantise(self.graph, self.function, MAX_CELLS // 4)
        [at_start] = deque(count_completions(self.graph, layout.cells, np.float64), maxlen=1)
        return layout, at_start[0]


def open_window(graph: Graph, function: int, low: int, high: int) -> Window:
    """Return the window ``[low, high]`` of path sums of ``function``; see :class:`Windows`."""
    return Windows(graph, function).open(low, high)


def quantile(graph: Graph, function: int, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of ``function`` at these shares (0..1) of all codes.

    The value at share q is the smallest v with at least q of the codes at or below it. Exact where
    the codes can be listed, else to within the finest grid's rounding (below 1e-4 of the range);
    there the codes are counted in doubles, whose rounding moves a share by less than 1e-12.

    Raises:
        InfeasibleError: no code is allowed.
    """
    return Windows(graph, function).quantile(shares)
