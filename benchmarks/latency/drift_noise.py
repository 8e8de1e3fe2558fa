"""How far networks deviate from what a device drifts as a whole, between sessions.

    python benchmarks/latency/drift_noise.py first.json second.json [first.json second.json ...]

Each pair are two tables of one space and setting, profiled in different sessions. The networks that
both were calibrated on estimate a drift (``hwnas.latency.drift.model``); the residual of each is
its noise as an anchor, for which ``MIN_NOISE`` is the lower bound.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hwnas.latency.drift.check import arch_of
from hwnas.latency.drift.model import Anchor, fit_drift
from hwnas.latency.table.files import load_table
from hwnas.latency.table.table import LatencyTable

NORMAL_QUARTILE = 0.6745  # median absolute deviation of a standard normal
MIN_NETWORKS = 8


def calibrated_on(table: LatencyTable) -> dict[str, float]:
    """Return the latency in ms, by arch_id, of the networks that the table was calibrated on."""
    return {
        arch_of(n).arch_id: n.measurement.latency_ms
        for n in table.networks
        if n.role == "calibrate"
    }


def deviations(first: LatencyTable, second: LatencyTable) -> list[float]:
    """Return the relative deviation of each common network from the drift of all."""
    then, now = calibrated_on(first), calibrated_on(second)
    anchors = [Anchor(name, then[name], now[name]) for name in sorted(then.keys() & now)]
    if len(anchors) < MIN_NETWORKS:
        raise SystemExit(
            f"{len(anchors)} networks are in both tables, at least {MIN_NETWORKS} "
            "are needed: give two tables of one space and setting"
        )
    drift = fit_drift(anchors)
    return [
        float(drift.scale * a.recorded_ms + drift.offset_ms) / a.measured_ms - 1 for a in anchors
    ]


def show(name: str, found: list[float]) -> None:
    """Print the standard deviation, and the one that the median deviation of a normal tells."""
    values = np.array(found)
    robust = float(np.median(np.abs(values))) / NORMAL_QUARTILE
    print(
        f"{name:<40} {len(values):>4} networks  sd {values.std():.2%}  by the median {robust:.2%}"
    )


def main() -> None:
    """Print the deviations of every pair, by runtime and precision, and of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="+", type=Path)
    paths = parser.parse_args().tables
    if len(paths) % 2:
        parser.error(f"tables come in pairs, {len(paths)} were given")
    by_setting: dict[str, list[float]] = {}
    for first, second in zip(paths[::2], paths[1::2], strict=True):
        one, two = load_table(first), load_table(second)
        found = deviations(one, two)
        show(first.stem, found)
        header = one.header
        by_setting.setdefault(f"{header.runtime} {header.precision}", []).extend(found)
    for setting, found in by_setting.items():
        show(f"all of {setting}", found)
    show("all", [value for found in by_setting.values() for value in found])


if __name__ == "__main__":
    main()
