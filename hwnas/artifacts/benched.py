"""Measurements on the device: ``bench/<device>-<runtime>-<precision>.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import Self

from hwnas.artifacts.base import (
    Artifact,
    Count,
    Id,
    JsonObject,
    Milliseconds,
    Part,
)
from hwnas.io.journal import write_json
from hwnas.io.renaming import warn_of_old_name


class MeasurementPart(Part):
    """A latency in ms at batch 1 (see :class:`hwnas.device.measurement.Measurement`).

    ``latency_ms`` is the 25th percentile of the medians of the rounds, ``p5_ms`` .. ``p95_ms`` are
    percentiles of the single runs, ``repeatability`` is the relative difference of two halves.
    """

    latency_ms: Milliseconds
    p5_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    num_rounds: Count
    num_runs: Count
    repeatability: float


class BenchRow(Part):
    """One model that was timed: a finalist, or a known network scaled to the budget (a baseline).

    Finalists have ``arch_id``, ``predicted_ms`` (by the latency table), ``val_top1_int8`` (of the
    int8 file that the runtime takes, None without one) and ``other_precisions`` (the measurements
    of their files of other precisions). Baselines have ``known`` (the network's name), its
    ``width_mult`` and ``input_size``. ``round_medians_ms`` has the median of each round.
    """

    name: str
    kind: Literal["finalist", "baseline"]
    arch_id: Id | None = None
    known: str | None = None
    width_mult: float | None = None
    input_size: int | None = None
    network_id: Id
    predicted_ms: Milliseconds | None = None
    val_top1: float
    model: str | None = None
    measurement: MeasurementPart
    round_medians_ms: tuple[float, ...] = ()
    within_budget: bool
    macs: Count
    params: Count
    note: str = ""
    val_top1_int8: float | None = None
    other_precisions: dict[str, MeasurementPart] = Field(default_factory=dict)


class AnchorPart(Part):
    """A network of the latency table: its latency when profiled and in this session."""

    recorded_ms: Milliseconds
    measured_ms: Milliseconds


class DriftPart(Part):
    """How the device's speed differs from when the latency table was made.

    ``ratio`` is the median over the ``anchors`` (by arch_id) of latency now over latency then,
    ``sessions`` has the ratios of all sessions, of which the one nearest to 1 counts.
    """

    ratio: float
    anchors: dict[str, AnchorPart] = Field(default_factory=dict)
    sessions: tuple[float, ...] = ()


class BenchFile(Artifact):
    """One session: all finalists and baselines, timed in the same interleaved rounds.

    ``protocol`` has the settings of the device file, ``state_before`` and ``state_after`` what the
    device said of itself (frequencies, temperatures, load). ``drift`` is None where the table has
    no anchors of the run's space.
    """

    FILE: ClassVar[str] = "bench/{device}-{runtime}-{precision}.json"
    WRITTEN_BY: ClassVar[str] = "hwnas bench"
    RENAMED: ClassVar[Mapping[str, str]] = {
        "drift.sentinels": "anchors",
        "rows.also": "other_precisions",
    }

    device: str
    runtime: str
    runtime_version: str = ""
    precision: str
    threads: int | None = None
    affinity: str | None = None
    protocol: JsonObject = Field(default_factory=dict)
    state_before: JsonObject | None = None
    state_after: JsonObject | None = None
    drift: DriftPart | None = None
    rows: tuple[BenchRow, ...]

    @classmethod
    def path(cls, folder: Path) -> Path:
        """Not of one name: see :meth:`path_of`."""
        raise TypeError("a run may hold several bench files: use BenchFile.path_of")

    @classmethod
    def path_of(cls, folder: Path, device: str, runtime: str, precision: str) -> Path:
        """Return the path in a run folder of what was measured on a target."""
        return folder / cls.FILE.format(device=device, runtime=runtime, precision=precision)

    def save(self, folder: Path) -> Path:
        """Write the file into a run folder, whole, named by its target; return its path.

        Raises:
            StorageError: it cannot be written; an older file is unchanged.
        """
        path = self.path_of(folder, self.device, self.runtime, self.precision)
        write_json(path, self.to_json())
        return path

    @classmethod
    def load_all(cls, folder: Path) -> tuple[Self, ...]:
        """Read all bench files of a run folder, by name; errors as in :meth:`load`."""
        return tuple(cls.read(path) for path in sorted(folder.glob("bench/*.json")))

    @classmethod
    def upgrade(cls, content: JsonObject, what: str) -> JsonObject:
        """Return ``content`` with the kinds of row of today."""
        rows = content.get("rows")
        if not isinstance(rows, list):
            return content
        if any(isinstance(row, dict) and row.get("kind") == "shelf" for row in rows):
            warn_of_old_name(what, "the kind of row 'shelf'", "baseline")
        renamed = [
            {**row, "kind": "baseline"}
            if isinstance(row, dict) and row.get("kind") == "shelf"
            else row
            for row in rows
        ]
        return {**content, "rows": renamed}
