"""Additive functions of a code as a layered graph, on which all exact answers are computed.

A space's latency, size or score is a sum of terms, each over one or a few choices. Assigning the
choices in order, only those that occur in a later term must be remembered: their assignments are
the states of a layer ("frontier"), and a code is a path with one edge per choice. In a chain space
every layer has a single state; a choice shared by many terms (an input resolution, a stage's
depth) multiplies the states. This is variable elimination (Dechter, "Bucket elimination", AIJ
1999) with a fixed order; all functions share one graph, so limits and scores can be combined.

Values are held in fixed point: integers in units of 2**-p, with p such that the largest possible
sum stays below 2**50. Sums are then exact, ties are ties, and no answer depends on the order of
summation; the resolution, 2**-50 of the largest sum, is that of a double.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FIXED_POINT_BITS = 50
BEYOND = 2.0**51  # larger than any sum in fixed point; limits beyond it are all alike


@dataclass(frozen=True)
class Term:
    """A part of an additive function: one value per combination of the symbols of ``choices``.

    ``choices`` are increasing indices; ``values`` has one axis per choice. NaN or an infinity
    forbids the combination. A constant has no choices and a 0-d array.
    """

    choices: tuple[int, ...]
    values: NDArray[np.float64]


def sum_of_terms(terms: Sequence[Term], codes: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return ``(num_codes,)`` sums; NaN where a code has a combination without a value.

    -1 in a code, an absent choice, is the last symbol of its axis.
    """
    total = np.zeros(len(codes))
    columns = np.ascontiguousarray(codes.T)
    for term in terms:
        total += term.values[tuple(columns[choice] for choice in term.choices)]
    return total


@dataclass(frozen=True)
class Function:
    """How a function's integers relate to its values: ``value = (constant + path sum) / scale``."""

    constant: int
    scale: float
    num_terms: int

    def floor(self, value: float) -> int:
        """Return the largest path sum that counts as ``<= value``.

        Each term is rounded by at most half a unit, so a sum that equals ``value`` is within.
        """
        return int(np.floor(self._units(value) + self.num_terms / 2)) - self.constant

    def ceil(self, value: float) -> int:
        """Return the smallest path sum that counts as ``>= value``."""
        return int(np.ceil(self._units(value) - self.num_terms / 2)) - self.constant

    def _units(self, value: float) -> float:
        return min(max(value * self.scale, -BEYOND), BEYOND)

    def value(self, total: int) -> float:
        """Return the value of a path sum."""
        return (self.constant + total) / self.scale


@dataclass(frozen=True)
class Step:
    """One choice: from each state, each symbol leads to a state at a price.

    ``next_state`` (states, symbols); ``weights`` (functions, states, symbols), 0 where forbidden;
    ``allowed`` (states, symbols).
    """

    next_state: Ints
    weights: Ints
    allowed: NDArray[np.bool_]


