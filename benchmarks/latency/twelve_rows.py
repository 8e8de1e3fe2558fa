"""Latency predictions a search can trust, judged later, on what searches return: twelve rows.

{onnxruntime, litert} x {fp32, int8} x {proxyless, ofa-mbv3 at 160 px, ofa-mbv3 at 224 px} on this
host. The stages are processes of their own and resume; a folder holds what they make:

    python benchmarks/latency/twelve_rows.py STAGE [--folder FOLDER]

- ``convert``: networks known beforehand.
- ``profile``: tables and calibration, 16 networks a row, from a conversion cache that begins empty.
- ``winners``: search under each table, convert the winners.
- ``validate``, 30 minutes later: measure all of them.
- ``budget_compliance``: 20 searches a row with confidence 0.95, with tables corrected just before
  as ``lut check --anchors 16 --update`` does, with ``--spread``; the winners are benched with it.
- ``table``: everything, with peers and baselines.

64 networks are uniform over the range of latencies that one quick round of ONNX Runtime's fp32
operations predicts (all rows of a space use these networks); 30 are winners: the exact optimum
under the row's table, at budgets spread over its range, of a made-up accuracy
(``networks.utility_terms``: random, additive, unlike MACs and latency), another for each. Three
anchors, calibration networks, are timed again, COPIES of each, and the drift between the
sessions is removed. A host's speed wanders within a minute, so that the checks and benches of
``budget_compliance`` go on for ``--spread`` seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from twelve_rows_table import drift_of, print_budget_compliance, print_table

from hwnas.additive.graph import Term
from hwnas.arch import Arch
from hwnas.device.device import load_device
from hwnas.device.measurement import disturbance, halves_of_rounds, summarise
from hwnas.device.rounds import SampleLog, record_in_rounds, time_in_rounds
from hwnas.device.runner import Target, make_target, open_runner
from hwnas.export.convert.cache import Conversion, ConversionCache
from hwnas.io.journal import write_json
from hwnas.latency.drift.check import arch_of, check_table
from hwnas.latency.drift.conformal import (
    ValidationSchema,
    append_validation,
    conformal_margin,
    read_validation,
)
from hwnas.latency.drift.recalibrate import recalibrated
from hwnas.latency.lut.op_groups import terms_of
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.networks import (
    calibration_networks,
    macs_terms,
    spread_networks,
    utility_terms,
    winner_networks,
)
from hwnas.latency.profile.plan import ProfilePlan, conversion_of, network_conversion, op_id
from hwnas.latency.profile.profiler import profile
from hwnas.latency.table.files import load_table
from hwnas.latency.table.scope import scope_terms
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.space.catalogue import load_space

SETTINGS: Mapping[str, tuple[str, dict[str, int]]] = {
    "proxyless": ("proxyless", {}),
    "ofa-mbv3-160": ("ofa-mbv3", {"resolution": 160}),
    "ofa-mbv3-224": ("ofa-mbv3", {"resolution": 224}),
}
CALIBRATE, ANCHORS, MIN_MINUTES, CONFIDENCE = 16, 3, 30, 0.95
STEPS = 60  # budgets tried to find a frontier
COPIES = 4  # of an anchor, loaded side by side: the drift hangs on three of them


@dataclass(frozen=True)
class Row:
    """One row of the table, with the files it has in the folder."""

    runtime: str
    precision: str
    setting: str
    options: argparse.Namespace

    def __str__(self) -> str:
        return f"{self.runtime}-{self.precision}-{self.setting}"

    def file(self, ending: str) -> Path:
        """Return a file of this row."""
        return Path(self.options.folder) / f"{self}{ending}"

    @property
    def budget_compliance_file(self) -> Path:
        """What ``budget_compliance`` writes, by how budgets are spread."""
        return self.file(
            {"range": ".budget_compliance.json", "frontier": ".budget_compliance-frontier.json"}[
                self.options.budgets
            ]
        )

    @property
    def networks_file(self) -> Path:
        """The networks fixed beforehand, alike for all rows of a space."""
        return Path(self.options.folder) / f"networks-{self.setting}.json"

    @cached_property
    def space(self) -> SearchSpace:
        """The whole space; the plan's scope narrows it."""
        return load_space(SETTINGS[self.setting][0])

    @property
    def target(self) -> Target:
        """This host."""
        return make_target(load_device("host"), self.runtime, self.precision)

    @property
    def plan(self) -> ProfilePlan:
        """What is profiled."""
        return ProfilePlan(
            self.space, self.target, CALIBRATE, 0, self.options.seed, SETTINGS[self.setting][1]
        )

    def within(self, terms: Sequence[Term]) -> list[Term]:
        """Return terms with the scope's."""
        return [*terms, *scope_terms(self.space, self.plan.scope)]

    @cached_property
    def table(self) -> LatencyTable:
        """The row's table; FileNotFoundError before ``profile``."""
        return load_table(self.file(".json"))

    @cached_property
    def predictor(self) -> LutPredictor:
        """Predicts by the table."""
        return LutPredictor(self.space, self.table)

    def conversion(self, arch: Arch) -> Conversion:
        """Return the model of a network."""
        return network_conversion(self.space, arch, self.target)

    def archs(self, name: str) -> list[Arch]:
        """Return a list of networks that an earlier stage wrote."""
        fixed = name in ("calibrate", "validate")
        path = self.networks_file if fixed else self.file(f".{name}.json")
        listed = json.loads(path.read_text())[name]
        return [Arch.make(arch["space"], arch["choices"]) for arch in listed]


