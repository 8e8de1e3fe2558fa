"""Whether the latencies of a table can be in ms, by the speed that they imply.

The speed is the MACs of a table's larger operations over their time. Networks reach 0.3 (a small
in-order core) to 300 (many cores of a desktop) x 10^9 MACs a second in float32 and up to 10 times
that in int8; published tables of phones imply 3 (Pixel 1) and 10.6 (Note10), with one thread. The
allowed range adds a factor of 3 on both sides. A table in seconds or microseconds, a factor of 1000
off, is outside it unless its device is at the other end. Operations so small that the runtime's
call dominates their time do not count.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwnas.device.measurement import Measurement
from hwnas.errors import InputError
from hwnas.latency.table.scope import scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec

PLAUSIBLE_GMACS_PER_S: Mapping[str, tuple[float, float]] = {"int8": (0.1, 10_000.0)}
USUAL = (0.1, 1000.0)  # of any other precision
SMALL_MACS = 100_000
UNITS = {"seconds": 1e-3, "microseconds": 1e3, "nanoseconds": 1e6}  # of a ms, in each


def speed_gmacs_per_s(rows: Mapping[OpSpec, Measurement]) -> float | None:
    """Return the speed of the larger operations, None where there are none."""
    counted = [(op.macs, row.latency_ms) for op, row in rows.items() if op.macs >= SMALL_MACS]
    total_ms = sum(ms for _, ms in counted)
    return sum(macs for macs, _ in counted) / total_ms / 1e6 if counted else None


def implausible(rows: Mapping[OpSpec, Measurement], precision: str) -> str | None:
    """Return what is wrong with the unit of these rows; None if nothing is, or none can tell."""
    low, high = PLAUSIBLE_GMACS_PER_S.get(precision, USUAL)
    speed = speed_gmacs_per_s(rows)
    if speed is None or low <= speed <= high:
        return None
    units = [unit for unit, factor in UNITS.items() if low <= speed * factor <= high]
    guess = f"are its latencies in {units[0]}" if units else "in which unit are its latencies"
    return (
        f"its rows imply {speed:.3g} GMAC/s (10^9 multiply-accumulates a second), where "
        f"devices reach {low:g} to {high:g} in {precision}: {guess}? They must be in ms"
    )


def require_plausible(tables: LatencyTable, what: str) -> None:
    """Raise unless the tables' latencies can be in ms.

    Raises:
        InputError: names each table that cannot, the speed it implies and the likely unit.
    """
    problems = problems_of(tables)
    if problems:
        raise InputError(what, problems, "convert it to ms, or take it as it is with --force")


def problems_of(tables: LatencyTable) -> list[str]:
    """Return what is wrong with the unit of each table."""
    found = []
    for table in tables.scopes:
        problem = implausible(table.entries, table.header.precision)
        if problem is not None:
            scope = f"{scope_text(table.header.scope)}: " if table.header.scope else ""
            found.append(scope + problem)
    return found
