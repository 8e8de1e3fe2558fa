"""Rows that were never measured, predicted: one width of Once-for-All's space from another's.

On this machine: the operations of `ofa-mbv3` (width 1.0) at some resolutions, and at most --likes
operations of other widths that the method chooses (half spread, half where it errs most after
three pilot rounds), train the models of `--predictor kernel`. Judged are the operations of
`ofa-mbv3:width_mult=1.2` at other resolutions, of which none was trained on, and whole networks of
that width as plain sums of predicted rows. Everything is timed in the same interleaved rounds.

Peers on the same rows: the row of nearest multiply-accumulates, scaled by them; a random forest
with the features and settings that nn-Meter publishes for convolutions on CPUs; the sum of costs
alone; and the limit, one half of the rounds against the other. nn-Meter's own figures, with 2,000
to 10,000 rows a kernel: 99.0 % of whole models within 10 % on a Cortex-A76; its convolutions 71.8 %
within 10 % with adaptive sampling, 21.9 % without (Zhang et al., MobiSys 2021).
Usage: python benchmarks/latency/kernel_predictor.py [--judge 176 208] [--train 128 160 192 224]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from hwnas.device.device import load_device
from hwnas.device.measurement import summarise
from hwnas.device.rounds import time_in_rounds
from hwnas.device.runner import make_target, open_runner
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.op_predictor.costs import costs
from hwnas.latency.op_predictor.predictor import by_kind, fit_costs, fit_op_model
from hwnas.latency.op_predictor.selection import perturbed_widths, spread_ops, worst_ops
from hwnas.latency.profile.plan import conversion_of
from hwnas.latency.table.scope import ops_in_scope
from hwnas.ops import OpSpec
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops

PILOT_ROUNDS = 3
CANDIDATES = 20  # for each operation that is chosen
Runs = dict[str, list[list[float]]]


def forest(known: dict[OpSpec, float], ops: Sequence[OpSpec]) -> np.ndarray:
    """Return ms by nn-Meter's forest for convolutions on CPUs, on blocks instead of kernels."""

    def x(some: Sequence[OpSpec]) -> np.ndarray:
        return np.array(
            [
                [
                    op.in_shape[1],
                    op.in_shape[0],
                    op.out_channels,
                    dict(op.attrs).get("kernel", 1),
                    dict(op.attrs).get("stride", 1),
                    dict(op.attrs).get("hidden", 0),
                    dict(op.attrs).get("se_width", 0),
                    op.macs / 1e6,
                    op.params / 1e6,
                ]
                for op in some
            ]
        )

    found = np.zeros(len(ops))
    for kind, rows in by_kind(list(known)).items():
        places = [place for place, op in enumerate(ops) if op.kind == kind]
        if places:
            model = RandomForestRegressor(320, max_depth=70, max_features=6, random_state=10)
            model.fit(x(rows), [known[op] for op in rows])
            found[places] = model.predict(x([ops[place] for place in places]))
    return found


def nearest(known: dict[OpSpec, float], op: OpSpec) -> float:
    """Return the time of the row of the kind with the nearest MACs, scaled by them."""
    rows = [row for row in known if row.kind == op.kind]
    row = min(rows, key=lambda one: abs(np.log(one.macs / op.macs)))
    return known[row] * op.macs / row.macs


def alone(known: dict[OpSpec, float], op: OpSpec) -> float:
    """Return the time by the sum of costs alone."""
    rows = [row for row in known if row.kind == op.kind]
    model = fit_costs([costs(row) for row in rows], np.array([known[row] for row in rows]))
    return float(model.predict_ms([costs(op)])[0])


def line(name: str, predicted: np.ndarray, measured: np.ndarray) -> str:
    """Return one predictor's errors as text."""
    error = np.abs(predicted / measured - 1)
    return (
        f"  {name:34s} mean {error.mean():6.2%}  largest {error.max():7.2%}  within 5 % "
        f"{np.mean(error <= 0.05):6.1%}  within 10 % {np.mean(error <= 0.1):6.1%}  bias "
        f"{np.mean(predicted / measured - 1):+.2%}"
    )