@dataclass(frozen=True)
class Graph:
    """The layered graph of all codes; ``steps[t]`` assigns choice ``t``."""

    sizes: tuple[int, ...]
    functions: tuple[Function, ...]
    steps: tuple[Step, ...]

    def num_states(self, step: int) -> int:
        """Return how many states precede step ``step`` (1 after the last)."""
        return len(self.steps[step].next_state) if step < len(self.steps) else 1

    def possible(self, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return ``(num_codes,)``: whether no function forbids a combination of the code."""
        state = np.zeros(len(codes), dtype=np.int64)
        possible = np.ones(len(codes), dtype=bool)
        for step, symbols in zip(self.steps, codes.T, strict=True):
            possible &= step.allowed[state, symbols]
            state = step.next_state[state, symbols]
        return possible

    def totals(self, codes: NDArray[np.int64]) -> Ints:
        """Return ``(num_functions, num_codes)`` path sums of ``(num_codes, num_choices)`` codes."""
        state = np.zeros(len(codes), dtype=np.int64)
        sums = np.zeros((len(self.functions), len(codes)), dtype=np.int64)
        for step, symbols in zip(self.steps, codes.T, strict=True):
            sums += step.weights[:, state, symbols]
            state = step.next_state[state, symbols]
        return sums


def build_graph(sizes: Sequence[int], functions: Sequence[Sequence[Term]]) -> Graph:
    """Return the graph of codes with ``sizes[i]`` symbols for choice ``i``.

    ``functions`` are additive functions given by their terms; a combination forbidden by one is
    forbidden for all.
    """
    fixed = [_fixed_point(terms) for terms in functions]
    last_use = list(range(len(sizes)))
    for terms in functions:
        for term in terms:
            for choice in term.choices:
                last_use[choice] = max(last_use[choice], term.choices[-1])
    steps: list[Step] = []
    frontier: tuple[int, ...] = ()
    for choice, size in enumerate(sizes):
        shape = tuple(sizes[c] for c in frontier)
        kept = tuple(c for c in (*frontier, choice) if last_use[c] > choice)
        weights = np.zeros((len(functions), int(np.prod(shape)), size), dtype=np.int64)
        allowed = np.ones(weights.shape[1:], dtype=bool)
        assigned = np.indices((*shape, size)).reshape(len(shape) + 1, -1)
        symbol_of = dict(zip((*frontier, choice), assigned, strict=True))
        for index, (terms, (_, scale)) in enumerate(zip(functions, fixed, strict=True)):
            for term in terms:
                if term.choices and term.choices[-1] == choice:
                    values = term.values[tuple(symbol_of[c] for c in term.choices)]
                    finite = np.isfinite(values)
                    allowed &= finite.reshape(allowed.shape)
                    scaled = np.rint(np.where(finite, values, 0.0) * scale).astype(np.int64)
                    weights[index] += scaled.reshape(allowed.shape)
        weights[:, ~allowed] = 0
        next_state = np.zeros(allowed.size, dtype=np.int64)
        for c in kept:
            next_state = next_state * sizes[c] + symbol_of[c]
        steps.append(Step(next_state.reshape(allowed.shape), weights, allowed))
        frontier = kept
    return Graph(tuple(sizes), tuple(function for function, _ in fixed), tuple(steps))


def _fixed_point(terms: Sequence[Term]) -> tuple[Function, float]:
    largest = sum(_largest(term.values) for term in terms)
    exponent = FIXED_POINT_BITS - int(np.ceil(np.log2(largest))) if largest > 0 else 0
    scale = float(2.0**exponent)
    constant = sum(int(np.rint(float(t.values) * scale)) for t in terms if not t.choices)
    return Function(constant, scale, len(terms)), scale


def _largest(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


UNREACHABLE = np.iinfo(np.int64).max // 4


def smallest_to_go(graph: Graph, weights: Sequence[Ints]) -> list[Ints]:
    """Return for each layer and the end the smallest sum of ``weights`` to a complete code.

    ``weights[t]`` is ``(states, symbols)``; UNREACHABLE where no code can be completed.
    """
    best = [np.zeros(1, dtype=np.int64)]
    for step, weight in zip(reversed(graph.steps), reversed(weights), strict=True):
        reached = best[-1][step.next_state]
        total = np.where(step.allowed & (reached < UNREACHABLE), weight + reached, UNREACHABLE)
        best.append(total.min(axis=1))
    return best[::-1]


def smallest_so_far(graph: Graph, weights: Sequence[Ints]) -> list[Ints]:
    """Return for each layer the smallest sum of ``weights`` from the start to each state."""
    best = [np.zeros(1, dtype=np.int64)]
    for number, (step, weight) in enumerate(zip(graph.steps, weights, strict=True)):
        reached = best[-1][:, None]
        total = np.where(step.allowed & (reached < UNREACHABLE), weight + reached, UNREACHABLE)
        following = np.full(graph.num_states(number + 1), UNREACHABLE, dtype=np.int64)
        np.minimum.at(following, step.next_state.ravel(), total.ravel())
        best.append(following)
    return best
