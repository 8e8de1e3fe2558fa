"""Counting and uniform sampling of the codes whose value lies in a window.

Values are laid on a grid: every edge's weight is rounded to a whole number of cells, and dynamic
programming counts the codes of every sum of cells. The rounding error of a code lies between two
bounds that the same recursion gives exactly, so the grid yields a *superset* of the window's codes
(every code that may be inside) and a *sure* set (every code that must be). A code is drawn from
the superset by its rank, one uniform integer, and accepted if its exact sum is inside: accepted
codes are exactly uniform over the window. The grid is refined until the sure set is at least half
of the superset, which bounds the expected number of draws by two; a superset without a code proves
the window empty; a small superset is listed and filtered instead, and so are all codes of a
small space.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Graph, Ints, smallest_to_go
from hwnas.errors import InfeasibleError

LISTED_CODES = 100_000  # a superset up to this size is listed rather than sampled
FIRST_CELLS = 1 << 12
MOST_CELLS = 1 << 19  # cells of the finest grid, shared between the states of a layer
MOST_COUNTS = 2**31  # of a grid, over all layers: 16 GiB of 64-bit numbers
MOST_DRAWS = 1_000  # draws per wanted code before sampling gives up (a window narrower than a cell)


@dataclass(frozen=True)
class Grid:
    """Counts of codes by their sum of cells.

    ``cells[t]`` (states, symbols) are whole cells per edge; ``cumulative[t][state, g]`` counts the
    completions from that state whose cells sum to at most ``g``. A code's exact path sum lies in
    ``[origin + sum * cell + error_low, origin + sum * cell + error_high]``.
    """

    cell: int
    origin: int
    error_low: int
    error_high: int
    cells: tuple[Ints, ...]
    cumulative: tuple[NDArray[np.object_] | Ints, ...]

    def count(self, low: int, high: int) -> int:
        """Return how many codes have a sum of cells in ``[low, high]``."""
        return int(_at(self.cumulative[0], np.zeros(1, dtype=np.int64), np.array([high]))[0]
                   - _at(self.cumulative[0], np.zeros(1, dtype=np.int64), np.array([low - 1]))[0])

    def superset(self, low: int, high: int) -> tuple[int, int]:
        """Return the range of cell sums of all codes that may lie in ``[low, high]``."""
        return (-((self.origin + self.error_high - low) // self.cell),
                (high - self.origin - self.error_low) // self.cell)

    def sure(self, low: int, high: int) -> tuple[int, int]:
        """Return the range of cell sums of codes that must lie in ``[low, high]``."""
        return (-((self.origin + self.error_low - low) // self.cell),
                (high - self.origin - self.error_high) // self.cell)


def _at(table: NDArray[np.object_] | Ints, state: Ints, cells: Ints) -> NDArray[np.object_] | Ints:
    """Look cumulative counts up: none below the first cell, all above the last."""
    inside = np.clip(cells, 0, table.shape[1] - 1)
    found: NDArray[np.object_] | Ints = table[state, inside]
    return np.where(cells < 0, 0, found)


def num_codes(graph: Graph) -> int:
    """Return how many codes are allowed, exactly."""
    counts = np.ones(1, dtype=object)
    for step in reversed(graph.steps):
        counts = np.where(step.allowed, counts[step.next_state], 0).sum(axis=1)
    return int(counts[0])


def make_grid(graph: Graph, function: int, num_cells: int) -> Grid:
    """Return the counts of ``graph``'s codes on a grid of about ``num_cells`` cells."""
    total = num_codes(graph)
    if total == 0:
        weights = tuple(step.weights[function] for step in graph.steps)
        states = map(graph.num_states, range(len(graph.steps) + 1))
        return Grid(1, 0, 0, 0, weights, tuple(np.zeros((n, 1), dtype=np.int64) for n in states))
    _require_memory(graph, num_cells)
    empty = _laid(graph, function, num_cells)
    # counts beyond int64 are held as Python integers
    counts = _counts(graph, empty.cells, np.int64 if total < 2**62 else object)
    cumulative = tuple(np.cumsum(c, axis=1) for c in reversed(list(counts)))
    return replace(empty, cumulative=cumulative)


