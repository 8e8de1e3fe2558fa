"""Checks whether a latency table still holds, by timing a few of its networks again.

These anchors are the networks that the table marks for it (``is_sentinel`` in its file); where more
are asked for, other networks it was calibrated on are added. The speed of a host wanders within
seconds, and more anchors see more of that. The change of the device as a whole is a Drift
(``model.py``); ``recalibrate.py`` writes a corrected table from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from hwnas.arch import Arch
from hwnas.device.measurement import Measurement, disturbance, summarise
from hwnas.device.rounds import time_in_rounds
from hwnas.device.runner import Target
from hwnas.errors import InputError
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.drift.model import Anchor, Drift, fit_drift
from hwnas.latency.profile.plan import network_conversion, network_model_id
from hwnas.latency.table.schemas import NetworkRecord
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import Runner, SearchSpace

ANCHORS = 3
TIMED_ANCHORS = 12  # fewer anchors get more rounds, as many timings as this number of anchors
TOLERANCE = 0.05  # relative, of an anchor's latency
ANCHORS_PER_OUTLIER = 8  # one of so many anchors may be disturbed without failing the check


@dataclass(frozen=True)
class TableCheck:
    """The result of a check; ``drift`` is the median ratio of new to recorded latency.

    ``now`` holds the measurements of the anchors by arch_id, ``state_before`` and ``state_after``
    the state of the device.
    """

    anchors: tuple[Anchor, ...]
    version_then: str
    version_now: str
    now: Mapping[str, Measurement] = field(default_factory=dict)
    state_before: Mapping[str, Any] = field(default_factory=dict)
    state_after: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> Drift:
        """The drift of the device since the table was made, with its uncertainty."""
        return fit_drift(self.anchors)

    @property
    def drift(self) -> float:
        """The anchors' median ratio of now to then."""
        return float(np.median([anchor.ratio for anchor in self.anchors]))

    @property
    def spread(self) -> float:
        """The largest deviation of an anchor's ratio from the median ratio, relative.

        One anchor in ANCHORS_PER_OUTLIER is left out.
        """
        return self._largest([abs(s.ratio / self.drift - 1) for s in self.anchors])

    @property
    def holds(self) -> bool:
        """Whether all anchors but one in ANCHORS_PER_OUTLIER are within TOLERANCE of the table."""
        return self._largest([abs(s.ratio - 1) for s in self.anchors]) <= TOLERANCE

    def _largest(self, deviations: Sequence[float]) -> float:
        return sorted(deviations)[-1 - len(deviations) // ANCHORS_PER_OUTLIER]

    def verdict(self) -> str:
        """Return one sentence: whether the table holds, and if not, why and what to do."""
        if self.holds:
            within = sum(abs(s.ratio - 1) <= TOLERANCE for s in self.anchors)
            return (
                f"the table holds: {within} of {len(self.anchors)} anchors within "
                f"{TOLERANCE:.0%} (drift {self.model})"
            )
        versions = ""
        if self.version_then != self.version_now:
            versions = f" The runtime changed from {self.version_then} to {self.version_now}."
        if self.spread <= TOLERANCE:
            return (
                f"the device as a whole is at {self.model} of the table's latencies "
                f"(anchors alike to {self.spread:.1%}): another load, clock or "
                f"temperature.{versions} Next: bring the device back to the state in which it "
                "was profiled, or add --update for a table of today, or profile again"
            )
        return (
            f"the table does not hold: the anchors moved differently (x"
            f"{min(s.ratio for s in self.anchors):.3f} to x"
            f"{max(s.ratio for s in self.anchors):.3f}).{versions} Next: profile again"
        )

    @property
    def disturbance(self) -> str | None:
        """A warning where other work slowed the anchors while they were timed."""
        return disturbance(list(self.now.values()))

    def to_json(self) -> dict[str, Any]:
        """Return the object ``hwnas lut check --json`` prints."""
        return {
            "holds": self.holds,
            "drift": round(self.drift, 4),
            "spread": round(self.spread, 4),
            "model": self.model.to_json(),
            "state_before": dict(self.state_before),
            "state_after": dict(self.state_after),
            "runtime_version": {"then": self.version_then, "now": self.version_now},
            "anchors": [
                {
                    "arch_id": s.arch_id,
                    "recorded_ms": s.recorded_ms,
                    "measured_ms": round(s.measured_ms, 6),
                    "ratio": round(s.ratio, 4),
                }
                for s in self.anchors
            ],
            "verdict": self.verdict(),
            "disturbance": self.disturbance,
        }


def anchor_networks(table: LatencyTable, space: SearchSpace) -> list[NetworkRecord]:
    """Return the networks of ``space`` that the table marks as anchors.

    Raises:
        InputError: it has none (an imported table, or one of other spaces).
    """
    found = [n for n in table.networks if n.is_sentinel and n.space == space.name]
    if not found:
        raise InputError(
            f"table of {table.header.device}",
            [f"holds no sentinel networks of {space.name}"],
            "only tables written by hwnas profile have them; profile this space with --resume",
        )
    return found


def anchors_of(
    table: LatencyTable, space: SearchSpace, count: int = ANCHORS
) -> list[NetworkRecord]:
    """Return up to ``count`` anchors, from the fastest to the slowest.

    The marked networks first; where ``count`` is more, others that the table was calibrated on.

    Raises:
        InputError: the table marks no network of the space.
    """
    marked = anchor_networks(table, space)
    others = [
        n
        for n in table.networks
        if n.space == space.name and n.role == "calibrate" and not n.is_sentinel
    ]
    found = _spread(marked, count) + _spread(others, max(count - len(marked), 0))
    return sorted(found, key=lambda n: n.measurement.latency_ms)


def _spread(networks: Sequence[NetworkRecord], count: int) -> list[NetworkRecord]:
    """Return ``count`` networks evenly from the fastest to the slowest, or all there are."""
    ordered = sorted(networks, key=lambda n: n.measurement.latency_ms)
    if count >= len(ordered):
        return ordered
    return [ordered[place] for place in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def arch_of(record: NetworkRecord) -> Arch:
    """Return the architecture of a network record."""
    return Arch.make(record.arch["space"], record.arch["choices"])


def check_table(
    table: LatencyTable,
    space: SearchSpace,
    target: Target,
    runner: Runner,
    *,
    num_anchors: int = ANCHORS,
    spread_s: float = 0.0,
    cache: ConversionCache | None = None,
) -> TableCheck:
    """Time the anchors again, by the table's protocol, for at least ``spread_s`` seconds.

    Fewer than TIMED_ANCHORS anchors are timed in proportionally more rounds.
    """
    anchors = anchors_of(table, space, num_anchors)
    protocol = (
        (table.header.protocol or target.device.protocol)
        .over(spread_s)
        .times(math.ceil(TIMED_ANCHORS / len(anchors)))
    )
    records = {network_model_id(space, arch_of(r)): r for r in anchors}
    conversions = {
        name: network_conversion(space, arch_of(record), target) for name, record in records.items()
    }
    paths = (cache or ConversionCache()).fill(list(conversions.values()))
    before = runner.state()
    runs = time_in_rounds(
        runner,
        {name: paths[one] for name, one in conversions.items()},
        protocol.rounds,
        protocol,
        stage="anchors",
    )
    now = {name: summarise(runs[name], protocol.reloads) for name in records}
    return TableCheck(
        tuple(
            Anchor(
                arch_of(record).arch_id,
                record.measurement.latency_ms,
                now[name].latency_ms,
                _noise(record, now[name]),
            )
            for name, record in records.items()
        ),
        table.header.runtime_version,
        runner.info["runtime_version"],
        {arch_of(record).arch_id: now[name] for name, record in records.items()},
        before,
        runner.state(),
    )


def _noise(record: NetworkRecord, now: Measurement) -> float:
    """Return the relative standard error of new over recorded latency.

    The difference of two halves is twice the standard error of their mean.
    """
    return 0.5 * float(np.hypot(record.measurement.repeatability or 0.0, now.repeatability))
