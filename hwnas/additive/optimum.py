"""The exact best codes of an additive score subject to upper limits on additive costs.

Best-first search (A*; Hart, Nilsson and Raphael 1968) over the layered graph. Its bound of what a
prefix can still score under one limit is exact: backward dynamic programming keeps, for every
state, the undominated (cost, score) pairs of its completions (labels, as in the resource
constrained shortest path problem; Irnich and Desaulniers 2005). With one limit every popped code is
therefore the next best, and the K best cost K times the depth. With several limits the bound is
the smallest of the single-limit bounds and of those of their weighted sums (surrogate constraints;
Glover 1968), which never underestimates, so the order stays exact and only more nodes are opened.
Integers throughout: equal scores come in lexicographic order of the code.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.additive.contract import contract, is_large
from hwnas.additive.graph import (
    UNREACHABLE,
    Graph,
    Ints,
    Step,
    smallest_so_far,
    smallest_to_go,
)
from hwnas.errors import InfeasibleError

MAX_OPEN = 10_000_000  # nodes kept open before the search gives up (8 GB would follow)
FEW_SYMBOLS = 16  # of a state: not worth looking for those that are never best
MAX_LABELS = 1 << 16  # of a state; beyond this a bound is loosened (never wrongly), see _thin
MAX_LABELS_OF_LARGE = 1 << 13  # the same in a graph of more states


@dataclass(frozen=True)
class Bound:
    """What a limit leaves: ``weights[t]`` (states, symbols) may sum to at most ``most``."""

    weights: tuple[Ints, ...]
    most: int


@dataclass(frozen=True)
class Labels:
    """Undominated completions of a state: ``costs`` increase strictly, and so do ``scores``."""

    costs: Ints
    scores: Ints

    def best(self, remaining: int) -> int | None:
        """Return the best score of a completion that costs at most ``remaining``."""
        place = int(np.searchsorted(self.costs, remaining, side="right")) - 1
        return int(self.scores[place]) if place >= 0 else None


@dataclass(frozen=True)
class Ranked:
    """A code with its score's path sum (see ``Function.value``)."""

    code: tuple[int, ...]
    score: int


def ranked(graph: Graph, score: int | None, limits: Sequence[tuple[int, int]]) -> Iterator[Ranked]:
    """Yield all codes within ``limits`` in decreasing order of function ``score``.

    ``limits`` are ``(function, largest allowed path sum)``. Codes of equal score come in
    lexicographic order. Nothing is yielded when no code meets the limits. Without a score (None)
    all codes within the limits come in lexicographic order.
    """
    if not is_large(graph):
        yield from _ranked(graph, score, limits, MAX_LABELS)
        return
    contraction = contract(graph)  # its codes are in the same order
    for found in _ranked(contraction.graph, score, limits, MAX_LABELS_OF_LARGE):
        (code,) = contraction.expand(np.array([found.code])).tolist()
        yield Ranked(tuple(code), found.score)


def _ranked(
    graph: Graph, score: int | None, limits: Sequence[tuple[int, int]], most_labels: int
) -> Iterator[Ranked]:
    """Yield the codes of :func:`ranked`; bounds keep up to ``most_labels`` labels a state."""
    bounds = _bounds(graph, limits)
    gains = tuple(
        np.zeros_like(step.next_state) if score is None else step.weights[score]
        for step in graph.steps
    )
    tables = [_completions(graph, gains, bound, most_labels) for bound in bounds]
    edges: dict[tuple[int, int], list[_Edge]] = {}  # of the states that are reached
    start = tuple(bound.most for bound in bounds)
    first = _bound_of(tables, 0, 0, start)
    if first is None:
        return
    heap: list[tuple[int, tuple[int, ...], int, int, tuple[int, ...]]] = [(-first, (), 0, 0, start)]
    while heap:
        if len(heap) > MAX_OPEN:
            raise InfeasibleError(
                f"more than {MAX_OPEN:,} codes are about equally good: the score does not tell "
                "networks apart. Next: use a score that is not a function of the limited costs"
            )
        negative, code, state, gained, remaining = heapq.heappop(heap)
        if len(code) == len(graph.steps):
            yield Ranked(code, -negative)
            continue
        here = len(code), state
        if here not in edges:
            edges[here] = _edges(graph.steps[len(code)], here, gains, bounds)
        for symbol, following, gain, costs in edges[here]:
            left = tuple(r - c for r, c in zip(remaining, costs, strict=True))
            to_go = _bound_of(tables, len(code) + 1, following, left)
            if to_go is not None:
                total = gained + gain
                heapq.heappush(heap, (-(total + to_go), (*code, symbol), following, total, left))


