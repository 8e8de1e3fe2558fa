"""What ``twelve_rows.py`` found: figures of each row, and peers' published ones beside."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from hwnas.arch import Arch
from hwnas.io.journal import write_json
from hwnas.latency.drift.check import arch_of
from hwnas.latency.drift.model import Anchor, Drift, fit_drift
from hwnas.latency.lut.accuracy import errors, line_errors
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace

Floats = NDArray[np.float64]

PEERS = """\
Published by others, on networks and devices of their own (not comparable row by row):
  nn-Meter (MobiSys 2021, its README), networks of 12 families within 10 %: Pixel 4 CPU 99.0 %,
    Adreno 640 GPU 99.1 %, Adreno 630 GPU 99.0 %, Movidius VPU 83.4 %; unseen families 89.2 %
  nn-Meter on the CPU, by family (docs/imgs/predict_performance.png), within 5 % / 10 %:
    MobileNetV2 67.6 / 97.7, MobileNetV3 73.8 / 99.0, ProxylessNAS 84.6 / 100 %
  LitePred (its README), within 5 % / 10 %, samples measured: Xiaomi 11 CPU 90.5 / 98.9 % (1,400),
    Pixel 6 CPU 79.4 / 100 % (3,500), Xiaomi 12 int8 95.7 / 100 % (3,100)"""


class BenchRow(Protocol):
    """What is read of a row of the benchmark."""

    def file(self, ending: str) -> Path:
        """Return a file of the row."""

    def archs(self, name: str) -> list[Arch]:
        """Return networks by their role."""

    @property
    def budget_compliance_file(self) -> Path:
        """What the stage ``budget_compliance`` wrote."""

    @property
    def space(self) -> SearchSpace:
        """The space."""

    @property
    def table(self) -> LatencyTable:
        """The table."""

    @property
    def predictor(self) -> LutPredictor:
        """Its predictor."""


def drift_of(
    table: LatencyTable, anchors: Sequence[str], times: Mapping[str, Mapping[str, Any]]
) -> Drift:
    """Return how the device has moved since ``table``, from measurements of now by arch_id."""
    then = {arch_of(network).arch_id: network.measurement for network in table.networks}
    return fit_drift(
        [
            Anchor(
                name,
                then[name].latency_ms,
                times[name]["latency_ms"],
                0.5
                * float(np.hypot(then[name].repeatability or 0.0, times[name]["repeatability"])),
            )
            for name in anchors
        ]
    )


def figures(row: BenchRow) -> dict[str, Any]:
    """Return all figures of a row that has been validated."""
    later = json.loads(row.file(".later.json").read_text())
    times = later["measured"]
    drift = drift_of(row.table, later["anchors"], times)
    known = {arch.arch_id: arch for arch in (*row.archs("validate"), *row.archs("winners"))}
    uniform, winners = later["validate"], later["winners"]
    ids = [*uniform, *winners]
    archs = [known[name] for name in ids]
    measured = np.array([times[name]["latency_ms"] for name in ids])
    halves = np.array([times[name]["halves_ms"] for name in ids])
    predicted = row.predictor.predict_ms(row.space.encode(archs))
    corrected = drift.correct(predicted)
    raw = np.array([sum(row.table.row_ms(op) for op in row.space.layers(a)) for a in archs])
    first, last = slice(0, len(uniform)), slice(len(uniform), None)
    calibrated = [n for n in row.table.networks if n.role == "calibrate"]
    fit_on = [arch_of(n) for n in calibrated]
    fit_ms = np.array([n.measurement.latency_ms for n in calibrated])

    def line(of: Any) -> dict[str, float]:
        x, known_x = of(row.space, archs), of(row.space, fit_on)
        return line_errors(x, drift.before(measured), (known_x, fit_ms))

    repeat = errors(halves[:, 0], halves[:, 1])
    calibration = row.table.calibration[row.space.name]
    return {
        "row": str(row),
        "minutes_after": later["minutes_after"],
        "form": calibration.form,
        "num_uniform": len(uniform),
        "num_winners": len(winners),
        "fastest_ms": float(measured.min()),
        "slowest_ms": float(measured.max()),
        "all": errors(corrected, measured),
        "uniform": errors(corrected[first], measured[first]),
        "winners": errors(corrected[last], measured[last]),
        "without_anchors": errors(predicted, measured),
        "drift": drift.to_json(),
        "repeat": {**repeat, "kendall_tau_uniform": _tau(halves[first, 0], halves[first, 1])},
        "repeatability_mean": float(np.mean([times[name]["repeatability"] for name in ids])),
        "macs_line": line(_macs),
        "op_count_line": line(_ops),
        "raw_sum": errors(raw, measured),
    }


def _tau(a: Floats, b: Floats) -> float:
    return float(kendalltau(a, b).statistic)


def _macs(space: SearchSpace, archs: Sequence[Arch]) -> Floats:
    return np.array([float(sum(op.macs for op in space.layers(arch))) for arch in archs])


def _ops(space: SearchSpace, archs: Sequence[Arch]) -> Floats:
    return np.array([float(len(space.layers(arch))) for arch in archs])


def print_table(rows: Sequence[BenchRow], out: Path) -> None:
    """Print the figures of all validated rows beside bars and peers; write them to ``out``."""
    found = [figures(row) for row in rows if row.file(".later.json").exists()]
    write_json(out, {"rows": found})
    print(
        f"{platform.machine()}, Python {platform.python_version()}, one thread. Shares of all "
        "networks (uniform + winners); bars: within 5 % >= 98 %, winners' bias within 1 %, "
        "Kendall >= 0.9 or the repeat's - 0.02"
    )
    print(
        f"{'row':34s} {'n':>6s} {'ms':>11s} {'±5 %':>6s} {'±10 %':>6s} {'winners':>8s} "
        f"{'tau':>5s} {'repeat':>6s} {'repeats':>8s} {'drift':>6s} {'MACs ±5':>7s} "
        f"{'ops ±5':>7s} {'raw ±5':>7s}  form"
    )
    for f in found:
        tau, again = f["uniform"]["kendall_tau"], f["repeat"]["kendall_tau_uniform"]
        meets = (
            f["all"]["within_5_percent"] >= 0.98
            and abs(f["winners"]["bias"]) <= 0.01
            and (tau >= 0.9 or tau >= again - 0.02)
        )
        print(
            f"{f['row']:34s} {f['num_uniform']:3d}+{f['num_winners']:2d} "
            f"{f['fastest_ms']:5.2f}-{f['slowest_ms']:5.1f} "
            f"{f['all']['within_5_percent']:6.1%} {f['all']['within_10_percent']:6.1%} "
            f"{f['winners']['bias']:+8.2%} {tau:5.3f} {again:6.3f} "
            f"{f['repeatability_mean']:8.2%} {f['drift']['scale']:6.3f} "
            f"{f['macs_line']['within_5_percent']:7.1%} "
            f"{f['op_count_line']['within_5_percent']:7.1%} "
            f"{f['raw_sum']['within_5_percent']:7.1%}  {f['form']}"
            + ("" if meets else "  (a bar is missed)")
        )
    runs = [json.loads(p.read_text()) for p in sorted(out.parent.glob("*.profile.json"))]
    print(
        f"profile of {len(runs)} settings: {sum(r['wall_s'] for r in runs) / 60:.1f} minutes, "
        f"{sum(sum(r['converted'].values()) for r in runs)} models converted, the others found"
    )
    print(PEERS)


def print_budget_compliance(rows: Sequence[BenchRow]) -> None:
    """Print how often winners kept their budget at first try, and what they left unused."""
    total = within = 0
    for row in rows:
        path = row.budget_compliance_file
        if not path.exists():
            continue
        kept = json.loads(path.read_text())
        searches, headroom = kept["searches"], kept["guard"]["headroom"]
        # the best network below the guarded budget may take less, where none that takes more is
        # better; without a guard this share would be unused as well
        gap = np.array([1 - headroom - s["predicted_ms"] / s["budget_ms"] for s in searches])
        unused = np.array([1 - s["measured_ms"] / s["budget_ms"] for s in searches])
        total, within = total + len(unused), within + int((unused >= 0).sum())
        said = ""
        if "moved" in kept:
            still = 1 - (1 - unused) / kept["moved"]
            said = (
                f"; host x{kept['moved']:.3f} since the check, at whose speed "
                f"{int((still >= 0).sum())} would be within, {still.mean():.2%} unused"
            )
        for when, warning in kept.get("disturbed", {}).items():
            said += f"; disturbed during the {when}" if warning else ""
        print(
            f"{row}: {int((unused >= 0).sum())} of {len(unused)} winners within budget at first "
            f"try, mean unused budget {unused.mean():.2%}, worst {unused.min():+.2%} (guard "
            f"{headroom:.2%}, no better network {gap.mean():.2%}){said}"
        )
    if total:
        print(
            f"all: {within} of {total} within budget at first try (bars: 19 of 20 a row, mean "
            "unused <= 5 %)"
        )
