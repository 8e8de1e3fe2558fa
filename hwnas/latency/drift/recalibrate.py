"""Corrects a copy of a table by the drift of a few anchors.

Rows stay as they were measured; what turns rows into a network's latency moves with the device.
Networks measured then are written as what they would take now, the anchors as what they took, so
that a later check, and the errors that guards read, compare like with like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from hwnas.device.measurement import Measurement
from hwnas.errors import UsageError
from hwnas.latency.drift.check import arch_of
from hwnas.latency.drift.conformal import append_validation, read_validation
from hwnas.latency.drift.model import Drift
from hwnas.latency.table.files import save_folder, save_table
from hwnas.latency.table.schemas import Calibration, MeasurementSchema, NetworkRecord
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace

TIMES = ("latency_ms", "p5_ms", "p50_ms", "p90_ms", "p95_ms")


def recalibrated(
    tables: LatencyTable, space: SearchSpace, drift: Drift, now: Mapping[str, Measurement], on: str
) -> LatencyTable:
    """Return a copy of ``tables`` as the device is now.

    ``now``: anchors (arch_id) with what they take now. All spaces' calibrations move; ``space``
    gets one where it has none. ``on`` is the date that the header's provenance tells.
    """
    return tables.map_scopes(lambda part: _moved(part, space, drift, now, on))


def _moved(
    table: LatencyTable, space: SearchSpace, drift: Drift, now: Mapping[str, Measurement], on: str
) -> LatencyTable:
    factor = drift.factor
    plain = Calibration(
        scale=1.0,
        per_op_ms=0.0,
        constant_ms=0.0,
        num_networks=len(now),
        mean_abs_rel_error=drift.spread,
        max_abs_rel_error=drift.spread,
    )
    calibration = {
        name: fit.model_copy(
            update={
                "scale": fit.scale * factor,
                "per_op_ms": fit.per_op_ms * factor,
                "per_mparam_ms": fit.per_mparam_ms * factor,
                "per_cold_mparam_ms": fit.per_cold_mparam_ms * factor,
                "per_mvalue_ms": fit.per_mvalue_ms * factor,
                "corrections": {group: c * factor for group, c in fit.corrections.items()},
                "constant_ms": fit.constant_ms * factor + drift.offset_ms,
            }
        )
        for name, fit in {space.name: plain, **table.calibration}.items()
    }
    provenance = {**table.header.provenance, "recalibrated": f"{on}, drift {drift}"}
    return replace(
        table,
        header=table.header.model_copy(update={"provenance": provenance}),
        calibration=calibration,
        networks=tuple(_now(record, drift, now) for record in table.networks),
    )


def _now(record: NetworkRecord, drift: Drift, now: Mapping[str, Measurement]) -> NetworkRecord:
    timed = now.get(arch_of(record).arch_id)
    if timed is not None:
        return record.model_copy(update={"measurement": MeasurementSchema(**timed.to_json())})
    then = record.measurement
    factor = float(drift.correct(np.array([then.latency_ms]))[0]) / then.latency_ms
    moved = {
        name: round(value * factor, 6)
        for name in TIMES
        if (value := getattr(then, name)) is not None
    }
    return record.model_copy(update={"measurement": then.model_copy(update=moved)})


def write_beside(table: LatencyTable, file: Path) -> Path:
    """Write a recalibrated ``table`` next to ``file``, which stays; return where.

    The winners benched with the old table go along: their ratios of measured to predicted latency
    are of one session.

    Raises:
        UsageError: that place is taken.
    """
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    is_folder = table.is_scoped and file.is_dir()
    out = file.parent / (f"{file.name}.{stamp}" if is_folder else f"{file.stem}.{stamp}.json")
    if out.exists():
        raise UsageError(f"{out} exists. Next: repeat the command")
    if is_folder:
        save_folder(table, out)
    else:
        save_table(table, out)
    append_validation(out, read_validation(file))
    return out