_Edge = tuple[int, int, int, tuple[int, ...]]


def _edges(
    step: Step, place: tuple[int, int], gains: Sequence[Ints], bounds: Sequence[Bound]
) -> list[_Edge]:
    """Return a state's allowed edges ``(symbol, next state, gain, cost of each bound)``."""
    number, state = place
    symbols = np.flatnonzero(step.allowed[state])
    costs = [bound.weights[number][state, symbols].tolist() for bound in bounds]
    return list(
        zip(
            symbols.tolist(),
            step.next_state[state, symbols].tolist(),
            gains[number][state, symbols].tolist(),
            zip(*costs, strict=True),
            strict=True,
        )
    )


def _bound_of(
    tables: Sequence[list[list[Labels]]], number: int, state: int, remaining: tuple[int, ...]
) -> int | None:
    best: int | None = None
    for table, left in zip(tables, remaining, strict=True):
        here = table[number][state].best(left)
        if here is None:
            return None
        best = here if best is None else min(best, here)
    return best


def _bounds(graph: Graph, limits: Sequence[tuple[int, int]]) -> list[Bound]:
    """Return the limits, an empty one if there is none, and surrogates where there are several."""
    if not limits:
        return [Bound(tuple(np.zeros_like(step.next_state) for step in graph.steps), 0)]
    bounds = [
        Bound(tuple(step.weights[function] for step in graph.steps), most)
        for function, most in limits
    ]
    if len(bounds) == 1:
        return bounds
    rooms = []
    for bound in bounds:
        smallest = int(smallest_to_go(graph, bound.weights)[0][0])
        rooms.append(max(1, bound.most - smallest))
    pairs = list(itertools.combinations(range(len(bounds)), 2))
    for shares in ((1, 1), (3, 1), (1, 3)):
        for left, right in pairs:
            ratio = shares[0] * rooms[right] / (shares[1] * rooms[left])
            bounds.append(_surrogate(bounds[left], bounds[right], ratio))
    return bounds


def _surrogate(left: Bound, right: Bound, ratio: float) -> Bound:
    """Return the sum of two bounds, the left weighted ``ratio`` times the right.

    The weights are whole numbers up to 2**10, so that sums of 2**50 units stay within int64.
    """
    heavier = 1 << 10
    by_left = heavier if ratio >= 1 else max(1, round(heavier * ratio))
    by_right = heavier if ratio < 1 else max(1, round(heavier / ratio))
    weights = tuple(
        by_left * a + by_right * b for a, b in zip(left.weights, right.weights, strict=True)
    )
    return Bound(weights, by_left * left.most + by_right * right.most)


