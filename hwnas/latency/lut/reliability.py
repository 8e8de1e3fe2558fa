"""Whether a table's calibration predicts well enough to search by."""

from __future__ import annotations

from hwnas.errors import InputError
from hwnas.latency.table.scope import scope_text
from hwnas.latency.table.table import LatencyTable

MAX_ERROR = 0.10
"""Largest mean relative error of predictions that a search may rely on, as a fraction.

Calibrated tables of undisturbed devices err by 0.2 to 3 % (benchmarks/RESULTS-0.1.0.md, twelve
rows), plain sums by 5 to 20 %. A calibration above this was fitted to measurements that something
disturbed, and ranks networks no better than their operation count.
"""


def calibration_error(table: LatencyTable, space: str) -> float | None:
    """Return the mean relative error of predictions for ``space``, None without measured networks.

    On networks that nothing was fitted to, where there are any: those of the validation, else the
    calibration's, each predicted by a fit to the others; else the error of the fit.
    """
    validation = table.validation.get(space)
    if validation is not None:
        return float(validation["mean_abs_rel_error"])
    calibration = table.calibration.get(space)
    if calibration is None:
        return None
    left_out = calibration.left_out.get(calibration.form or "")
    return calibration.mean_abs_rel_error if left_out is None else left_out.mean_abs_rel_error


def unreliable(table: LatencyTable, space: str) -> str | None:
    """Return what is wrong with a table's predictions of ``space``, None if nothing is known."""
    error = calibration_error(table, space)
    if error is None or error <= MAX_ERROR:
        return None
    of = f" ({scope_text(table.header.scope)})" if table.header.scope else ""
    return (
        f"its predictions{of} of {space} are off by {error:.0%} on average, and at most "
        f"{MAX_ERROR:.0%} is allowed; usually something else ran on the device meanwhile"
    )


def require_reliable(tables: LatencyTable, space: str, what: str) -> None:
    """Raise unless the tables predict ``space`` well enough to search by.

    Raises:
        InputError: names each table that does not, its error, and how to measure again.
    """
    problems = [found for one in tables.scopes if (found := unreliable(one, space)) is not None]
    if not problems:
        return
    again = tables.header.profile_command(space, "NEW_TABLE")
    raise InputError(
        what,
        problems,
        f"stop what else runs on the device and measure again: {again}; or take the table as it "
        "is with --force (in a file: force: true)",
    )
