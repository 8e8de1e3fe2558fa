"""Tables and sentences that several commands print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hwnas.cli.output import print_table, print_text

if TYPE_CHECKING:
    from hwnas.artifacts.exported import ParityPart
    from hwnas.latency.table.table import LatencyTable


def shown(value: float | None, form: str) -> str:
    """Return ``value`` in the format ``form``, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def percent_text(share: float | None) -> str:
    """Return a share of one in percent with one decimal: ``94.4 %``; a dash where there is none."""
    return "-" if share is None else f"{share:.1%}".replace("%", " %")


def small_share_text(share: float) -> str:
    """Return a share with two decimals; one that would be rounded to 0 or 1 is not called so."""
    if 0 < share < 1e-4:
        return "less than 0.01 %"
    if 1 - 1e-4 < share < 1:
        return "more than 99.99 %"
    return f"{share:.2%}".replace("%", " %")


def count_text(value: float) -> str:
    """Return a count of any size: ``1,024``, and from a thousand million on ``2.1e12``."""
    return f"{value:,.0f}" if value < 1e9 else f"{value:.1e}".replace("e+", "e")


def print_validation(table: LatencyTable) -> None:
    """Print the errors of a table on each space, next to those of MACs and of the op count."""
    for space, v in table.validation.items():
        print_text(
            f"validation {space}: {v['num_networks']} networks, "
            f"{shown(v.get('fastest_ms'), '.4g')} to {shown(v.get('slowest_ms'), '.4g')} "
            f"ms; repeatability {v['repeatability_mean']:.2%}"
        )
        rows = [
            [
                name,
                f"{e['mean_abs_rel_error']:.2%}",
                shown(e.get("max_abs_rel_error"), ".2%"),
                shown(e.get("within_5_percent"), ".1%"),
                f"{e['kendall_tau']:.4f}",
            ]
            for name, e in (
                ("table", v),
                *([("table, winners", v["winners"])] if "winners" in v else []),
                ("MACs line", v["macs_line"]),
                ("op count", v["op_count_line"]),
            )
        ]
        print_table(["predictor", "mean error", "largest", "within 5 %", "Kendall tau"], rows)


def state_text(state: Mapping[str, Any]) -> str:
    """Return the known values of a device's state in one line."""
    known = [f"{key} {value}" for key, value in state.items() if value not in (None, [], {}, "")]
    return ", ".join(known) or "nothing is known"


def parity_text(parity: ParityPart) -> str:
    """Return how far an exported model's outputs are from torch's."""
    if parity.max_rel is not None:
        return f"outputs within {parity.max_rel:.1e} of the largest output"
    left = sum((parity.float_operations or {}).values())
    sqnr = "exact" if parity.sqnr_db is None else f"{parity.sqnr_db:.1f} dB"
    return f"{sqnr}, {left} float operation(s)" if left else sqnr