def _completions(
    graph: Graph, gains: Sequence[Ints], bound: Bound, most_labels: int
) -> list[list[Labels]]:
    """Return for each layer and the end the labels of each of its states."""
    so_far = smallest_so_far(graph, bound.weights)
    nothing = Labels(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    layers = [[nothing]]
    for number in range(len(graph.steps) - 1, -1, -1):
        step, current = graph.steps[number], []
        for state in range(len(step.allowed)):
            room = bound.most - int(so_far[number][state])
            costs, gained = bound.weights[number][state], gains[number][state]
            parts = [
                (layers[-1][step.next_state[state, symbol]], costs[symbol], gained[symbol])
                for symbol in _undominated(step, state, costs, gained)
            ]
            current.append(_thin(_merge(parts, room), most_labels))
        layers.append(current)
    return layers[::-1]


def _undominated(step: Step, state: int, costs: Ints, gains: Ints) -> Ints:
    """Return the allowed symbols but those that another leading to the same state makes useless."""
    symbols = np.flatnonzero(step.allowed[state])
    if len(symbols) <= FEW_SYMBOLS:
        return symbols
    order = symbols[np.lexsort((-gains[symbols], costs[symbols], step.next_state[state, symbols]))]
    following = step.next_state[state, order]
    kept = []
    for place in np.split(np.arange(len(order)), np.flatnonzero(np.diff(following)) + 1):
        best = np.maximum.accumulate(gains[order[place]])
        kept.append(order[place[np.concatenate(([True], best[1:] > best[:-1]))]])
    return np.concatenate(kept)


def _merge(parts: Sequence[tuple[Labels, int, int]], room: int) -> Labels:
    if not parts:
        return Labels(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    costs = np.concatenate([labels.costs + cost for labels, cost, _ in parts])
    scores = np.concatenate([labels.scores + gain for labels, _, gain in parts])
    fits = costs <= room
    costs, scores = costs[fits], scores[fits]
    order = np.argsort(costs, kind="stable")  # each part is in order already
    costs, scores = costs[order], scores[order]
    best_before = np.concatenate(([-UNREACHABLE], np.maximum.accumulate(scores)[:-1]))
    costs, scores = costs[scores > best_before], scores[scores > best_before]
    last = np.append(np.diff(costs) > 0, np.ones(min(1, len(costs)), dtype=bool))
    return Labels(costs[last], scores[last])


def _thin(labels: Labels, most: int) -> Labels:
    """Merge neighbours beyond ``most``: smallest cost, largest score, still an upper bound."""
    if len(labels.costs) <= most:
        return labels
    group = -(-len(labels.costs) // (most // 2))
    starts = np.arange(0, len(labels.costs), group)
    return Labels(labels.costs[starts], np.maximum.reduceat(labels.scores, starts))


def best_distinct(
    codes: Iterator[Ranked], count: int, identity: Callable[[tuple[int, ...]], Hashable]
) -> list[Ranked]:
    """Return the first ``count`` ranked codes with distinct ``identity`` (a network_id)."""
    found: list[Ranked] = []
    seen: set[Hashable] = set()
    for candidate in codes:
        name = identity(candidate.code)
        if name not in seen:
            seen.add(name)
            found.append(candidate)
        if len(found) == count:
            break
    return found


def cheapest(graph: Graph, function: int) -> Ranked | None:
    """Return the code with the smallest sum of ``function``, None when no code is allowed."""
    return _extreme(graph, function, sign=1)


def dearest(graph: Graph, function: int) -> Ranked | None:
    """Return the code with the largest sum of ``function``, None when no code is allowed."""
    return _extreme(graph, function, sign=-1)


def _extreme(graph: Graph, function: int, sign: int) -> Ranked | None:
    weights = [sign * step.weights[function] for step in graph.steps]
    to_go = smallest_to_go(graph, weights)
    if to_go[0][0] >= UNREACHABLE:
        return None
    code, state = [], 0
    for number, (step, weight) in enumerate(zip(graph.steps, weights, strict=True)):
        following = to_go[number + 1][step.next_state[state]]
        usable = step.allowed[state] & (following < UNREACHABLE)
        symbol = int(np.argmin(np.where(usable, weight[state] + following, UNREACHABLE)))
        code.append(symbol)
        state = int(step.next_state[state, symbol])
    return Ranked(tuple(code), sign * int(to_go[0][0]))