def converted(row: Row, archs: Sequence[Arch], cache: ConversionCache) -> dict[str, Path]:
    """Return the model files of networks by arch_id, converting what is missing."""
    wanted = {arch.arch_id: row.conversion(arch) for arch in archs}
    start = time.perf_counter()
    paths = cache.fill(list(wanted.values()), workers=row.options.workers)
    took = time.perf_counter() - start
    if took > 5:
        print(f"  {row}: {len(wanted)} networks converted or found in {took:.0f} s", flush=True)
    return {name: paths[conversion] for name, conversion in wanted.items()}


def pilot_ms(row: Row, cache: ConversionCache) -> dict[OpSpec, float]:
    """Return rough latencies of operations in ms: the faster of two quick ONNX Runtime rounds."""
    ops, target = row.plan.ops, make_target(load_device("host"), "onnxruntime")
    paths = cache.fill([conversion_of((op,), target) for op in ops])
    with open_runner(target) as runner:
        for op in ops:
            runner.load(op_id(op), paths[conversion_of((op,), target)])
        rounds = [
            [np.median(runner.time_ms(op_id(op), min_runs=2, min_ms=2)) for op in ops]
            for _ in range(2)
        ]
    return dict(zip(ops, np.min(rounds, axis=0).tolist(), strict=True))


def fix_networks(row: Row, cache: ConversionCache) -> None:
    """Choose the networks that need no table: those to calibrate on and the uniform ones."""
    if row.networks_file.exists():
        return
    calibrate = calibration_networks(
        row.space, row.within(macs_terms(row.space)), CALIBRATE, seed=row.options.seed
    )
    pilot = pilot_ms(row, cache)
    terms = terms_of(row.space.factors(), lambda op: pilot.get(op, 0.0))
    uniform = spread_networks(
        row.space,
        row.within(terms),
        row.options.validate,
        seed=row.options.seed,
        purpose="benchmark",
        avoid=calibrate,
    )
    # every other first: a run that is cut short has networks over the whole range
    uniform = [*uniform[::2], *uniform[1::2]]
    write_json(
        row.networks_file,
        {"calibrate": [a.to_json() for a in calibrate], "validate": [a.to_json() for a in uniform]},
    )


def convert(rows: Sequence[Row], cache: ConversionCache) -> None:
    """Convert the uniform networks, which need no table; int8 files are made of fp32 ones."""
    for row in sorted(rows, key=lambda row: row.precision):
        fix_networks(row, cache)
        converted(row, row.archs("validate")[: row.options.validate], cache)


def profile_rows(rows: Sequence[Row], cache: ConversionCache) -> None:
    """Measure each row's table and calibration; conversions come from a cache of their own."""
    own = ConversionCache(Path(rows[0].options.folder) / "profile-cache")
    for row in rows:
        start, made = time.perf_counter(), dict(own.made)
        if row.file(".json").exists():
            print(f"{row}: {row.file('.json')} is there")
            continue
        profile(row.plan, row.file(".json"), resume=True, cache=own)
        c, wall_s = row.table.calibration[row.space.name], time.perf_counter() - start
        new = {precision: count - made[precision] for precision, count in own.made.items()}
        write_json(row.file(".profile.json"), {"wall_s": round(wall_s, 1), "converted": new})
        print(
            f"{row}: {len(row.table.entries)} operations, {wall_s:.0f} s, {new} converted, "
            f"form {c.form}, mean error on its own networks {c.mean_abs_rel_error:.2%}; left "
            + ", ".join(f"{n} {e.rms_rel_error:.2%}" for n, e in c.left_out.items()),
            flush=True,
        )


