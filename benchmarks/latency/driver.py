"""What the latency benchmarks share: networks timed together, and a predictor's errors as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch
from hwnas.device.measurement import summarise
from hwnas.device.rounds import time_in_rounds
from hwnas.device.runner import Target, open_runner
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.drift.check import arch_of
from hwnas.latency.lut.accuracy import errors
from hwnas.latency.lut.calibration import relative_fit
from hwnas.latency.profile.plan import network_conversion
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace
from hwnas.rng import stream

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Timed:
    """Latencies in ms, ``(num_archs,)`` each: of all rounds, of the odd and of the even ones."""

    ms: Floats
    odd_ms: Floats
    even_ms: Floats


def time_networks(
    space: SearchSpace,
    archs: Sequence[Arch],
    target: Target,
    rounds: int,
    *,
    cache: ConversionCache | None = None,
) -> Timed:
    """Time networks together in interleaved rounds."""
    conversions = [network_conversion(space, arch, target) for arch in archs]
    made = (cache or ConversionCache()).fill(conversions)
    paths = {str(place): made[conversion] for place, conversion in enumerate(conversions)}
    protocol = target.device.protocol
    with open_runner(target) as runner:
        runs = time_in_rounds(runner, paths, rounds, protocol, stage="networks")

    def ms(half: slice) -> Floats:
        return np.array([summarise(runs[name][half]).latency_ms for name in paths])

    return Timed(ms(slice(None)), ms(slice(0, None, 2)), ms(slice(1, None, 2)))


def random_archs(space: SearchSpace, count: int, seed: int, purpose: str) -> list[Arch]:
    """Return random options, repaired."""
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(seed, purpose).integers(sizes, size=(count, len(sizes)))
    return space.decode(space.repair(codes.astype(np.int16)))


def error_line(name: str, predicted: Floats, measured: Floats, width: int = 44) -> str:
    """Return one predictor's errors as text; both arrays are ``(num_archs,)`` ms."""
    found = errors(predicted, measured)
    return (
        f"  {name:{width}s} mean {found['mean_abs_rel_error']:6.2%}  largest "
        f"{found['max_abs_rel_error']:6.2%}  bias {np.mean(predicted / measured) - 1:+6.2%}  "
        f"within 5 % {found['within_5_percent']:6.1%}  Kendall {found['kendall_tau']:.4f}"
    )


def macs_line(space: SearchSpace, table: LatencyTable, archs: Sequence[Arch]) -> Floats:
    """Return ms by the line through MACs that fits the table's calibration networks best."""

    def x(some: Sequence[Arch]) -> Floats:
        return np.array([[sum(op.macs for op in space.layers(arch)), 1.0] for arch in some])

    known = [network for network in table.networks if network.role == "calibrate"]
    times = np.array([network.measurement.latency_ms for network in known])
    return np.asarray(x(archs) @ relative_fit(x([arch_of(one) for one in known]), times))
