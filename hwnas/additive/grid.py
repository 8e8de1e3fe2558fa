"""Codes counted by their sum on a grid of whole cells.

Every edge's weight is rounded to a whole number of cells, and dynamic programming counts the codes
of every sum of cells. The rounding error of a code lies between two bounds that the same recursion
gives exactly, so a range of cells holds a *superset* of a window's codes (every code that may be
inside), and a smaller one the codes that must be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Graph, Ints, smallest_to_go
from hwnas.errors import InfeasibleError

MAX_COUNTS = 2**31  # of a grid, over all layers: 16 GiB of 64-bit numbers


@dataclass(frozen=True)
class Quantisation:
    """The whole cells of every edge, ``cells[t]`` (states, symbols), and what rounding does.

    A code's exact path sum lies in
    ``[origin + sum of cells * cell + error_low, origin + sum of cells * cell + error_high]``.
    """

    cell: int
    origin: int
    error_low: int
    error_high: int
    cells: tuple[Ints, ...]

    def superset(self, low: int, high: int) -> tuple[int, int]:
        """Return the range of cell sums of all codes that may lie in ``[low, high]``."""
        return (
            -((self.origin + self.error_high - low) // self.cell),
            (high - self.origin - self.error_low) // self.cell,
        )

    def inner(self, low: int, high: int) -> tuple[int, int]:
        """Return the range of cell sums of codes that must lie in ``[low, high]``."""
        return (
            -((self.origin + self.error_low - low) // self.cell),
            (high - self.origin - self.error_high) // self.cell,
        )


def range_of(graph: Graph, function: int) -> tuple[int, int]:
    """Return the sum of each step's smallest weight, below all codes' sums, and the largest sum."""
    weights = [step.weights[function] for step in graph.steps]
    smallest = sum(int(w[s.allowed].min()) for w, s in zip(weights, graph.steps, strict=True))
    return smallest, -int(smallest_to_go(graph, [-w for w in weights])[0][0])


def quantise(graph: Graph, function: int, num_cells: int, span: int | None = None) -> Quantisation:
    """Return a layout of about ``num_cells`` cells for ``span`` units; None: from end to end."""
    weights = tuple(step.weights[function] for step in graph.steps)
    smallest = [int(w[s.allowed].min()) for w, s in zip(weights, graph.steps, strict=True)]
    if span is None:
        origin, most = range_of(graph, function)
        span = most - origin
    cell = max(1, -(-span // num_cells))
    cells = tuple((w - low + cell // 2) // cell for w, low in zip(weights, smallest, strict=True))
    errors = [w - low - c * cell for w, low, c in zip(weights, smallest, cells, strict=True)]
    error_low = int(smallest_to_go(graph, errors)[0][0])
    error_high = -int(smallest_to_go(graph, [-e for e in errors])[0][0])
    return Quantisation(cell, sum(smallest), error_low, error_high, cells)


@dataclass(frozen=True)
class Grid:
    """Exact counts of codes by their sum of cells.

    ``cumulative[t][state, g]`` counts the completions from that state whose cells sum to at most
    ``g``.
    """

    layout: Quantisation
    cumulative: tuple[NDArray[np.object_] | Ints, ...]

    def count(self, low: int, high: int) -> int:
        """Return how many codes have a sum of cells in ``[low, high]``."""
        return int(
            _at(self.cumulative[0], np.zeros(1, dtype=np.int64), np.array([high]))[0]
            - _at(self.cumulative[0], np.zeros(1, dtype=np.int64), np.array([low - 1]))[0]
        )

    def bounds(self, low: int, high: int) -> tuple[int, int]:
        """Return two numbers between which the count of ``[low, high]`` lies: it is exact."""
        count = self.count(low, high) if low <= high else 0
        return count, count

    def listed(self, graph: Graph, low: int, high: int) -> Ints:
        """Return all codes with a sum of cells in ``[low, high]``, in lexicographic order."""
        return unrank(graph, self, low, high, np.arange(self.count(low, high)))

    def draw(self, graph: Graph, low: int, high: int, count: int, rng: np.random.Generator) -> Ints:
        """Return ``count`` independent codes, uniform over those in ``[low, high]`` cells."""
        return unrank(graph, self, low, high, _uniform(self.count(low, high), count, rng))


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
        return Grid(
            Quantisation(1, 0, 0, 0, weights),
            tuple(np.zeros((n, 1), dtype=np.int64) for n in states),
        )
    require_memory(graph, num_cells, MAX_COUNTS)
    layout = quantise(graph, function, num_cells)
    # counts beyond int64 are held as Python integers
    counts = count_completions(graph, layout.cells, np.int64 if total < 2**62 else object)
    return Grid(layout, tuple(np.cumsum(c, axis=1) for c in reversed(list(counts))))


def require_memory(graph: Graph, num_cells: int, most: int) -> None:
    """Raise InfeasibleError where the counts of a grid would not fit into memory."""
    counts = sum(graph.num_states(step) for step in range(len(graph.steps) + 1)) * num_cells
    if counts > most:
        raise InfeasibleError(
            f"a window of this space has {counts:.2g} counts to keep, more than {most:.2g}: "
            "it cannot be sampled uniformly. Next: restrict the space to fewer choices that are "
            "shared by many operations"
        )


def count_completions(graph: Graph, cells: Sequence[Ints], dtype: type) -> Iterator[NDArray[Any]]:
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
    for number, (step, cells) in enumerate(zip(graph.steps, grid.layout.cells, strict=True)):
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
