"""Whole networks of space `mobile` from a table of at most 400 of its 16,000 operations.

On this machine: `hwnas profile --space mobile --ops 400 --calibrate 16` (or the table that --table
names, if it is there), and `--predictor kernel` for the rest. Judged are networks that it knows
nothing of, timed in a later session: random ones; winners, the exact optimum under the predicted
latency of a made-up accuracy at budgets over the whole range, another for each
(`networks.utility_terms`); and the seven published networks that are codes of the space. The
table's sentinels are timed with them: the median of now over then is the drift, and predictions
are multiplied by it.

Printed: mean and largest error, bias, the share within 5 %, Kendall's tau; beside them a line
through MACs fitted on the table's calibration networks, and the measurement's own repeatability
(two halves of rounds).
Usage: python benchmarks/mobile_table.py [--runtime onnxruntime] [--ops 400] [--rounds 60]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hwnas.arch import Arch
from hwnas.device.device import load_device
from hwnas.device.measurement import summarise
from hwnas.device.rounds import timed_in_rounds
from hwnas.device.runner import Target, make_target, open_runner
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.drift.check import arch_of
from hwnas.latency.lut.accuracy import errors
from hwnas.latency.lut.calibration import describe, relative_fit
from hwnas.latency.op_predictor.rows import OpPredictor
from hwnas.latency.profile.networks import winner_networks
from hwnas.latency.profile.profiler import ProfilePlan, network_conversion, profile
from hwnas.latency.table.table import LatencyTable, load_table
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops
from hwnas.space.zoo.archs import known_archs

Floats = np.ndarray


def random_archs(space: SearchSpace, count: int, seed: int) -> list[Arch]:
    """Return random options, repaired."""
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(seed, "mobile table").integers(sizes, size=(count, len(sizes)))
    return space.decode(space.repair(codes.astype(np.int16)))


def measure(
    space: SearchSpace, archs: Sequence[Arch], target: Target, rounds: int
) -> tuple[Floats, Floats, Floats]:
    """Time networks together in interleaved rounds.

    Returns:
        ``(num_archs,)`` ms of all rounds, of the odd and of the even ones.
    """
    conversions = [network_conversion(space, arch, target) for arch in archs]
    made = ConversionCache().fill(conversions)
    paths = {str(place): made[conversion] for place, conversion in enumerate(conversions)}
    protocol = target.device.protocol
    with open_runner(target) as runner:
        runs = timed_in_rounds(runner, paths, rounds, protocol, stage="mobile")

    def ms(half: slice) -> Floats:
        return np.array([summarise(runs[name][half]).latency_ms for name in paths])

    return ms(slice(None)), ms(slice(0, None, 2)), ms(slice(1, None, 2))


def line(name: str, predicted: Floats, measured: Floats) -> str:
    """Return one predictor's errors as text."""
    found = errors(predicted, measured)
    return (
        f"  {name:24s} mean {found['mean_abs_rel_error']:6.2%}  largest "
        f"{found['max_abs_rel_error']:6.2%}  bias {np.mean(predicted / measured) - 1:+6.2%}  "
        f"within 5 % {found['within_5_percent']:6.1%}  Kendall {found['kendall_tau']:.3f}"
    )


def macs_line(space: SearchSpace, table: LatencyTable, archs: Sequence[Arch]) -> Floats:
    """Return ms by the line through MACs that fits the table's calibration networks best."""

    def x(some: Sequence[Arch]) -> Floats:
        return np.array([[sum(op.macs for op in space.layers(arch)), 1.0] for arch in some])

    known = [network for network in table.networks if network.role == "calibrate"]
    times = np.array([network.measurement.latency_ms for network in known])
    return np.asarray(x(archs) @ relative_fit(x([arch_of(one) for one in known]), times))


def made_table(options: argparse.Namespace, space: SearchSpace, target: Target) -> LatencyTable:
    """Return the table of --table, profiled now if it is not there."""
    if options.table is not None and options.table.exists():
        return load_table(options.table)
    with TemporaryDirectory() as folder:
        plan = ProfilePlan(
            space, target, calibrate=options.calibrate, seed=options.seed, most_ops=options.ops
        )
        start = time.perf_counter()
        table = profile(plan, options.table or Path(folder) / "mobile.json")
        print(f"profile: {time.perf_counter() - start:.0f} s, conversions included")
    return table


def main() -> None:
    """Profile, predict, measure, and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--table", type=Path, help="The table to use, or to write.")
    parser.add_argument("--ops", type=int, default=400)
    parser.add_argument("--calibrate", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--random", type=int, default=24)
    parser.add_argument("--winners", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    space = load_space("mobile")
    target = make_target(load_device("host"), options.runtime)
    table = made_table(options, space, target)
    predictor = OpPredictor(space, table)
    print(
        f"{platform.processor() or platform.machine()}, {target.label}: {len(table.entries)} of "
        f"{len(distinct_ops(space))} operations measured"
    )
    print(f"calibration: {describe(table.calibration[space.name])}")
    print("\n".join(predictor.statements()))
    known = known_archs(space)
    judged = {
        "random networks": random_archs(space, options.random, options.seed),
        "winners": winner_networks(
            space, predictor.factor_ms(), options.winners, seed=options.seed, purpose="mobile table"
        ),
        "published networks": list(known.values()),
    }
    sentinels = [network for network in table.networks if network.is_sentinel]
    archs = [*map(arch_of, sentinels), *(arch for some in judged.values() for arch in some)]
    start = time.perf_counter()
    times, odd, even = measure(space, archs, target, options.rounds)
    print(f"{len(archs)} networks converted and timed: {time.perf_counter() - start:.0f} s")
    then = np.array([network.measurement.latency_ms for network in sentinels])
    drift = float(np.median(times[: len(then)] / then))
    predicted = predictor.predict_ms(space.encode(archs)) * drift
    by_macs = macs_line(space, table, archs) * drift
    print(f"drift since the table was measured: {drift - 1:+.2%}")
    first = len(then)
    for name, some in judged.items():
        rows = slice(first, first + len(some))
        first += len(some)
        print(f"{len(some)} {name}, {times[rows].min():.2f} to {times[rows].max():.2f} ms:")
        print(line("--predictor kernel", predicted[rows], times[rows]))
        print(line("line through MACs", by_macs[rows], times[rows]))
        print(line("repeated measurement", odd[rows], even[rows]))
    for name, truth, guess in zip(
        known, times[-len(known) :], predicted[-len(known) :], strict=True
    ):
        print(
            f"    {name:28s} measured {truth:6.2f} ms, predicted {guess:6.2f} ms "
            f"({guess / truth - 1:+.1%})"
        )


if __name__ == "__main__":
    main()
