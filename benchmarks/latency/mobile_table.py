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
Usage: python benchmarks/latency/mobile_table.py [--runtime onnxruntime] [--ops 400] [--rounds 60]
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from driver import error_line, macs_line, random_archs, time_networks

from hwnas.device.device import load_device
from hwnas.device.runner import Target, make_target
from hwnas.latency.drift.check import arch_of
from hwnas.latency.lut.calibration import describe
from hwnas.latency.op_predictor.rows import OpPredictor
from hwnas.latency.profile.networks import winner_networks
from hwnas.latency.profile.plan import ProfilePlan
from hwnas.latency.profile.profiler import profile
from hwnas.latency.table.files import load_table
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops
from hwnas.space.zoo.archs import known_archs


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
        "random networks": random_archs(space, options.random, options.seed, "mobile table"),
        "winners": winner_networks(
            space, predictor.factor_ms(), options.winners, seed=options.seed, purpose="mobile table"
        ),
        "published networks": list(known.values()),
    }
    sentinels = [network for network in table.networks if network.is_sentinel]
    archs = [*map(arch_of, sentinels), *(arch for some in judged.values() for arch in some)]
    start = time.perf_counter()
    timed = time_networks(space, archs, target, options.rounds)
    times = timed.ms
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
        print(error_line("--predictor kernel", predicted[rows], times[rows], 24))
        print(error_line("line through MACs", by_macs[rows], times[rows], 24))
        print(error_line("repeated measurement", timed.odd_ms[rows], timed.even_ms[rows], 24))
    for name, truth, guess in zip(
        known, times[-len(known) :], predicted[-len(known) :], strict=True
    ):
        print(
            f"    {name:28s} measured {truth:6.2f} ms, predicted {guess:6.2f} ms "
            f"({guess / truth - 1:+.1%})"
        )


if __name__ == "__main__":
    main()
