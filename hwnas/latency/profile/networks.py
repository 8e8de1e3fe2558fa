"""Which whole networks are timed: spread over a range, as searches find them, or to calibrate on.

Networks drawn at random from one space are alike, and a calibration on them says little of the
fastest and the slowest, or of those that a search likes. So calibration networks are one from each
of equal windows over the whole range of multiply-accumulates (of windows of equal ratio, where the
largest network is many times the smallest), the ends included, and together as unlike in structure
as they can be (greedy D-optimal design; Fedorov, "Theory of Optimal Experiments", 1972). In every
other window the candidates are what searches would return, with a taste for some operations: which
ones a device favours is not known yet, and its fastest networks may have one of them everywhere. In
the windows between, candidates are drawn, half of them with one option nearly everywhere. The
choice must not depend on measurements, so that all tables of a space have the same networks, int8
files are made from the fp32 ones at hand, and a second profile converts nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Graph, Term, build_graph
from hwnas.additive.optimum import cheapest, dearest, ranked
from hwnas.additive.window import Windows
from hwnas.arch import Arch
from hwnas.errors import InfeasibleError
from hwnas.latency.lut.op_groups import design_matrix, groups_of, terms_of
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.space.codes import symbol_counts, to_codes, to_symbols

TRIES_PER_WINDOW = 20
UNIFORM_PER_WINDOW = 8  # candidates of a calibration network, by codes and by options
OPTION_DRAWS = 64  # for each window
CONCENTRATION = 0.3  # of the options in one candidate: 1 is uniform over mixtures, 0 one option
WINNERS_PER_WINDOW = 3
TASTE = 0.5  # of the searches that find calibration networks: on some device, not known yet
WIDE_RANGE = 30.0  # largest over smallest: beyond, equal windows leave most of the octaves out
DESIGN_PRIOR = 1.0  # of the D-optimal choice: so much is known of every direction beforehand


def macs_terms(space: SearchSpace) -> list[Term]:
    """Return the multiply-accumulates of a space's networks as additive terms."""
    return terms_of(space.factors(), lambda op: float(op.macs))


def spread_networks(
    space: SearchSpace,
    terms: Sequence[Term],
    count: int,
    *,
    seed: int,
    purpose: str,
    avoid: Sequence[Arch] = (),
) -> list[Arch]:
    """Return up to ``count`` networks, one uniform draw from each of ``count`` equal windows.

    The windows cut the range of the additive ``terms`` (latency, MACs) from the smallest to the
    largest network. A window without a network that is not in ``avoid`` (or drawn before) is left
    out, so fewer may come back. Networks are distinct by network_id.
    """
    graph, edges = _windows(space, [terms], count)
    windows = Windows(graph, 0)
    taken = {space.network_id(arch) for arch in avoid}
    found: list[Arch] = []
    for number in range(count):
        rng = stream(seed, f"networks {purpose}", number)
        for arch in _uniform(space, windows, edges, number, TRIES_PER_WINDOW, rng):
            if space.network_id(arch) not in taken:
                taken.add(space.network_id(arch))
                found.append(arch)
                break
    return found


def _windows(
    space: SearchSpace, functions: Sequence[Sequence[Term]], count: int
) -> tuple[Graph, NDArray[np.int64]]:
    """Return the graph of ``functions`` and the edges of ``count`` windows of the first."""
    graph = build_graph(symbol_counts(space), functions)
    fastest, slowest = cheapest(graph, 0), dearest(graph, 0)
    if fastest is None or slowest is None:
        raise InfeasibleError(f"no network of {space.name} is covered by the table")
    edges = np.linspace(fastest.score, slowest.score, count + 1).astype(np.int64)
    edges[-1] = slowest.score
    return graph, edges


