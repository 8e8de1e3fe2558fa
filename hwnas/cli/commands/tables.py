"""What the verbs on tables do: load with messages, show, compare, check, predict."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from hwnas.cli.output import print_json, print_table, print_text
from hwnas.device.measurement import Measurement
from hwnas.errors import InputError, UsageError
from hwnas.latency.lut.calibration import describe
from hwnas.latency.models import model_name
from hwnas.latency.table.files import load_table, save_table
from hwnas.latency.table.scope import scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.latency.table.units import problems_of, require_plausible
from hwnas.ops import OpSpec
from hwnas.pipeline.prediction import predictor_of
from hwnas.space.archfile import arch_ids, read_arch, read_archs
from hwnas.space.catalogue import load_space

if TYPE_CHECKING:
    from hwnas.latency.drift.check import TableCheck
    from hwnas.latency.lut.breakdown import Breakdown

logger = logging.getLogger(__name__)


def predict_file(
    space: str, lut: Path, archs: Path, name: str, *, force: bool, as_json: bool
) -> tuple[str, int]:
    """Return one line per architecture, in order, and how many of them are errors.

    Of a network all of whose rows are measured the source is the table's, whatever predictor.
    """
    tables = load_table(lut)
    if not force:
        require_plausible(tables, str(lut))
    predictor = predictor_of(load_space(space), tables, name)
    listed = read_archs(archs, predictor.space)
    predicted = predictor.predict_ms(listed.codes)
    ids = arch_ids(predictor.space, listed.codes)
    sources = predictor.sources(listed.codes)
    lines: list[str] = [""] * listed.num_lines
    errors = dict(listed.errors)
    covered = np.isfinite(predicted)
    for index in np.flatnonzero(~covered):
        arch = predictor.space.decode(listed.codes[index : index + 1])[0]
        errors[int(listed.rows[index])] = str(predictor.missing_of(arch)).replace("\n", " ")
    rounded = np.round(predicted, 12)  # as in files: exact sums stay exact
    for row, arch_id, latency_ms, source, good in zip(
        listed.rows.tolist(), ids, rounded.tolist(), sources, covered.tolist(), strict=True
    ):
        if good:
            lines[row] = (
                f'{{"arch_id": "{arch_id}", "latency_ms": {latency_ms}, "source": "{source}"}}'
                if as_json
                else f"{arch_id}  {latency_ms:.6g} ms  {source}"
            )
    for row, problem in errors.items():
        lines[row] = orjson.dumps({"error": problem}).decode() if as_json else f"error: {problem}"
    return "\n".join(lines) + ("\n" if lines else ""), len(errors)


def predictor_name(text: str) -> str:
    """Return the predictor called ``text``; UsageError says which there are."""
    return model_name(text, needs="table")


def show_table(
    file: Path, *, hot: bool, as_json: bool, space: str | None = None, arch: Path | None = None
) -> None:
    """Print provenance, rows, calibration and validation of a table or a folder of scoped ones.

    As JSON a folder is ``{"tables": [...]}`` of what a single table gives. ``hot`` adds where the
    time of networks goes, where their space is known: ``space``, or the only one of the table.
    """
    tables = load_table(file)
    for problem in problems_of(tables):
        logger.warning(f"{file}: {problem}")
    if as_json:
        shown = [_table_json(table, hot=hot) for table in tables.scopes]
        content = {"tables": shown} if file.is_dir() and tables.is_scoped else shown[0]
        where = _breakdown_of(tables, space, arch) if hot else None
        print_json(content if where is None else {**content, "hot": where.to_json()})
        return
    for table in tables.scopes:
        _print_table(table, hot=hot)
    if hot:
        _print_breakdown(_breakdown_of(tables, space, arch))


HOTTEST = 15  # rows shown


def _breakdown_of(tables: LatencyTable, space: str | None, arch: Path | None) -> Breakdown | None:
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


def _print_breakdown(found: Breakdown | None) -> None:
    if found is None:
        logger.info("Next: --space NAME (or --arch FILE) says where the time of its networks goes")
        return
    print_text(
        f"where the time of {found.num_networks} network(s) of {found.space} goes "
        f"({found.mean_ms:.4g} ms in the mean); cost is share of time over share of MACs"
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
                        _shown(part.cost, ".2f"),
                        part.name,
                    ]
                    for part in listed[:HOTTEST]
                ],
            )


def _rows(table: LatencyTable, *, hot: bool) -> list[tuple[OpSpec, Measurement]]:
    """Return a table's rows by operation, or slowest first."""
    rows = sorted(table.entries.items(), key=lambda item: item[0].key)
    return sorted(rows, key=lambda item: -item[1].latency_ms) if hot else rows


