"""Whole networks spread evenly over the range of a space's latencies or MACs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.additive.graph import Term, build_graph
from hwnas.additive.optimum import cheapest, dearest
from hwnas.additive.window import open_window
from hwnas.arch import Arch
from hwnas.errors import InfeasibleError
from hwnas.interfaces import SearchSpace
from hwnas.ops import OpSpec
from hwnas.rng import stream
from hwnas.space.codes import symbol_counts, to_codes

TRIES_PER_WINDOW = 20


def macs_terms(space: SearchSpace) -> list[Term]:
    """Return the multiply-accumulates of a space's networks as additive terms."""
    def value(op: OpSpec | None) -> float:
        return 0.0 if op is None else float(op.macs)

    return [Term(f.choices, f.values(value)) for f in space.factors()]


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
    graph = build_graph(symbol_counts(space), [terms])
    fastest, slowest = cheapest(graph, 0), dearest(graph, 0)
    if fastest is None or slowest is None:
        raise InfeasibleError(f"no network of {space.name} is covered by the table")
    edges = np.linspace(fastest.score, slowest.score, count + 1).astype(np.int64)
    edges[-1] = slowest.score
    taken = {space.network_id(arch) for arch in avoid}
    found: list[Arch] = []
    for number in range(count):
        low = int(edges[number]) + (1 if number else 0)
        window = open_window(graph, 0, low, int(edges[number + 1]))
        if window.is_empty:
            continue
        rng = stream(seed, f"networks {purpose}", number)
        symbols = window.sample(TRIES_PER_WINDOW, rng)
        for arch in space.decode(to_codes(symbols, space)):
            if space.network_id(arch) not in taken:
                taken.add(space.network_id(arch))
                found.append(arch)
                break
    return found
