"""Counts of codes by their sum for graphs of so many codes that integers are out of reach.

The graph is contracted first (``contract.py``), and counts are doubles. They are sums of whole
positive numbers, so that they are exact up to 2**53, zero just where there is nothing, and beyond
that wrong by a relative 1e-16 for each addition: a draw is uniform to within ROUNDING.

A layout need not reach from end to end. Codes become rare by orders of magnitude towards the
smallest sums, where budgets are; there a grid of the same number of cells over a fraction of the
range tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.contract import Contraction
from hwnas.additive.graph import Graph, Ints, Step, smallest_to_go
from hwnas.additive.grid import Quantisation, quantise, require_memory

Floats = NDArray[np.float64]

ROUNDING = 1e-9  # relative, of counts beyond 2**53: far more than their additions can do
MAX_COUNTS = 2**27  # of a grid, over all layers: 1 GiB
AT_ONCE = 1 << 10  # draws, so that their options fit into memory


@dataclass(frozen=True)
class WideGrid:
    """``counts[t][state, g]``: the completions from that state whose cells sum to ``g``.

    Sums that exceed the layout's span are not counted. ``contraction`` is of the graph that the
    codes of :meth:`draw` belong to.
    """

    layout: Quantisation
    contraction: Contraction
    counts: tuple[Floats, ...]

    def count(self, low: int, high: int) -> float:
        """Return how many codes have a sum of cells in ``[low, high]``."""
        return float(self._range(low, high).sum())

    def _range(self, low: int, high: int) -> Floats:
        return self.counts[0][0, max(low, 0) : max(high + 1, 0)]

    def bounds(self, low: int, high: int) -> tuple[int, int]:
        """Return two numbers between which the count of ``[low, high]`` lies, equal if exact."""
        count = self.count(low, high)
        if count <= 2**53:
            return int(count), int(count)
        return int(count * (1 - ROUNDING)), int(count * (1 + ROUNDING))

    def draw(self, graph: Graph, low: int, high: int, count: int, rng: np.random.Generator) -> Ints:
        """Return ``count`` independent codes, uniform over those in ``[low, high]`` cells."""
        share = np.cumsum(self._range(low, high))
        parts = []
        for start in range(0, count, AT_ONCE):
            number = min(AT_ONCE, count - start)
            place = np.searchsorted(share, rng.random(number) * share[-1], side="right")
            totals = max(low, 0) + np.minimum(place, np.searchsorted(share, share[-1]))
            parts.append(self._drawn(totals, rng))
        empty = np.empty((0, len(self.contraction.graph.steps)), dtype=np.int64)
        return self.contraction.expand(np.concatenate([empty, *parts]))

    def _drawn(self, totals: Ints, rng: np.random.Generator) -> Ints:
        """Return a random code of each of these sums: at every choice an option by its count."""
        codes = np.empty((len(totals), len(self.layout.cells)), dtype=np.int64)
        state, left = np.zeros(len(totals), dtype=np.int64), totals
        for number, cells in enumerate(self.layout.cells):
            wanted = rng.random(len(totals))
            for here in np.unique(state).tolist():
                rows = np.flatnonzero(state == here)
                options, counts = self._following(number, here, left[rows])
                upto = np.cumsum(counts, axis=1)
                place = (upto <= (wanted[rows] * upto[:, -1])[:, None]).sum(axis=1)
                # rounding may have brought what is wanted to the end of the counts
                codes[rows, number] = options[np.minimum(place, (upto < upto[:, -1:]).sum(axis=1))]
            left = left - cells[state, codes[:, number]]
            state = self.contraction.graph.steps[number].next_state[state, codes[:, number]]
        return codes

    def listed(self, graph: Graph, low: int, high: int) -> Ints:
        """Return all codes with a sum of cells in ``[low, high]``, in lexicographic order."""
        totals = max(low, 0) + np.flatnonzero(self._range(low, high))
        codes = np.empty((len(totals), 0), dtype=np.int64)
        state, left = np.zeros(len(totals), dtype=np.int64), totals
        for number, cells in enumerate(self.layout.cells):
            found: list[tuple[Ints, Ints]] = [(np.empty(0, dtype=np.int64),) * 2]
            for here in np.unique(state).tolist():
                every = np.flatnonzero(state == here)
                for start in range(0, len(every), AT_ONCE):
                    rows = every[start : start + AT_ONCE]
                    options, counts = self._following(number, here, left[rows])
                    row, option = np.nonzero(counts)
                    found.append((rows[row], options[option]))
            before, chosen = (np.concatenate(column) for column in zip(*found, strict=True))
            codes = np.concatenate([codes[before], chosen[:, None]], axis=1)
            left = left[before] - cells[state[before], chosen]
            state = self.contraction.graph.steps[number].next_state[state[before], chosen]
        return self.contraction.expand(codes[np.lexsort(codes.T[::-1])])

    def _following(self, number: int, state: int, left: Ints) -> tuple[Ints, Floats]:
        """Return the options of a state, and ``(num_rows, num_options)`` counts of what follows.

        ``left`` are the cells that each row may still take; options that none can take are left
        out.
        """
        step, cells = self.contraction.graph.steps[number], self.layout.cells[number][state]
        options = np.flatnonzero(step.allowed[state] & (cells <= left.max()))
        after = self.counts[number + 1]
        place = left[:, None] - cells[options]
        inside = (place >= 0) & (place < after.shape[1])
        found = after[step.next_state[state, options], np.where(inside, place, 0)]
        return options, np.where(inside, found, 0.0)


def make_wide(contraction: Contraction, function: int, num_cells: int, span: int) -> WideGrid:
    """Return the counts of codes whose sum exceeds the smallest by at most ``span`` units.

    Raises:
        InfeasibleError: the counts would not fit into memory.
    """
    graph = contraction.graph
    require_memory(graph, num_cells, MAX_COUNTS)
    layout = quantise(graph, function, num_cells, span)
    most = layout.superset(layout.origin, layout.origin + span)[1]
    reach = smallest_to_go(graph, [-cells for cells in layout.cells])
    counts = [np.ones((1, 1))]
    for number in range(len(graph.steps) - 1, -1, -1):
        width = min(most, -int(reach[number].min())) + 1
        counts.append(_before(graph.steps[number], layout.cells[number], counts[-1], width))
    return WideGrid(layout, contraction, tuple(reversed(counts)))


def _before(step: Step, cells: Ints, after: Floats, width: int) -> Floats:
    """Return the ``(states, width)`` counts before a step from those after it."""
    counts = np.zeros((len(step.allowed), width))
    for state, allowed in enumerate(step.allowed):
        edges = np.stack([step.next_state[state, allowed], cells[state, allowed]], axis=1)
        distinct, numbers = np.unique(edges, axis=0, return_counts=True)
        for (following, shift), number in zip(distinct.tolist(), numbers.tolist(), strict=True):
            end = min(width, shift + after.shape[1])
            if shift < end:
                row = after[following, : end - shift]
                counts[state, shift:end] += row if number == 1 else number * row
    return counts
