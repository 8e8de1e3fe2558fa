"""A graph of fewer, larger steps: runs of choices between layers of few states become one choice.

Where a choice is decided by many others (a block's family, kernels, width and activation decide one
operation together), the layers between them have a state for every combination, and a space of many
such blocks has millions. Between blocks few states are left. Each run of choices between two such
layers is replaced by one whose options are the run's paths, which leaves the same codes with the
same sums: variable elimination with larger variables. Which layers stay is the shortest path
through all ways to cut, by the number of edges and states that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Graph, Ints, Step

LONGEST_RUN = 24  # choices that become one
MAX_PATHS = 1 << 20  # of a run
LARGE = 1 << 14  # states of a graph that is worth contracting


@dataclass(frozen=True)
class Contraction:
    """``graph`` has one choice for each run of choices of the graph it was made of.

    ``symbols[t]`` is ``(states, options, choices of the run)``: the symbols of each path, in
    lexicographic order, so that codes of both graphs are in the same order.
    """

    graph: Graph
    symbols: tuple[NDArray[np.int16], ...]

    def expand(self, codes: Ints) -> Ints:
        """Return ``(num_codes, num_choices)`` symbols of codes of the contracted graph."""
        state = np.zeros(len(codes), dtype=np.int64)
        parts = [np.empty((len(codes), 0), dtype=np.int64)]
        for step, symbols, options in zip(self.graph.steps, self.symbols, codes.T, strict=True):
            parts.append(symbols[state, options].astype(np.int64))
            state = step.next_state[state, options]
        return np.concatenate(parts, axis=1)


def is_large(graph: Graph) -> bool:
    """Return whether answers on the contraction are quicker: more than LARGE states."""
    return sum(map(graph.num_states, range(len(graph.steps) + 1))) > LARGE


def contract(graph: Graph) -> Contraction:
    """Return the contraction of ``graph`` with the fewest edges and states."""
    ends = _ends(graph)
    steps, symbols = [], []
    for start, end in zip((0, *ends), ends, strict=False):
        step, paths = _joined(graph.steps[start:end])
        steps.append(step)
        symbols.append(paths)
    sizes = tuple(step.allowed.shape[1] for step in steps)
    return Contraction(Graph(sizes, graph.functions, tuple(steps)), tuple(symbols))


def _ends(graph: Graph) -> tuple[int, ...]:
    """Return the layers that stay, the first left out and the last with them."""
    last = len(graph.steps)
    cost = np.full(last + 1, np.inf)
    cost[0] = 0.0
    before = np.zeros(last + 1, dtype=np.int64)
    for start in range(last):
        paths: NDArray[np.float64] = np.ones(graph.num_states(start))
        for end in range(start + 1, min(last, start + LONGEST_RUN) + 1):
            step = graph.steps[end - 1]
            leaving = np.where(step.allowed, paths[:, None], 0.0)
            paths = np.bincount(
                step.next_state.ravel(), leaving.ravel(), graph.num_states(end)
            ).astype(np.float64)
            if paths.sum() > MAX_PATHS and end > start + 1:
                break
            total = cost[start] + paths.sum() + graph.num_states(end)
            if total < cost[end]:
                cost[end], before[end] = total, start
    ends = [last]
    while before[ends[-1]] > 0:
        ends.append(int(before[ends[-1]]))
    return tuple(reversed(ends))


def _joined(run: Sequence[Step]) -> tuple[Step, NDArray[np.int16]]:
    """Return these steps as one, and the symbols of its paths."""
    num_states, num_functions = len(run[0].allowed), len(run[0].weights)
    origin = state = np.arange(num_states)
    weights = np.zeros((num_functions, num_states), dtype=np.int64)
    chosen = np.empty((num_states, 0), dtype=np.int16)
    for step in run:
        path, symbol = np.nonzero(step.allowed[state])  # sorted by origin, then by symbols
        weights = weights[:, path] + step.weights[:, state[path], symbol]
        chosen = np.concatenate([chosen[path], symbol[:, None].astype(np.int16)], axis=1)
        origin, state = origin[path], step.next_state[state[path], symbol]
    counts = np.bincount(origin, minlength=num_states)
    shape = num_states, max(1, int(counts.max(initial=0)))
    place = np.arange(len(origin)) - (np.cumsum(counts) - counts)[origin]
    next_state, allowed = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    joint = np.zeros((num_functions, *shape), dtype=np.int64)
    symbols = np.zeros((*shape, len(run)), dtype=np.int16)
    next_state[origin, place], allowed[origin, place] = state, True
    joint[:, origin, place], symbols[origin, place] = weights, chosen
    return Step(next_state, joint, allowed), symbols
