"""Which latencies a space reaches on a device: its smallest and its largest network, timed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.additive.graph import build_graph
from hwnas.additive.optimum import cheapest, dearest
from hwnas.arch import Arch
from hwnas.device.benchmark import bench
from hwnas.device.runner import Target, open_runner
from hwnas.errors import InfeasibleError
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.profile.networks import macs_terms
from hwnas.latency.profile.plan import network_conversion
from hwnas.protocols import SearchSpace
from hwnas.space.codes import symbol_counts, to_codes

ROUNDS = 8
"""Rounds of a measurement that only tells which budgets are worth asking for."""


@dataclass(frozen=True)
class Reach:
    """The latencies of the networks with the fewest and with the most MACs of a space, in ms."""

    space: str
    low_ms: float
    high_ms: float

    def __str__(self) -> str:
        return f"{self.low_ms:.3g} to {self.high_ms:.3g} ms"


def ends_of(space: SearchSpace) -> tuple[Arch, Arch]:
    """Return the networks with the fewest and with the most multiply-accumulates."""
    graph = build_graph(symbol_counts(space), [tuple(macs_terms(space))])
    found = [end for end in (cheapest(graph, 0), dearest(graph, 0)) if end is not None]
    if len(found) < 2:
        raise InfeasibleError(f"{space.name} has no network")
    low, high = space.decode(to_codes(np.array([end.code for end in found]), space))
    return low, high


def macs_of(space: SearchSpace, arch: Arch) -> int:
    """Return the multiply-accumulates of a network."""
    return sum(op.macs for op in space.layers(arch))


def measure_reach(space: SearchSpace, target: Target, cache: ConversionCache) -> Reach:
    """Time the smallest and the largest network of a space on a device.

    Raises:
        DeviceError: the device cannot be reached, or a network does not run on it.
    """
    conversions = [network_conversion(space, arch, target) for arch in ends_of(space)]
    paths = cache.fill(conversions)
    models = {name: paths[one] for name, one in zip(("low", "high"), conversions, strict=True)}
    with open_runner(target) as runner:
        found = bench(models, target, runner, rounds=ROUNDS)
    low, high = sorted(model.measurement.latency_ms for model in found.models)
    return Reach(space.name, low, high)
