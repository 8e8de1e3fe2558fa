"""Baselines: known networks, scaled by their width until they take the same budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.device.measurement import summarise
from hwnas.device.rounds import time_in_rounds
from hwnas.device.runner import Target
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.profile.plan import conversion_of
from hwnas.ops import OpSpec
from hwnas.protocols import Runner
from hwnas.space.chain import network_id
from hwnas.space.zoo.layers import KNOWN

WIDTHS = tuple(round(0.05 * step, 2) for step in range(1, 41))
SCALING_ROUNDS = 20
MAX_STEPS = 4


@dataclass(frozen=True)
class Baseline:
    """A known network at the width that fits a budget.

    ``measured_ms`` is from the scaling session. ``fits`` is False when even the narrowest width is
    over the budget, and this is it.
    """

    name: str
    width_mult: float
    layers: tuple[OpSpec, ...]
    measured_ms: float
    fits: bool

    @property
    def network_id(self) -> str:
        """The id of its network."""
        return network_id(self.layers)


class _Scaling:
    """The search for the width of one network, by measurements."""

    def __init__(self, name: str, input_size: int, num_classes: int) -> None:
        self.name = name
        distinct: dict[str, float] = {}
        self.layers: dict[float, tuple[OpSpec, ...]] = {}
        for width in WIDTHS:
            layers = KNOWN[name](width_mult=width, input_size=input_size, num_classes=num_classes)
            if distinct.setdefault(network_id(layers), width) == width:
                self.layers[width] = layers
        self.measured_ms: dict[float, float] = {}

    def next_widths(self, budget_ms: float, macs: int) -> list[float]:
        """Return the widths to measure next; none when the width is settled."""
        widths = sorted(self.layers)
        if not self.measured_ms:
            by_macs = min(widths, key=lambda width: abs(self._macs(width) - macs))
            return sorted({widths[0], by_macs})
        below = [w for w in widths if self.measured_ms.get(w, np.inf) <= budget_ms]
        above = [w for w in widths if self.measured_ms.get(w, 0.0) > budget_ms]
        if not below:
            return []
        low = widths.index(max(below))
        high = widths.index(min(above)) if above else len(widths)
        if high - low <= 1:
            return []
        guess = self._guess(budget_ms)
        place = int(np.searchsorted(widths, guess, side="right")) - 1
        return [widths[min(max(place, low + 1), high - 1)]]

    def _guess(self, budget_ms: float) -> float:
        """Return the width at which a line through the nearest measured MACs meets the budget."""
        points = sorted((ms, self._macs(w)) for w, ms in self.measured_ms.items())
        nearest = sorted(points, key=lambda point: abs(point[0] - budget_ms))[:2]
        (ms_a, macs_a), (ms_b, macs_b) = nearest[0], nearest[-1]
        slope = (macs_b - macs_a) / (ms_b - ms_a) if ms_b != ms_a else macs_a / ms_a
        wanted = macs_a + slope * (budget_ms - ms_a)
        return max((w for w in self.layers if self._macs(w) <= wanted), default=min(self.layers))

    def _macs(self, width: float) -> int:
        return sum(op.macs for op in self.layers[width])

    def result(self, budget_ms: float) -> Baseline:
        """Return the widest measured network within the budget, else the narrowest."""
        below = [width for width, ms in self.measured_ms.items() if ms <= budget_ms]
        width = max(below) if below else min(self.measured_ms)
        return Baseline(self.name, width, self.layers[width], self.measured_ms[width], bool(below))


def scale_to_budget(
    names: Sequence[str],
    budget_ms: float,
    *,
    input_size: int,
    num_classes: int,
    macs: int,
    target: Target,
    runner: Runner,
    cache: ConversionCache,
) -> list[Baseline]:
    """Return each known network at the largest width whose measured latency is within the budget.

    Widths are multiples of 0.05. ``macs`` is a first guess: the work of a network that takes about
    the budget. At most MAX_STEPS sessions of SCALING_ROUNDS interleaved rounds.
    """
    scalings = [_Scaling(name, input_size, num_classes) for name in names]
    for _ in range(MAX_STEPS):
        wanted = {
            (scaling.name, width): scaling.layers[width]
            for scaling in scalings
            for width in scaling.next_widths(budget_ms, macs)
        }
        if not wanted:
            break
        measured = _measure(wanted, target, runner, cache)
        for scaling in scalings:
            scaling.measured_ms |= {
                width: ms for (name, width), ms in measured.items() if name == scaling.name
            }
    return [scaling.result(budget_ms) for scaling in scalings]


def _measure(
    wanted: Mapping[tuple[str, float], tuple[OpSpec, ...]],
    target: Target,
    runner: Runner,
    cache: ConversionCache,
) -> dict[tuple[str, float], float]:
    conversions = {key: conversion_of(layers, target) for key, layers in wanted.items()}
    paths = cache.fill(list(conversions.values()))
    names = {f"{name} x{width}": (name, width) for name, width in wanted}
    models = {label: paths[conversions[key]] for label, key in names.items()}
    protocol = target.device.protocol
    runs = time_in_rounds(runner, models, SCALING_ROUNDS, protocol, stage="scaling")
    return {
        key: summarise(runs[label], protocol.reloads).latency_ms for label, key in names.items()
    }