def _table_json(table: LatencyTable, *, hot: bool) -> dict[str, Any]:
    return {
        "header": table.header.model_dump(),
        "calibration": {k: c.model_dump() for k, c in table.calibration.items()},
        "validation": dict(table.validation),
        "entries": [{"op": op.to_json(), **m.to_json()} for op, m in _rows(table, hot=hot)],
    }


def _print_table(table: LatencyTable, *, hot: bool) -> None:
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
            for op, m in _rows(table, hot=hot)
        ],
    )
    for space, c in table.calibration.items():
        print_text(f"calibration {space}: {describe(c)}")
    print_validation(table)


def print_validation(table: LatencyTable) -> None:
    """Print each space's validation beside its repeatability, the MACs line and the op count."""
    for space, v in table.validation.items():
        print_text(
            f"validation {space}: {v['num_networks']} networks, "
            f"{_shown(v.get('fastest_ms'), '.4g')} to {_shown(v.get('slowest_ms'), '.4g')} "
            f"ms; repeatability {v['repeatability_mean']:.2%}"
        )
        rows = [
            [
                name,
                f"{e['mean_abs_rel_error']:.2%}",
                _shown(e.get("max_abs_rel_error"), ".2%"),
                _shown(e.get("within_5_percent"), ".1%"),
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


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def import_files(
    files: Sequence[Path],
    table_format: str,
    out: Path,
    *,
    space: str | None,
    target: tuple[str, str, str, int, str | None],
    force: bool,
) -> list[tuple[Path, list[str]]]:
    """Write published tables into ``out``; return each file with what there is to say of it.

    ``target``: device, runtime, precision, threads, affinity, which the files do not say.
    ``space``: of the networks in files of the format ``sums``, which need it.
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


def diff_tables(old: Path, new: Path, *, as_json: bool) -> None:
    """Print which operations moved, appeared or went between two tables."""
    before, after = load_table(old), load_table(new)
    common = [op for op in before.entries if op in after.entries]
    moved = sorted(
        ((after.entries[op].latency_ms / before.entries[op].latency_ms, op) for op in common),
        key=lambda pair: -abs(np.log(pair[0])),
    )
    header = {
        key: [value, after.header.target()[key]]
        for key, value in before.header.target().items()
        if value != after.header.target()[key]
    }
    gone = [op for op in before.entries if op not in after.entries]
    added = [op for op in after.entries if op not in before.entries]
    if as_json:
        print_json(
            {
                "header": header,
                "moved": [{"op": op.to_json(), "ratio": ratio} for ratio, op in moved],
                "gone": [op.to_json() for op in gone],
                "added": [op.to_json() for op in added],
            }
        )
        return
    for key, (a, b) in header.items():
        print_text(f"header {key}: {a} -> {b}")
    print_table(
        ["ratio", "old_ms", "new_ms", "operation"],
        [
            [
                f"{ratio:.3f}",
                f"{before.entries[op].latency_ms:.4g}",
                f"{after.entries[op].latency_ms:.4g}",
                str(op),
            ]
            for ratio, op in moved
        ],
    )
    for word, ops in (("gone", gone), ("added", added)):
        for op in ops:
            print_text(f"{word}: {op}")


def state_text(state: Mapping[str, Any]) -> str:
    """Return what is known of a device's state, in one line."""
    known = [f"{key} {value}" for key, value in state.items() if value not in (None, [], {}, "")]
    return ", ".join(known) or "nothing is known"


def check_file(
    file: Path,
    device: str,
    space: str | None,
    anchors: int,
    *,
    spread_s: float = 0.0,
    update: bool,
) -> tuple[TableCheck, Path | None]:
    """Time a table's anchors again on ``device``; with ``update`` write a table of today."""
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


def summary(table: LatencyTable, out: Path) -> dict[str, Any]:
    """Return what ``hwnas profile --json`` prints."""
    return {
        "table": str(out),
        "num_ops": len(table.entries),
        "calibration": {k: c.model_dump() for k, c in table.calibration.items()},
        "validation": dict(table.validation),
    }
