"""What ``hwnas lut`` does with latency tables: import, compare, check. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import InputError, UsageError
from hwnas.latency.table.files import load_table, save_table
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.space.archfile import read_arch
from hwnas.space.catalogue import load_space

if TYPE_CHECKING:
    from hwnas.latency.drift.check import TableCheck
    from hwnas.latency.lut.breakdown import Breakdown


def import_files(
    files: Sequence[Path],
    table_format: str,
    out: Path,
    *,
    space: str | None,
    target: tuple[str, str, str, int, str | None],
    force: bool,
) -> list[tuple[Path, list[str]]]:
    """Write published tables into ``out``; return each file with its number of rows and notes.

    ``target`` is what the files do not state: device, runtime, precision, threads, affinity.
    ``space`` names the space of the networks in files of the format ``sums``, which need it.
    """
    from hwnas.latency.table.published import import_tables, published_header, require_place
    from hwnas.latency.table.sums import import_sums

    header = published_header(*target)
    if (table_format == "sums") != (space is not None):
        raise UsageError(
            "--format sums needs --space, the space of its networks"
            if space is None
            else f"--space is for --format sums; {table_format} files name operations"
        )
    if space is not None:
        tables = [import_sums(files, load_space(space), header, force=force)]
    else:
        tables = import_tables(files, table_format, header, force=force)
    written = []
    for path, table in require_place(tables, out).items():
        save_table(table, path)
        stated = table.header.provenance
        written.append(
            (
                path,
                [f"{len(table.entries)} rows"]
                + [
                    f"{key}: {stated[key]}"
                    for key in ("rank", "residual", "forced")
                    if key in stated
                ],
            )
        )
    return written


@dataclass(frozen=True)
class MovedRow:
    """An operation in two tables: its latency in ms in the old and in the new one."""

    op: OpSpec
    old_ms: float
    new_ms: float

    @property
    def ratio(self) -> float:
        """New over old latency."""
        return self.new_ms / self.old_ms


@dataclass(frozen=True)
class TableDiff:
    """Differences of two tables: header values (old, new), rows in both, in one of them."""

    header: dict[str, tuple[Any, Any]]
    moved: tuple[MovedRow, ...]
    gone: tuple[OpSpec, ...]
    added: tuple[OpSpec, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``hwnas lut diff --json`` prints."""
        return {
            "header": {key: list(pair) for key, pair in self.header.items()},
            "moved": [{"op": row.op.to_json(), "ratio": row.ratio} for row in self.moved],
            "gone": [op.to_json() for op in self.gone],
            "added": [op.to_json() for op in self.added],
        }


def diff_tables(old: Path, new: Path) -> TableDiff:
    """Return the differences of two tables, the rows in both ordered by how far they moved."""
    before, after = load_table(old), load_table(new)
    then, now = before.header.target(), after.header.target()
    moved = [
        MovedRow(op, row.latency_ms, after.entries[op].latency_ms)
        for op, row in before.entries.items()
        if op in after.entries
    ]
    return TableDiff(
        header={key: (value, now[key]) for key, value in then.items() if value != now[key]},
        moved=tuple(sorted(moved, key=lambda row: -abs(math.log(row.ratio)))),
        gone=tuple(op for op in before.entries if op not in after.entries),
        added=tuple(op for op in after.entries if op not in before.entries),
    )


def breakdown_of(tables: LatencyTable, space: str | None, arch: Path | None) -> Breakdown | None:
    """Return the breakdown of the latency of ``arch``, or of the networks of ``space``.

    Without either, of the only space the tables have networks or calibrations of; None where there
    are none or several.
    """
    from hwnas.latency.lut.breakdown import breakdown

    archs = None
    if arch is not None:
        value = read_arch(arch)
        loaded = load_space(space or value["space"])
        archs = [loaded.arch(value["choices"])]
    elif space is not None or len(tables.spaces) == 1:
        loaded = load_space(space or tables.spaces[0])
    else:
        return None
    return breakdown(loaded, tables, archs)


def check_file(
    file: Path,
    device: str,
    space: str | None,
    anchors: int,
    *,
    spread_s: float = 0.0,
    update: bool,
) -> tuple[TableCheck, Path | None]:
    """Time a table's anchors again on ``device``; return the check and the table written, if any.

    ``update`` writes a recalibrated table to a new file in the same folder. ``spread_s`` is the
    least number of seconds to measure for.
    """
    from hwnas.device.device import load_device
    from hwnas.device.runner import make_target, open_runner
    from hwnas.latency.drift.check import check_table

    table = load_table(file)
    name = space or _only_space(table, file)
    header = table.header
    if device not in (header.device, f"{header.device}.yaml") and not device.endswith(".yaml"):
        raise UsageError(
            f"{file} was measured on {header.device}, not on {device}. "
            f"Next: --device {header.device}"
        )
    target = make_target(
        load_device(device), header.runtime, header.precision, header.threads, header.affinity
    )
    with open_runner(target) as runner:
        found = check_table(
            table,
            load_space(name),
            target,
            runner,
            num_anchors=anchors,
            spread_s=spread_s,
        )
    if not update:
        return found, None
    from hwnas.latency.drift.recalibrate import recalibrated, write_beside

    on = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return found, write_beside(
        recalibrated(table, load_space(name), found.model, found.now, on), file
    )


def _only_space(table: LatencyTable, file: Path) -> str:
    names = sorted({n.space for n in table.networks if n.is_sentinel})
    if len(names) != 1:
        raise InputError(
            str(file),
            [f"has sentinels of {', '.join(names) or 'no space'}"],
            "name the space with --space",
        )
    return names[0]