def main() -> None:
    """Measure, choose, fit, and print what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--train", type=int, nargs="+", default=[128, 160, 192, 224])
    parser.add_argument("--judge", type=int, nargs="+", default=[176, 208])
    parser.add_argument("--likes", type=int, default=200)
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument(
        "--flush-mb",
        type=float,
        default=0.0,
        help="other data that pass through the caches before an operation runs",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Where to write the rows, as JSON.")
    options = parser.parse_args()
    one, wide = load_space("ofa-mbv3"), load_space("ofa-mbv3:width_mult=1.2")
    table = list(
        dict.fromkeys(
            op for size in options.train for op in ops_in_scope(one, {"resolution": size})
        )
    )
    judged = list(
        dict.fromkeys(
            op for size in options.judge for op in ops_in_scope(wide, {"resolution": size})
        )
    )
    never = distinct_ops(wide)
    target = make_target(load_device("host"), options.runtime)
    protocol = target.device.protocol.model_copy(
        update={"flush_mb": options.flush_mb, "reloads": 1, "spread_s": 0.0}
    )
    candidates = perturbed_widths(table, CANDIDATES * options.likes, seed=options.seed, avoid=never)
    first = spread_ops(candidates, options.likes // 2)
    nets = networks(wide, options.judge, options.networks, options.seed)
    cache = ConversionCache()
    start = time.perf_counter()
    with open_runner(target) as runner:

        def files(chains: dict[str, Sequence[OpSpec]]) -> dict[str, Path]:
            conversions = {name: conversion_of(chain, target) for name, chain in chains.items()}
            paths = cache.fill(list(conversions.values()))
            return {name: paths[conversion] for name, conversion in conversions.items()}

        pilot_files = files({op.key: (op,) for op in [*table, *first]})
        pilot = time_in_rounds(
            runner,
            pilot_files,
            PILOT_ROUNDS,
            protocol,
            stage="kernel pilot",
            flushed={op.key for op in [*table, *first]},
        )
        rough = fit_op_model(
            {
                op: float(np.median([np.median(runs) for runs in pilot[op.key]]))
                for op in [*table, *first]
            }
        )
        left = [op for op in candidates if op not in set(first)]
        second = worst_ops(left, options.likes - len(first), rough)
        known_ops = [*table, *first, *second]
        assert not set(known_ops) & set(never)
        others = files(
            {op.key: (op,) for op in [*second, *judged]}
            | {str(place): wide.layers(arch) for place, arch in enumerate(nets)}
        )
        runs: Runs = time_in_rounds(
            runner,
            pilot_files | others,
            options.rounds,
            protocol,
            stage="kernel",
            flushed={op.key for op in [*known_ops, *judged]},
        )
    wall_s = time.perf_counter() - start
    ms = {name: summarise(found).latency_ms for name, found in runs.items()}
    halves = [
        {name: summarise(found[half::2]).latency_ms for name, found in runs.items()}
        for half in (0, 1)
    ]
    if options.keep:
        options.keep.write_text(
            json.dumps(
                {
                    "flush_mb": options.flush_mb,
                    "rows": {op.key: ms[op.key] for op in [*known_ops, *judged]},
                    "networks": [[arch.to_json(), ms[str(n)]] for n, arch in enumerate(nets)],
                }
            )
        )
    print(
        f"{platform.processor() or platform.machine()}, {target.label}, {options.rounds} rounds, "
        f"flush_mb {options.flush_mb:g}"
    )
    print(
        f"{len(table)} rows of width 1.0 at {options.train}, {len(first)} + {len(second)} "
        f"operations chosen; {len(judged)} judged, of width 1.2 at {options.judge}; "
        f"{wall_s:.0f} s"
    )
    known = {op: ms[op.key] for op in known_ops}
    start = time.perf_counter()
    model = fit_op_model(known)
    print(
        f"fitted in {time.perf_counter() - start:.1f} s; cross-validated mean errors:",
        ", ".join(
            f"{kind} {one_kind.cv_errors.mean():.1%} on channels never seen, "
            f"{one_kind.shape_errors.mean():.1%} on shapes"
            for kind, one_kind in model.kinds.items()
        ),
    )
    predicted = model.predict_ms(judged)
    truth = np.array([ms[op.key] for op in judged])
    print("operations never measured:")
    print(line("--predictor kernel", np.array([predicted[op] for op in judged]), truth))
    for kind, some in by_kind(judged).items():
        print(
            line(
                f"  of these {len(some)} {kind}",
                np.array([predicted[op] for op in some]),
                np.array([ms[op.key] for op in some]),
            )
        )
    print(line("random forest as nn-Meter's", forest(known, judged), truth))
    print(line("costs alone", np.array([alone(known, op) for op in judged]), truth))
    print(
        line("nearest row, scaled by MACs", np.array([nearest(known, op) for op in judged]), truth)
    )
    print(
        line(
            "repeated measurement (halves)",
            np.array([halves[0][op.key] for op in judged]),
            np.array([halves[1][op.key] for op in judged]),
        )
    )
    whole = np.array([ms[str(number)] for number in range(len(nets))])
    sums, rows = (
        np.array([sum(value[op] for op in wide.layers(arch)) for arch in nets])
        for value in (predicted, {op: ms[op.key] for op in judged})
    )
    print(f"{len(nets)} whole networks, {whole.min():.1f} to {whole.max():.1f} ms:")
    print(line("sum of predicted rows", sums, whole))
    print(line("sum of measured rows", rows, whole))
    print(line("predicted against measured sums", sums, rows))
    print(
        line(
            "repeated measurement (halves)",
            *(np.array([half[str(n)] for n in range(len(nets))]) for half in halves),
        )
    )


def networks(space, sizes, count, seed):  # type: ignore[no-untyped-def]
    """Return random architectures of these resolutions."""
    rng = stream(seed, "kernel networks")
    place = [choice.name for choice in space.choices].index("resolution")
    options = space.choices[place].options
    codes = rng.integers(
        [len(c.options) for c in space.choices], size=(count, len(space.choices))
    ).astype(np.int16)
    codes[:, place] = [options.index(size) for size in rng.choice(sizes, size=count)]
    return space.decode(space.repair(codes))


if __name__ == "__main__":
    main()
