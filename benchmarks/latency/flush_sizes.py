"""How much other data must pass through the caches for rows to sum to networks' latencies.

An operation timed in a loop of its own finds its weights in the caches; in a network those of all
others have passed since its last run. A device file's `flush_mb` reads so much other data before
each run of an operation, and its inputs after that, as the operation before has just written them.
On this machine: the operations of calibration networks with each of --mb, and the networks
themselves, visited in one random order a round, of one load each; then each network's plain sum of
rows against its own latency. What a sum misses by a factor a calibration mends: the spread is what
is left.
Usage: python benchmarks/latency/flush_sizes.py
       [--space ofa-mbv3] [--resolution 160] [--mb 0 4 8 16 32]
"""

from __future__ import annotations

import argparse
import platform

import numpy as np

from hwnas.device.device import load_device
from hwnas.device.measurement import summarise
from hwnas.device.runner import make_target, open_runner
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.profile.networks import calibration_networks, macs_terms
from hwnas.latency.profile.plan import conversion_of, network_conversion
from hwnas.latency.table.scope import scope_terms
from hwnas.rng import stream
from hwnas.space.catalogue import load_space


def main() -> None:
    """Measure, and print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--space", default="ofa-mbv3")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--mb", type=float, nargs="+", default=[0, 4, 8, 16, 32])
    parser.add_argument("--networks", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    space = load_space(options.space)
    scope = {} if options.resolution is None else {"resolution": options.resolution}
    target = make_target(load_device("host"), options.runtime, options.precision)
    protocol = target.device.protocol
    archs = calibration_networks(
        space, [*macs_terms(space), *scope_terms(space, scope)], options.networks, seed=options.seed
    )
    ops = list(dict.fromkeys(op for arch in archs for op in space.layers(arch)))
    conversions = {op.key: conversion_of((op,), target) for op in ops}
    conversions |= {arch.arch_id: network_conversion(space, arch, target) for arch in archs}
    paths = ConversionCache().fill(list(conversions.values()))
    names, nets = [op.key for op in ops], [arch.arch_id for arch in archs]
    rows: dict[float, dict[str, list[list[float]]]] = {
        mb: {name: [] for name in names} for mb in options.mb
    }
    whole: dict[str, list[list[float]]] = {name: [] for name in nets}
    with open_runner(target) as runner:
        for name, conversion in conversions.items():
            runner.load(name, paths[conversion])
        visits = [(name, mb, rows[mb]) for name in names for mb in options.mb]
        visits += [(name, 0.0, whole) for name in nets]
        for number in range(options.rounds):
            for place in stream(options.seed, "flush", number).permutation(len(visits)):
                name, mb, found = visits[place]
                found[name].append(
                    runner.time_ms(
                        name, min_runs=protocol.min_runs, min_ms=protocol.min_visit_ms, flush_mb=mb
                    )
                )
    measured = np.array([summarise(whole[name]).latency_ms for name in nets])
    print(
        f"{platform.processor() or platform.machine()}, {target.label}, {options.space} {scope}, "
        f"{len(ops)} operations, {len(nets)} networks of {measured.min():.1f} to "
        f"{measured.max():.1f} ms, {options.rounds} rounds; sums of rows against the networks:"
    )
    for mb, of_size in rows.items():
        ms = {name: summarise(runs).latency_ms for name, runs in of_size.items()}
        error = np.array([sum(ms[op.key] for op in space.layers(arch)) for arch in archs])
        error = error / measured - 1
        print(
            f"  flush_mb {mb:5g}: bias {error.mean():+7.2%}  spread {error.std():6.2%}  within "
            f"5 % {np.mean(np.abs(error) <= 0.05):6.1%}  within 10 % "
            f"{np.mean(np.abs(error) <= 0.1):6.1%}"
        )


if __name__ == "__main__":
    main()
