"""Units: a table in seconds or microseconds implies a speed that no device has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.device.measurement import Measurement
from hwnas.errors import InputError
from hwnas.latency.table.table import LatencyTable
from hwnas.latency.table.units import (
    implausible,
    problems_of,
    require_plausible,
    speed_gmacs_per_s,
)
from hwnas.ops import OpSpec

LARGE = OpSpec.make("conv", (16, 64, 64), 16, kernel=3)  # 9.4 million MACs
SMALL = OpSpec.make("conv", (8, 4, 4), 8, kernel=1)


def rows(large_ms: float, small_ms: float = 1e-3) -> dict[OpSpec, Measurement]:
    return {LARGE: Measurement.published(large_ms, 1), SMALL: Measurement.published(small_ms, 1)}


def test_the_speed_is_of_the_operations_that_are_more_than_a_call():
    assert speed_gmacs_per_s(rows(1.0)) == pytest.approx(LARGE.macs / 1e6)
    assert speed_gmacs_per_s({SMALL: Measurement.published(1e6, 1)}) is None


@pytest.mark.parametrize(
    ("factor", "unit"),
    [
        (1e-3, "are its latencies in seconds"),
        (1.0, None),
        (1e3, "are its latencies in microsec"),
        (1e6, "are its latencies in nanoseconds"),
        (1e12, "in which unit are its latencies"),
    ],
)
@pytest.mark.parametrize("gmacs_per_s", [2.0, 10.0, 50.0])
def test_another_unit_is_named(factor, unit, gmacs_per_s):
    problem = implausible(rows(LARGE.macs / gmacs_per_s / 1e6 * factor), "fp32")
    assert problem is None if unit is None else unit in problem


def test_tables_that_cannot_be_in_ms_are_told_by_scope(random_table, tiny):
    table = random_table(tiny)
    slow = replace(
        table,
        entries=rows(1e3),
        header=table.header.model_copy(update={"scope": {"resolution": 32}}),
    )
    fine = replace(
        slow,
        entries=rows(1.0),
        header=table.header.model_copy(update={"scope": {"resolution": 64}}),
    )
    tables = LatencyTable.of_scopes([slow, fine])
    [problem] = problems_of(tables)
    assert problem.startswith("resolution=32: its rows imply 0.00944 GMAC/s")
    with pytest.raises(InputError, match="--force"):
        require_plausible(tables, "folder")
