"""How well a table predicts whole networks on this machine, and how long it takes to make one.

For each runtime: (1) seconds of `hwnas profile --space proxyless` from an empty conversion cache
and with a full one; (2) a table with 16 calibration networks, judged on 64 validation networks
drawn uniformly over the range of latencies, none of them used in calibration; beside it, on the
same networks: the measurement's own repeatability, a line through MACs, a line through the number
of operations, and the plain protocol of the published tables (every operation timed in a loop of
its own, 50 runs, the mean taken, rows summed); (3) the same validation networks measured again in a
later session against the table's predictions.
Usage: python benchmarks/latency/table_accuracy.py [--runtimes onnxruntime,litert] [--validate 64]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from driver import error_line, time_networks

from hwnas.device.device import load_device
from hwnas.device.runner import make_target, open_runner
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.drift.check import arch_of
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.plan import ProfilePlan, conversion_of, op_id
from hwnas.latency.profile.profiler import VALIDATING, profile
from hwnas.space.catalogue import load_space


def stated_line(name: str, found: Mapping[str, float]) -> str:
    """Return errors that a table's validation states, as text."""
    return (
        f"  {name:44s} mean {found['mean_abs_rel_error']:6.2%}  largest "
        f"{found['max_abs_rel_error']:6.2%}  within 5 % {found['within_5_percent']:6.1%}  "
        f"Kendall {found['kendall_tau']:.4f}"
    )


def loop_table(plan: ProfilePlan, cache: ConversionCache) -> dict[str, float]:
    """Time every operation in a loop of its own; return the means in ms by operation key."""
    paths = cache.fill([conversion_of((op,), plan.target) for op in plan.ops])
    rows = {}
    with open_runner(plan.target) as runner:
        for op in plan.ops:
            runner.load(op_id(op), paths[conversion_of((op,), plan.target)])
            rows[op.key] = float(np.mean(runner.time_ms(op_id(op), min_runs=50, min_ms=0)))
    return rows


def measure(runtime: str, validate: int) -> None:
    """Profile with one runtime and print everything."""
    space, target = load_space("proxyless"), make_target(load_device("host"), runtime)
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), ConversionCache(Path(name) / "cache")
        seconds = []
        for step in ("empty", "full"):
            start = time.perf_counter()
            profile(ProfilePlan(space, target), folder / f"{step}.json", cache=cache)
            seconds.append(time.perf_counter() - start)
        print(
            f"{runtime}: table of {len(ProfilePlan(space, target).ops)} operations in "
            f"{seconds[0]:.1f} s from an empty cache, {seconds[1]:.1f} s with a full one"
        )
        plan = ProfilePlan(space, target, calibrate=16, validate=validate)
        table = profile(plan, folder / "table.json", cache=cache)
        found = table.validation[space.name]
        networks = [n for n in table.networks if n.role in VALIDATING]
        archs = [arch_of(n) for n in networks]
        measured = np.array([n.measurement.latency_ms for n in networks])
        rows = loop_table(plan, cache)
        summed = np.array([sum(rows[op.key] for op in space.layers(arch)) for arch in archs])
        print(
            f"  {len(archs)} validation networks, {measured.min():.3g} to {measured.max():.3g} "
            f"ms; repeatability mean {found['repeatability_mean']:.2%}, largest "
            f"{found['repeatability_max']:.2%}"
        )
        print(stated_line("table, calibrated on 16 networks", found))
        print(stated_line("line through MACs, same 16", found["macs_line"]))
        print(stated_line("line through operation count, same 16", found["op_count_line"]))
        print(error_line("rows timed in loops of their own, summed", summed, measured))
        again = time_networks(space, archs, target, 8, cache=cache).ms
        predicted = LutPredictor(space, table).predict_ms(space.encode(archs))
        print(error_line("table, against a later session", predicted, again))
        print(error_line("first session against the later one", measured, again))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtimes", default="onnxruntime,litert")
    parser.add_argument("--validate", type=int, default=64)
    options = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, fp32, one thread, space "
        "proxyless at 224 px"
    )
    for runtime in options.runtimes.split(","):
        measure(runtime, options.validate)


if __name__ == "__main__":
    main()