def winners(rows: Sequence[Row], cache: ConversionCache) -> None:
    """Search under each row's table and convert what is found."""
    for row in rows:
        path = row.file(".winners.json")
        if not path.exists():
            known = [*calibrated_on(row), *row.archs("validate")]
            found = winner_networks(
                row.space,
                row.predictor.factor_ms(),
                row.options.winners,
                seed=row.options.seed,
                purpose="benchmark",
                avoid=known,
            )
            found = [*found[::2], *found[1::2]]
            write_json(path, {"winners": [arch.to_json() for arch in found]})
        converted(row, row.archs("winners")[: row.options.winners], cache)


def calibrated_on(row: Row) -> list[Arch]:
    """Return the networks that the row's table was calibrated on."""
    return [arch_of(n) for n in row.table.networks if n.role == "calibrate"]


def anchors_of(row: Row) -> list[Arch]:
    """Return ANCHORS of the sentinels: the fastest, the slowest and the middle one."""
    sentinels = sorted(
        (n for n in row.table.networks if n.is_sentinel), key=lambda n: n.measurement.latency_ms
    )
    places = np.linspace(0, len(sentinels) - 1, ANCHORS).round().astype(int)
    return [arch_of(sentinels[place]) for place in places]


def measured(
    row: Row, archs: Sequence[Arch], anchors: Sequence[Arch], ending: str, cache: ConversionCache
) -> dict[str, Any]:
    """Measure networks in interleaved rounds; return latency, repeatability and halves by id."""
    paths = converted(row, [*archs, *anchors], cache)
    protocol = row.target.device.protocol
    copies = {anchor.arch_id: COPIES for anchor in anchors}
    header = {"row": str(row), "protocol": protocol.model_dump()}
    log = SampleLog(row.file(f".{ending}.samples.jsonl"), header)
    try:
        with open_runner(row.target) as runner:
            record_in_rounds(
                runner,
                paths,
                range(protocol.rounds),
                protocol,
                log,
                seed=row.options.seed,
                stage=ending,
                replicas=copies,
            )
        found = {}
        for name in paths:
            count = copies.get(name, 1)
            m = log.measurement(name, protocol, count)
            medians = [float(np.median(runs)) for runs in log.repetitions(name, protocol, count)]
            found[name] = {
                "latency_ms": m.latency_ms,
                "repeatability": m.repeatability,
                "halves_ms": halves_of_rounds(medians, count * protocol.reloads),
            }
    finally:
        log.close()
    return found


def validate(rows: Sequence[Row], cache: ConversionCache) -> None:
    """Measure anchors, uniform networks and winners, long after the table."""
    for row in rows:
        path = row.file(".later.json")
        if path.exists():
            keep_validation(row)  # a run stopped just before it would have
            continue
        minutes = (
            datetime.now(timezone.utc) - datetime.fromisoformat(row.table.header.date)
        ).total_seconds() / 60
        if minutes < row.options.after:
            print(f"{row}: profiled {minutes:.0f} min ago, wait for {row.options.after}")
            continue
        anchors, uniform = anchors_of(row), row.archs("validate")[: row.options.validate]
        found = row.archs("winners")[: row.options.winners]
        start = time.perf_counter()
        times = measured(row, [*uniform, *found], anchors, "later", cache)
        write_json(
            path,
            {
                "minutes_after": round(minutes, 1),
                "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "anchors": [a.arch_id for a in anchors],
                "validate": [a.arch_id for a in uniform],
                "winners": [a.arch_id for a in found],
                "measured": times,
            },
        )
        keep_validation(row)
        print(
            f"{row}: {len(times)} networks in {time.perf_counter() - start:.0f} s, "
            f"{minutes:.0f} min after the table",
            flush=True,
        )


def keep_validation(row: Row) -> None:
    """Keep the measured winners for the guard, predicted as of that session by its anchors."""
    later = json.loads(row.file(".later.json").read_text())
    if "date" not in later:
        return  # of an earlier form of this file, which kept them itself
    times = later["measured"]
    drift = drift_of(row.table, later["anchors"], times)
    known = {arch.arch_id: arch for arch in row.archs("winners")}
    append_validation(
        row.file(".json"),
        [
            ValidationSchema(
                space=row.space.name,
                arch=known[name].to_json(),
                run="latency_accuracy",
                predicted_ms=float(
                    drift.correct(np.array([row.predictor.predict_arch_ms(known[name])]))[0]
                ),
                measured_ms=times[name]["latency_ms"],
                date=later["date"],
            )
            for name in later["winners"]
        ],
    )