def _require_memory(graph: Graph, num_cells: int) -> None:
    """Raise InfeasibleError where the counts of a grid would not fit into memory."""
    counts = sum(graph.num_states(step) for step in range(len(graph.steps) + 1)) * num_cells
    if counts > MOST_COUNTS:
        raise InfeasibleError(
            f"a window of this space has {counts:.2g} counts to keep, more than {MOST_COUNTS:.2g}: "
            "it cannot be sampled uniformly. Next: restrict the space to fewer choices that are "
            "shared by many operations"
        )


def _laid(graph: Graph, function: int, num_cells: int) -> Grid:
    """Return the grid without its counts."""
    weights = tuple(step.weights[function] for step in graph.steps)
    smallest = [int(w[s.allowed].min()) for w, s in zip(weights, graph.steps, strict=True)]
    spread = -int(smallest_to_go(graph, [-w for w in weights])[0][0]) - sum(smallest)
    cell = max(1, -(-spread // num_cells))
    cells = tuple((w - low + cell // 2) // cell for w, low in zip(weights, smallest, strict=True))
    errors = [w - low - c * cell for w, low, c in zip(weights, smallest, cells, strict=True)]
    error_low = int(smallest_to_go(graph, errors)[0][0])
    error_high = -int(smallest_to_go(graph, [-e for e in errors])[0][0])
    return Grid(cell, sum(smallest), error_low, error_high, cells, ())


def _counts(graph: Graph, cells: Sequence[Ints], dtype: type) -> Iterator[NDArray[Any]]:
    """Yield ``(states, sums)`` counts of completions by their sum, from the end to the start."""
    width = -int(smallest_to_go(graph, [-c for c in cells])[0][0]) + 1
    counts: NDArray[Any] = np.zeros((1, width), dtype=dtype)
    counts[0, 0] = 1
    yield counts
    for step, cost in zip(reversed(graph.steps), reversed(cells), strict=True):
        current: NDArray[Any] = np.zeros((len(step.allowed), width), dtype=dtype)
        for state, symbol in np.argwhere(step.allowed).tolist():
            shift = int(cost[state, symbol])
            if shift < width:
                current[state, shift:] += counts[step.next_state[state, symbol], : width - shift]
        counts = current
        yield counts


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
    all codes where they were few enough to list; ``grid`` is None where all codes of the graph
    are. Made by :func:`open_window`.
    """

    graph: Graph
    function: int
    low: int
    high: int
    num_low: int
    num_high: int
    grid: Grid | None
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
        accepted = [np.empty((0, len(self.graph.steps)), dtype=np.int64)]
        missing, draws = count, 0
        while missing > 0:
            draw = min(max(64, int(missing / max(self.acceptance, 0.05)) + 8), 1 << 16)
            codes = unrank(self.graph, self.grid, *self.grid.superset(self.low, self.high),
                           _uniform(self.num_high, draw, rng))
            sums = self.graph.totals(codes)[self.function]
            codes = codes[(sums >= self.low) & (sums <= self.high)][:missing]
            accepted.append(codes)
            missing -= len(codes)
            draws += draw
            if missing and draws > MOST_DRAWS * count + (1 << 16):
                raise InfeasibleError(
                    f"the window is too narrow to sample: {draws} draws gave "
                    f"{count - missing} networks. Next: widen it"
                )
        return np.concatenate(accepted)


def open_window(graph: Graph, function: int, low: int, high: int) -> Window:
    """Return the window ``[low, high]`` of path sums of ``function``, on a grid fine enough."""
    if prod(graph.sizes) <= LISTED_CODES:
        codes = np.indices(graph.sizes).reshape(len(graph.sizes), -1).T
        codes = codes[graph.possible(codes)]
        sums = graph.totals(codes)[function]
        codes = codes[(sums >= low) & (sums <= high)]
        return Window(graph, function, low, high, len(codes), len(codes), None, codes)
    states = max(graph.num_states(step) for step in range(len(graph.steps) + 1))
    most = max(FIRST_CELLS, MOST_CELLS // states)
    if num_codes(graph) >= 2**62:
        most = max(FIRST_CELLS, most // 8)
    num_cells = FIRST_CELLS
    while True:
        grid = make_grid(graph, function, num_cells)
        superset = grid.superset(low, high)
        num_high = grid.count(*superset) if low <= high else 0
        if num_high <= LISTED_CODES:
            codes = unrank(graph, grid, *superset, np.arange(num_high))
            sums = graph.totals(codes)[function]
            codes = codes[(sums >= low) & (sums <= high)]
            return Window(graph, function, low, high, len(codes), len(codes), grid, codes)
        sure_low, sure_high = grid.sure(low, high)
        num_low = grid.count(sure_low, sure_high) if sure_low <= sure_high else 0
        is_exact = grid.cell == 1
        if 2 * num_low >= num_high or num_cells >= most or is_exact:
            return Window(graph, function, low, high, num_low, num_high, grid, None)
        num_cells *= 4


def unrank(
    graph: Graph, grid: Grid, low: int, high: int, ranks: NDArray[np.object_] | Ints
) -> Ints:
    """Return the codes of these ranks among those whose cells sum to ``[low, high]``.

    ``ranks`` count from 0 in lexicographic order of the code; the result is
    ``(num_ranks, num_choices)`` symbols.
    """
    remaining = ranks.copy()
    codes = np.empty((len(ranks), len(graph.steps)), dtype=np.int64)
    state = np.zeros(len(ranks), dtype=np.int64)
    spent = np.zeros(len(ranks), dtype=np.int64)
    for number, (step, cells) in enumerate(zip(graph.steps, grid.cells, strict=True)):
        after = grid.cumulative[number + 1]
        columns = []
        for symbol in range(step.allowed.shape[1]):
            total = spent + cells[state, symbol]
            following = step.next_state[state, symbol]
            count = _at(after, following, high - total) - _at(after, following, low - total - 1)
            columns.append(np.where(step.allowed[state, symbol], count, 0))
        upto = np.cumsum(np.stack(columns, axis=1), axis=1)
        chosen = (remaining[:, None] >= upto).astype(bool).sum(axis=1)
        before = np.where(chosen > 0, upto[np.arange(len(ranks)), np.maximum(chosen - 1, 0)], 0)
        remaining = remaining - before
        codes[:, number] = chosen
        spent = spent + cells[state, chosen]
        state = step.next_state[state, chosen]
    return codes


def _uniform(bound: int, count: int, rng: np.random.Generator) -> NDArray[np.object_] | Ints:
    """Return ``count`` independent integers uniform on ``[0, bound)``, for any size of bound."""
    if bound < 2**63:
        return rng.integers(bound, size=count)
    num_bytes = (bound.bit_length() + 7) // 8
    mask = (1 << bound.bit_length()) - 1
    drawn: list[int] = []
    while len(drawn) < count:
        value = int.from_bytes(rng.bytes(num_bytes), "little") & mask
        if value < bound:
            drawn.append(value)
    values = np.empty(count, dtype=object)
    values[:] = drawn
    return values


def quantile(graph: Graph, function: int, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of ``function`` at these shares (0..1) of all codes.

    The value at share q is the smallest v with at least q of the codes at or below it. Exact where
    the codes can be listed, else to within the finest grid's rounding (below 1e-4 of the range);
    there the codes are counted in doubles, whose rounding moves a share by less than 1e-12.

    Raises:
        InfeasibleError: no code is allowed.
    """
    everything = open_window(graph, function, -(2**60), 2**60)
    if everything.is_empty:
        raise InfeasibleError("no network is allowed, so there are no quantiles")
    scale = graph.functions[function]
    if everything.listed is not None:
        ordered = np.sort(graph.totals(everything.listed)[function])
        ranks = np.clip(np.ceil(shares * len(ordered)).astype(int) - 1, 0, len(ordered) - 1)
        return np.array([scale.value(int(total)) for total in ordered[ranks]])
    grid = _laid(graph, function, MOST_CELLS // 4)
    [at_start] = deque(_counts(graph, grid.cells, np.float64), maxlen=1)
    cells = _share_cells(at_start[0], shares)
    middle = grid.origin + (grid.error_low + grid.error_high) // 2
    return np.array([scale.value(middle + int(cell) * grid.cell) for cell in cells])
