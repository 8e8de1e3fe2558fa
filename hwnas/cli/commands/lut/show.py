"""``hwnas lut show``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.formatting import print_validation, shown
from hwnas.cli.options import AsJson, option
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.device.measurement import Measurement
    from hwnas.latency.lut.breakdown import Breakdown
    from hwnas.latency.table.table import LatencyTable
    from hwnas.ops import OpSpec

logger = logging.getLogger(__name__)

MAX_SHOWN = 15  # rows of each part of a breakdown


@verb("hwnas lut show t.json --breakdown", renamed={"--hot": "--breakdown"})
def show(
    file: Annotated[Path, typer.Argument(help="A latency table, or a folder of them.")],
    breakdown: Annotated[
        bool, option("--breakdown", help="Order operations by latency, and break networks down.")
    ] = False,
    space: Annotated[
        str | None,
        option("--space", help="Breakdown: the space of the networks; by default the table's."),
    ] = None,
    arch: Annotated[
        Path | None, option("--arch", help="Breakdown: one network, in a JSON file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a table: source, rows, accuracy.

    --breakdown adds the share of the latency of a space's networks by operation, kind, size and
    option, with the MACs per second of each.
    """
    if (space is not None or arch is not None) and not breakdown:
        raise UsageError("--space and --arch belong to --breakdown")
    show_table(file, breakdown=breakdown, as_json=as_json, space=space, arch=arch)


def show_table(
    file: Path,
    *,
    breakdown: bool,
    as_json: bool,
    space: str | None = None,
    arch: Path | None = None,
) -> None:
    """Print provenance, rows, calibration and validation of a table, or of a folder of tables.

    As JSON a folder is ``{"tables": [...]}`` of what a single table gives. ``breakdown`` adds that
    of the networks of ``space``, or of the table's only space.
    """
    from hwnas.latency.table.files import load_table
    from hwnas.latency.table.units import problems_of
    from hwnas.pipeline.commands.tables import breakdown_of

    tables = load_table(file)
    for problem in problems_of(tables):
        logger.warning(f"{file}: {problem}")
    if as_json:
        contents = [_table_json(table, breakdown=breakdown) for table in tables.scopes]
        content = {"tables": contents} if file.is_dir() and tables.is_scoped else contents[0]
        where = breakdown_of(tables, space, arch) if breakdown else None
        print_json(content if where is None else {**content, "breakdown": where.to_json()})
        return
    for table in tables.scopes:
        _print_table(table, breakdown=breakdown)
    if breakdown:
        _print_breakdown(breakdown_of(tables, space, arch))


def _print_breakdown(found: Breakdown | None) -> None:
    if found is None:
        logger.info("Next: --space NAME (or --arch FILE) adds the breakdown of its networks")
        return
    print_text(
        f"latency of {found.num_networks} network(s) of {found.space}, {found.mean_ms:.4g} ms in "
        "the mean, by part; cost is share of latency over share of MACs"
    )
    for title, listed in (
        ("option", found.options),
        ("kind", found.kinds),
        ("feature map", found.sizes),
        ("operation", found.rows),
    ):
        if listed:
            print_table(
                ["mean_ms", "share", "cumulative", "GMAC/s", "cost", title],
                [
                    [
                        f"{part.mean_ms:.4g}",
                        f"{part.share:.1%}",
                        "-" if title == "option" else f"{part.cumulative:.1%}",
                        f"{part.gmacs_per_s:.3g}",
                        shown(part.cost, ".2f"),
                        part.name,
                    ]
                    for part in listed[:MAX_SHOWN]
                ],
            )


def _rows(table: LatencyTable, *, breakdown: bool) -> list[tuple[OpSpec, Measurement]]:
    """Return a table's rows by operation, or slowest first."""
    rows = sorted(table.entries.items(), key=lambda item: item[0].key)
    return sorted(rows, key=lambda item: -item[1].latency_ms) if breakdown else rows


def _table_json(table: LatencyTable, *, breakdown: bool) -> dict[str, Any]:
    return {
        "header": table.header.model_dump(),
        "calibration": {k: c.model_dump() for k, c in table.calibration.items()},
        "validation": dict(table.validation),
        "entries": [
            {"op": op.to_json(), **m.to_json()} for op, m in _rows(table, breakdown=breakdown)
        ],
    }


def _print_table(table: LatencyTable, *, breakdown: bool) -> None:
    from hwnas.latency.lut.calibration import describe
    from hwnas.latency.table.scope import scope_text

    header = table.header
    print_text(
        f"{header.device}, {header.runtime_version}, {header.precision}, "
        f"{header.threads} thread(s), affinity {header.affinity or 'none'}, "
        f"{header.layout}, measured {header.date} on {header.host.get('cpu', 'unknown')}"
    )
    if header.scope:
        print_text(f"for networks of {scope_text(header.scope)}")
    if header.provenance:
        print_text("imported: " + ", ".join(f"{k} {v}" for k, v in header.provenance.items()))
    published = "-"  # what a published mean does not tell
    print_table(
        ["latency_ms", "p95_ms", "runs", "repeats to", "M MACs", "operation"],
        [
            [
                f"{m.latency_ms:.4g}",
                f"{m.p95_ms:.4g}" if m.num_rounds else published,
                str(m.num_runs),
                f"{m.repeatability:.1%}" if m.num_rounds else published,
                f"{op.macs / 1e6:.3g}",
                str(op),
            ]
            for op, m in _rows(table, breakdown=breakdown)
        ],
    )
    for space, c in table.calibration.items():
        print_text(f"calibration {space}: {describe(c)}")
    print_validation(table)
