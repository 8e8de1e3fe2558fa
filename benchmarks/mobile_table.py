"""Whole networks of space `mobile` predicted from at most 400 measured parts of its blocks.

On this machine: parts chosen over all the space's shapes, random networks and the seven published
ones are timed together in interleaved rounds; a Gaussian process a class of parts and a
calibration of four coefficients on some of the random networks predict the others. Printed: the
space's numbers of operations and parts, the cross-validated error of each class, and of the
predictions of networks that no fit has seen the mean error, the share within 5 %, Kendall's tau;
beside them a line through MACs fitted on the same networks, and the measurement's own
repeatability (two halves of rounds). Networks faster than all of the calibration's are
extrapolated.
Usage: python benchmarks/mobile_table.py [--runtime onnxruntime] [--parts 400] [--rounds 12]
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence

import numpy as np

from hwnas.arch import Arch
from hwnas.export.cache import ConversionCache
from hwnas.interfaces import SearchSpace
from hwnas.latency.accuracy import errors
from hwnas.latency.check import interleaved
from hwnas.latency.composition import relative_fit
from hwnas.latency.device import load_device
from hwnas.latency.measurement import summarise
from hwnas.latency.parts import by_class, choose, fit_parts, split
from hwnas.latency.parts_predictor import fit_parts_predictor
from hwnas.latency.profiler import conversion_of
from hwnas.latency.runner import Target, make_target, open_runner
from hwnas.ops import OpSpec
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops
from hwnas.space.known_archs import known_archs

Runs = dict[str, list[list[float]]]


def random_archs(space: SearchSpace, count: int, seed: int) -> list[Arch]:
    """Return random options, repaired."""
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(seed, "mobile table").integers(sizes, size=(count, len(sizes)))
    return space.decode(space.repair(codes.astype(np.int16)))


def measure(chains: Sequence[Sequence[OpSpec]], target: Target, rounds: int) -> Runs:
    """Time chains of operations together in interleaved rounds; runs by position, as text."""
    cache = ConversionCache()
    conversions = [conversion_of(chain, target) for chain in chains]
    paths = cache.fill(conversions)
    with open_runner(target) as runner:
        for name, conversion in enumerate(conversions):
            runner.load(str(name), paths[conversion])
        names = [str(name) for name in range(len(chains))]
        return interleaved(runner, names, rounds, target.device.protocol, stage="mobile")


def ms(runs: Runs, first: int, count: int, half: slice = slice(None)) -> np.ndarray:
    """Return latencies of ``count`` chains from ``first`` on, of these rounds."""
    return np.array([summarise(runs[str(name)][half]).latency_ms
                     for name in range(first, first + count)])


def line(name: str, predicted: np.ndarray, measured: np.ndarray) -> str:
    """Return one predictor's errors as text."""
    found = errors(predicted, measured)
    return (f"{name:34s} mean {found['mean_abs_rel_error']:6.2%}  largest "
            f"{found['max_abs_rel_error']:6.2%}  within 5 % {found['within_5_percent']:6.1%}  "
            f"Kendall {found['kendall_tau']:.3f}")


def main() -> None:
    """Measure, fit, and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--parts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--calibrate", type=int, default=16)
    parser.add_argument("--validate", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    space = load_space("mobile")
    target = make_target(load_device("host"), options.runtime)
    ops = distinct_ops(space)
    every = list(dict.fromkeys(part for op in ops for part in split(op)))
    parts = choose(every, options.parts)
    known = known_archs(space)
    archs = [*random_archs(space, options.calibrate + options.validate, options.seed),
             *known.values()]
    print(f"{platform.processor() or platform.machine()}, {target.label}, "
          f"{options.rounds} rounds")
    print(f"{len(ops)} operations, {len(every)} distinct parts, {len(parts)} measured")
    start = time.perf_counter()
    runs = measure([*((part,) for part in parts), *map(space.layers, archs)], target,
                   options.rounds)
    print(f"conversion and timing: {time.perf_counter() - start:.0f} s")
    model = fit_parts(dict(zip(parts, ms(runs, 0, len(parts)).tolist(), strict=True)))
    sizes = {name: len(found) for name, found in by_class(parts).items()}
    print("cross-validated error: " + ", ".join(
        f"{name} {error:.1%} of {sizes[name]}" for name, error in model.cv_errors.items()))
    measured = ms(runs, len(parts), len(archs))
    seen = options.calibrate
    predictor = fit_parts_predictor(space, model, archs[:seen], measured[:seen])
    predicted = predictor.predict_ms(space.encode(archs))
    macs = np.array([[sum(op.macs for op in space.layers(arch)), 1.0] for arch in archs])
    by_macs = macs @ relative_fit(macs[:seen], measured[:seen])
    odd, even = (ms(runs, len(parts), len(archs), slice(i, None, 2)) for i in range(2))
    for name, rows in (("random networks, not seen", slice(seen, -len(known))),
                       ("published networks", slice(-len(known), None))):
        print(f"{name}: {measured[rows].min():.1f} to {measured[rows].max():.1f} ms")
        print(line("  parts", predicted[rows], measured[rows]))
        print(line("  line through MACs", by_macs[rows], measured[rows]))
        print(line("  repeated measurement", odd[rows], even[rows]))
    for name, truth, guess in zip(known, measured[-len(known):], predicted[-len(known):],
                                  strict=True):
        print(f"    {name:28s} measured {truth:6.2f} ms, predicted {guess:6.2f} ms")


if __name__ == "__main__":
    main()