def _by_ratio(graph: Graph, edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the edges of as many windows of equal ratio, where the range is wide."""
    smallest, largest = (graph.functions[0].value(int(edge)) for edge in edges[[0, -1]])
    if smallest <= 0 or largest / smallest < WIDE_RANGE:
        return edges
    values = np.geomspace(smallest, largest, len(edges))
    inner = [graph.functions[0].floor(float(value)) for value in values[1:-1]]
    return np.array([edges[0], *inner, edges[-1]])


def _uniform(
    space: SearchSpace,
    windows: Windows,
    edges: NDArray[np.int64],
    number: int,
    count: int,
    rng: np.random.Generator,
) -> list[Arch]:
    """Return up to ``count`` uniform draws from window ``number``, none where it is empty."""
    low = int(edges[number]) + (1 if number else 0)
    window = windows.open(low, int(edges[number + 1]))
    if window.is_empty:
        return []
    return space.decode(to_codes(window.sample(count, rng), space))


def utility_terms(
    space: SearchSpace, seed: int, purpose: str, number: int, *, taste: float = 0.0
) -> list[Term]:
    """Return a made-up accuracy for searches where no real one is known: random, additive, > 0.

    An operation is worth the square root of its MACs over the mean of its place, times the place's
    weight and its own, both log-normal (sigma 0.5 and 0.35). More work is better, with diminishing
    returns, but what a place or an operation is worth has nothing to do with its latency: the
    optimum under a budget gathers operations that are fast for what they are worth, as a search
    does. Combinations no code has stay impossible, an operation left out is worth nothing.
    With a ``taste`` each group of operations (``structure.groups_of``) is worth its own factor,
    log-normal with that sigma, against the others of each place (a factor that all operations of a
    place have cancels): as where one kernel size is fast on a device.
    """

    @functools.cache
    def factor_of(group: str) -> float:
        return float(stream(seed, f"taste {purpose} {group}", number).lognormal(0.0, taste))

    def work(op: OpSpec | None) -> float:
        if op is None:
            return 0.0
        return op.macs * math.prod(map(factor_of, groups_of(op))) ** 2 if taste else float(op.macs)

    rng = stream(seed, f"utility {purpose}", number)
    terms = []
    for factor in space.factors():
        macs = factor.values(work)
        worth = np.sqrt(macs / max(float(np.nanmean(macs)), 1.0))
        worth = worth * rng.lognormal(0.0, 0.35, macs.shape) * rng.lognormal(0.0, 0.5)
        terms.append(Term(factor.choices, worth))
    return terms


def winner_networks(
    space: SearchSpace,
    terms: Sequence[Term],
    count: int,
    *,
    seed: int,
    purpose: str,
    avoid: Sequence[Arch] = (),
) -> list[Arch]:
    """Return up to ``count`` networks as searches return them, fastest first.

    Each is the best by a utility of its own (:func:`utility_terms`) of those with at most a budget
    of the additive ``terms``; the budgets are spread from 5 to 95 % of the range. Distinct by
    network_id, and none of ``avoid``.
    """
    taken = {space.network_id(arch) for arch in avoid}
    found = []
    for number in range(count):
        share = 0.05 + 0.9 * (number + 0.5) / count
        arch = _winner(space, terms, share, utility_terms(space, seed, purpose, number), taken)
        if arch is not None:
            taken.add(space.network_id(arch))
            found.append(arch)
    return found


def _winner(
    space: SearchSpace,
    terms: Sequence[Term],
    share: float,
    utility: Sequence[Term],
    taken: Collection[str],
) -> Arch | None:
    """Return the best network by ``utility`` within ``share`` of the range that is not taken."""
    graph, edges = _windows(space, [terms, utility], 1)
    most = int(edges[0]) + round(share * (int(edges[1]) - int(edges[0])))
    for code in itertools.islice(ranked(graph, 1, [(0, most)]), TRIES_PER_WINDOW):
        arch = space.decode(to_codes(np.array([code.code]), space))[0]
        if space.network_id(arch) not in taken:
            return arch
    return None


def calibration_networks(
    space: SearchSpace, terms: Sequence[Term], count: int, *, seed: int
) -> list[Arch]:
    """Return up to ``count`` networks to calibrate on, smallest first (see the module's head).

    ``terms`` order the networks (MACs, known before anything is measured). The smallest and the
    largest network are among those of 4 or more; every other window gives one that a search would
    find. Distinct by network_id; a window without a network is left out.
    """
    graph, edges = _windows(space, [terms], count)
    edges = _by_ratio(graph, edges)
    windows = Windows(graph, 0)
    pools = [_pool(space, windows, edges, terms, number, seed) for number in range(count)]
    for pool, drawn in list(zip(pools, _by_options(space, graph, edges, seed), strict=True))[::2]:
        pool += drawn
    if count >= 4:
        for place, extreme in ((0, cheapest(graph, 0)), (-1, dearest(graph, 0))):
            assert extreme is not None
            pools[place] = space.decode(to_codes(np.array([extreme.code]), space))
    every = [arch for pool in pools for arch in pool]
    x = design_matrix(space, every)
    information = DESIGN_PRIOR * np.eye(x.shape[1])
    owner = [number for number, pool in enumerate(pools) for _ in pool]
    ids = [space.network_id(arch) for arch in every]
    chosen: dict[int, int] = {}
    # from the ends inwards, so that what is between complements them
    for number in sorted(range(count), key=lambda n: (min(n, count - 1 - n), n)):
        taken = {ids[index] for index in chosen.values()}
        mine = [i for i, of in enumerate(owner) if of == number and ids[i] not in taken]
        if not mine:
            continue
        # det(M + x x') = det(M) (1 + x' M^-1 x)
        gains = np.einsum("if,if->i", x[mine] @ np.linalg.inv(information), x[mine])
        best = mine[int(np.argmax(gains))]
        chosen[number] = best
        information = information + np.outer(x[best], x[best])
    return [every[chosen[number]] for number in sorted(chosen)]


def _by_options(
    space: SearchSpace, graph: Graph, edges: NDArray[np.int64], seed: int
) -> list[list[Arch]]:
    """Return for each window networks whose choices are drawn one by one.

    Of all codes most have every block there can be, as such are the most combinations; drawn by
    options, networks of any depth are as many. And most of all codes mix a choice's options evenly,
    while the fastest networks of a device may have its fastest option everywhere. So choices with
    the same options draw by probabilities of their own in each network, most of which is on one
    option (Dirichlet, CONCENTRATION).
    """
    count = len(edges) - 1
    rng = stream(seed, "networks by options")
    codes = space.repair(_concentrated(space, OPTION_DRAWS * count, rng))
    symbols = to_symbols(codes, space)
    codes, symbols = codes[graph.possible(symbols)], symbols[graph.possible(symbols)]
    place = np.searchsorted(edges[1:-1], graph.totals(symbols)[0], side="left")
    return [space.decode(codes[place == number][:UNIFORM_PER_WINDOW]) for number in range(count)]


def _concentrated(space: SearchSpace, count: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return ``(count, num_choices)`` draws, each mostly of one option wherever there is it."""
    codes = np.empty((count, len(space.choices)), dtype=np.int16)
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, choice in enumerate(space.choices):
        alike.setdefault(tuple(choice.options), []).append(number)
    for options, choices in alike.items():
        shares = rng.dirichlet(np.full(len(options), CONCENTRATION), size=count)
        uniform = rng.random((count, len(choices), 1))
        codes[:, choices] = np.minimum(
            (shares.cumsum(axis=1)[:, None, :] < uniform).sum(axis=2), len(options) - 1
        )
    return codes


def _pool(
    space: SearchSpace,
    windows: Windows,
    edges: NDArray[np.int64],
    terms: Sequence[Term],
    number: int,
    seed: int,
) -> list[Arch]:
    """Return candidates of a window: in every other one those that a search would find."""
    rng = stream(seed, "networks calibrate", number)
    uniform = _uniform(space, windows, edges, number, UNIFORM_PER_WINDOW, rng)
    if number % 2 == 0 or not uniform:
        return uniform
    span = int(edges[-1]) - int(edges[0])
    share = (int(edges[number + 1]) - int(edges[0])) / span
    winners = [
        _winner(
            space,
            terms,
            share,
            utility_terms(space, seed, f"calibrate window {number}", draw, taste=TASTE),
            (),
        )
        for draw in range(WINNERS_PER_WINDOW)
    ]
    found = [arch for arch in winners if arch is not None]
    totals = windows.graph.totals(to_symbols(space.encode(found), space))[0]
    inside = [
        arch
        for arch, total in zip(found, totals.tolist(), strict=True)
        if total > int(edges[number])
    ]
    return inside or uniform