def guarded_winners(
    row: Row, count: int, today: LutPredictor, headroom: float
) -> Iterator[tuple[Arch, float]]:
    """Yield each search's winner and its budget in ms, searched below the guarded budget.

    Budgets are spread evenly over latencies, or with ``--budgets frontier`` over the networks that
    are the best of all at some budget (STEPS are tried), and between two of them: where one slow
    operation gains little, a third of the range may have a single best network.
    """
    for number in range(count):
        score = tuple(utility_terms(row.space, row.options.seed, "budget_compliance", number))

        def within(maximum: float, score: tuple[Term, ...] = score) -> LimitedSpace:
            return LimitedSpace(
                row.space, (Limit("latency_ms", maximum, "t"),), {"t": today}, score
            )

        low = within(float("inf")).extremes()[0]
        # beyond the latency of the best of all no budget is used up
        high = today.predict_arch_ms(within(float("inf")).best(1)[0][0])
        share = 0.1 + 0.8 * number / max(count - 1, 1)
        budget_ms = low + (high - low) * share
        if row.options.budgets == "frontier":
            tried = np.linspace(low, high * (1 + 1e-9), STEPS)
            best = sorted({today.predict_arch_ms(within(ms).best(1)[0][0]) for ms in tried[1:]})
            budget_ms = float(np.interp(share * (len(best) - 1), range(len(best)), best))
        yield within(budget_ms * (1 - headroom)).best(1)[0][0], budget_ms


def budget_compliance(rows: Sequence[Row], cache: ConversionCache) -> None:
    """Bring each table to today, search with the guard, measure the winners against the budgets."""
    for row in rows:
        path = row.budget_compliance_file
        if path.exists():
            continue
        converted(row, calibrated_on(row), cache)
        with open_runner(row.target) as runner:
            check = check_table(
                row.table,
                row.space,
                row.target,
                runner,
                num_anchors=CALIBRATE,
                spread_s=row.options.spread,
                cache=cache,
            )
        today = LutPredictor(
            row.space, recalibrated(row.table, row.space, check.model, check.now, "today")
        )
        guard = conformal_margin(
            row.space, row.table, row.predictor, read_validation(row.file(".json")), CONFIDENCE
        )
        assert guard is not None
        print(f"  {row}: drift {check.model}; {guard}", flush=True)
        found = list(guarded_winners(row, row.options.searches, today, guard.headroom))
        anchors = anchors_of(row)
        archs = list(
            {arch.arch_id: arch for arch in [*(arch for arch, _ in found), *anchors]}.values()
        )
        paths = converted(row, archs, cache)
        protocol = row.target.device.protocol.over(row.options.spread)
        with open_runner(row.target) as runner:
            runs = time_in_rounds(
                runner, paths, protocol.rounds, protocol, stage="budget_compliance"
            )
        timed = {name: summarise(of, protocol.reloads) for name, of in runs.items()}
        ms = {name: measurement.latency_ms for name, measurement in timed.items()}
        # what the host did between the check and now, by the same three networks
        moved = float(np.median([ms[a.arch_id] / check.now[a.arch_id].latency_ms for a in anchors]))
        write_json(
            path,
            {
                "drift": check.model.to_json(),
                "guard": guard.to_json(),
                "moved": round(moved, 5),
                "disturbed": {
                    "check": check.disturbance,
                    "bench": disturbance(list(timed.values())),
                },
                "searches": [
                    {
                        "arch_id": arch.arch_id,
                        "budget_ms": budget_ms,
                        "predicted_ms": today.predict_arch_ms(arch),
                        "measured_ms": ms[arch.arch_id],
                    }
                    for arch, budget_ms in found
                ],
            },
        )
    print_budget_compliance(rows)


STAGES = {
    "convert": convert,
    "profile": profile_rows,
    "winners": winners,
    "validate": validate,
    "budget_compliance": budget_compliance,
}


def main() -> None:
    """Carry out one stage for the rows asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=[*STAGES, "table"])
    parser.add_argument("--folder", default="latency-accuracy")
    parser.add_argument("--rows", default="", help="those with one of these parts in their name")
    parser.add_argument("--validate", type=int, default=64)
    parser.add_argument("--winners", type=int, default=30)
    parser.add_argument("--searches", type=int, default=20)
    parser.add_argument("--after", type=float, default=MIN_MINUTES, help="minutes to wait")
    parser.add_argument(
        "--spread",
        type=float,
        default=180.0,
        help="seconds that the checks and benches of budget_compliance go on for",
    )
    parser.add_argument(
        "--budgets",
        choices=("range", "frontier"),
        default="range",
        help="what budget_compliance's budgets are spread evenly over",
    )
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    every = [
        Row(runtime, precision, setting, options)
        for runtime in ("onnxruntime", "litert")
        for precision in ("fp32", "int8")
        for setting in SETTINGS
    ]
    parts = options.rows.split(",")
    rows = [row for row in every if any(part in str(row) for part in parts)]
    if options.stage == "table":
        print_table(rows, Path(options.folder) / "table.json")
    else:
        STAGES[options.stage](rows, ConversionCache(Path(options.folder) / "cache"))


if __name__ == "__main__":
    main()
