"""Latency tables that others published, read into ours.

Two formats are known, both YAML of one mapping per operation with its ``mean`` in ms:

- ``ofa``: tables of the Once-for-All MobileNetV3 space (Cai et al., ICLR 2020; published for the
  Samsung Note10 beside github.com/mit-han-lab/once-for-all), one file per input resolution;
  ``expand`` is the number of hidden channels.
- ``proxyless``: the table of the ProxylessNAS ImageNet space (Cai et al., ICLR 2019; published for
  the Pixel 1 beside github.com/mit-han-lab/proxylessnas); ``expand`` is a ratio.

A block is one row there as here. What follows the last block is several rows there and one
operation here, so their means are added. The rows of a resolution were timed inside networks of
that resolution, and two files hold different numbers for one operation: an ``ofa`` table has the
scope of its resolution.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import yaml

from hwnas.device.device import DEVICE_NAME, cpu_list
from hwnas.device.measurement import Measurement
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import InputError, UsageError
from hwnas.export.formats import PRECISIONS
from hwnas.io.schemas import read_text
from hwnas.latency.table.files import load_table
from hwnas.latency.table.published_rows import Row, read_rows
from hwnas.latency.table.schemas import TableHeader
from hwnas.latency.table.scope import scope_problems, scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.latency.table.units import implausible
from hwnas.ops import OpSpec, Shape, make_divisible

SQUEEZE_RATIO = 4  # hidden channels over those of squeeze-and-excite, in both supernets
VALUE_KEYS = {"ofa": {"count", "mean", "std"}, "proxyless": {"count", "mean", "var"}}
FORMATS = tuple(VALUE_KEYS)

MAX_BYTES = 4 << 20  # of a table: published ones have 40 kB

_BLOCK = re.compile(
    r"expanded_conv-input:(\d+)x(\d+)x(\d+)-output:(\d+)x(\d+)x(\d+)"
    r"-expand:(\d+)-kernel:(\d+)-stride:(\d+)-idskip:([01])(?:-se:([01])-hs:([01]))?"
)
_PART = re.compile(
    r"(Conv|Conv_1|AvgPool2D|Conv_2|Logits)-input:(\d+)x(\d+)x(\d+)-output:(?:(\d+)x(\d+)x)?(\d+)"
)
_HEAD = {"ofa": ("Conv_1", "AvgPool2D", "Conv_2", "Logits"), "proxyless": ("Conv_1", "Logits")}


@dataclass(frozen=True)
class Part:
    """A part of a network that is not a block; an output without a size is (C, 1, 1)."""

    in_shape: Shape
    out_shape: Shape


def import_tables(
    files: Sequence[Path], table_format: str, header: TableHeader, *, force: bool = False
) -> list[LatencyTable]:
    """Return the tables of published files; ``header`` is what they do not say themselves.

    Raises:
        UsageError: an unknown format.
        InputError: all problems of all files: rows that are no latency or no operation of the
            format, latencies implausible in ms (unless ``force``), two files of one scope.
    """
    if table_format not in FORMATS:
        raise UsageError(
            f"--format {table_format!r} is not known; it is one of {', '.join(FORMATS)}, sums"
        )
    tables: dict[str, LatencyTable] = {}
    problems: list[str] = []
    for file in files:
        if str(file) in tables:
            problems.append(f"{file}: is given twice")
            continue
        own: list[str] = []
        table = _import(file, table_format, header, own, force=force)
        problems += [f"{file}: {problem}" for problem in own]
        if table is not None and not own:
            tables[str(file)] = table
    if tables:
        problems += scope_problems({name: t.header.scope for name, t in tables.items()})
    if problems:
        raise InputError(
            f"--format {table_format}",
            problems,
            "nothing was written; put the files right, or name the other format",
        )
    return list(tables.values())


def require_place(tables: Sequence[LatencyTable], folder: Path) -> dict[Path, LatencyTable]:
    """Return where in ``folder`` each table may be written.

    Raises:
        InputError: a file is there already, or a table there is of another target or of one of
            these scopes.
    """
    paths = {folder / f"{_file_name(table.header)}.json": table for table in tables}
    problems = [f"{path.name} is there already" for path in paths if path.exists()]
    there = {
        file.name: load_table(file) for file in sorted(folder.glob("*.json")) if file not in paths
    }
    for name, other in there.items():
        unscoped = other.header.model_copy(update={"scope": tables[0].header.scope})
        problems += [
            f"{name}: {difference} in the imported tables"
            for difference in unscoped.differences(tables[0].header)
        ]
    scopes = {name: other.header.scope for name, other in there.items()}
    if scopes:
        new = {path.name: table.header.scope for path, table in paths.items()}
        problems += scope_problems({**scopes, **new})
    if problems:
        raise InputError(str(folder), problems, "choose another --out")
    return paths


def _file_name(header: TableHeader) -> str:
    name = f"{header.runtime}-{header.precision}-t{header.threads}"
    name += f"-{header.affinity}" if header.affinity else ""
    return f"{name}-{scope_text(header.scope)}" if header.scope else name


def _import(
    file: Path, table_format: str, header: TableHeader, problems: list[str], *, force: bool
) -> LatencyTable | None:
    try:
        text = read_text(file, MAX_BYTES)
        rows = dict(read_rows(text, VALUE_KEYS[table_format], problems))
    except InputError as error:
        problems += error.problems
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        problems.append(f"not YAML: {reason}")
        return None
    other = _other_format(rows, table_format)
    if other is not None:
        problems[:] = [f"is of the {other} format"]
        return None
    if not rows and not problems:
        problems.append("holds no row")
    entries, resolution = _operations(rows, table_format, problems)
    problem = None if force or problems else implausible(entries, header.precision)
    if problem is not None:
        problems.append(f"{problem}. Next: convert them; --force takes them as they are")
    if problems:
        return None
    provenance = {
        "format": table_format,
        "file": file.name,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "latency_ms": "mean of the file's rows; those of the head are added",
    }
    scope = {"resolution": resolution} if table_format == "ofa" else {}
    own = header.model_copy(update={"scope": scope, "provenance": provenance})
    return LatencyTable(own, entries)


def _other_format(rows: Mapping[str, Row], table_format: str) -> str | None:
    """Return the format of the blocks, if it is not the one asked for."""
    blocks = [found for key in rows if (found := _BLOCK.fullmatch(key))]
    formats = {"proxyless" if found[11] is None else "ofa" for found in blocks}
    return formats.pop() if len(formats) == 1 and table_format not in formats else None


# rows to operations ---------------------------------------------------------------------------


def _operations(
    rows: Mapping[str, Row], table_format: str, problems: list[str]
) -> tuple[dict[OpSpec, Measurement], int]:
    """Return the operations of a network's rows, and the resolution of its input."""
    entries: dict[OpSpec, Measurement] = {}
    named: dict[str, tuple[Part, Row]] = {}
    for key, row in rows.items():
        block, part = _BLOCK.fullmatch(key), _PART.fullmatch(key)
        if block is not None and (block[11] is not None) == (table_format == "ofa"):
            op = _made(key, partial(_block, block, table_format), problems)
            if op in entries:
                problems.append(f"{key}: a second row of the same operation")
            elif op is not None:
                entries[op] = Measurement.published(row.mean_ms, row.count)
        elif part is not None and part[1] in ("Conv", *_HEAD[table_format]):
            if part[1] in named:
                problems.append(f"{key}: a second {part[1]}; a table is of one network's input")
            named[part[1]] = (_part(part), row)
        else:
            problems.append(f"{key}: is no operation of the {table_format} format")
    problems += [
        f"{name} is missing, which every network has"
        for name in ("Conv", *_HEAD[table_format])
        if name not in named
    ]
    if problems:
        return entries, 0
    stem, stem_row = named.pop("Conv")
    op = _made("Conv", partial(_stem, stem, table_format), problems)
    chain = [named[name][0] for name in _HEAD[table_format]]
    head = _made("the head", partial(_head, chain, table_format), problems)
    if op is not None and head is not None:
        head_rows = [named[name][1] for name in _HEAD[table_format]]
        entries[op] = Measurement.published(stem_row.mean_ms, stem_row.count)
        entries[head] = Measurement.published(
            math.fsum(row.mean_ms for row in head_rows), min(row.count for row in head_rows)
        )
    return entries, stem.in_shape[1]


def _made(what: str, make: Callable[[], OpSpec], problems: list[str]) -> OpSpec | None:
    try:
        return make()
    except ValueError as error:
        problems.append(f"{what}: {error}")
        return None


def _block(found: re.Match[str], table_format: str) -> OpSpec:
    height, width, channels, out_height, out_width, out_channels = map(int, found.groups()[:6])
    expand, kernel, stride = map(int, found.groups()[6:9])
    hidden = expand if table_format == "ofa" else make_divisible(channels * expand)
    # a block whose hidden width is its input's has no expansion: no ratio of the spaces is 1
    act = {"0": "relu", "1": "hswish", None: "relu6"}[found[12]]
    op = OpSpec.make(
        "mbconv",
        (channels, height, width),
        out_channels,
        kernel=kernel,
        stride=stride,
        hidden=hidden,
        expand=hidden != channels,
        act=act,
        residual=found[10] == "1",
        se_width=make_divisible(hidden / SQUEEZE_RATIO) if found[11] == "1" else 0,
    )
    if op.out_shape != (out_channels, out_height, out_width):
        raise ValueError(
            f"stride {stride} gives {op.out_shape[1]}x{op.out_shape[2]}, the row "
            f"says {out_height}x{out_width}"
        )
    return op


def _part(found: re.Match[str]) -> Part:
    height, width, channels = map(int, found.groups()[1:4])
    out = int(found[7]), int(found[5] or 1), int(found[6] or 1)
    return Part((channels, height, width), out)


def _stem(stem: Part, table_format: str) -> OpSpec:
    """Return the stem, in both spaces a 3x3 convolution with stride 2."""
    channels, height, width = stem.in_shape
    op = OpSpec.make(
        "conv",
        stem.in_shape,
        stem.out_shape[0],
        kernel=3,
        stride=2,
        act="hswish" if table_format == "ofa" else "relu6",
    )
    if channels != 3 or height != width or op.out_shape != stem.out_shape:
        raise ValueError(
            f"must halve a square image of 3 channels, got {stem.in_shape} -> {stem.out_shape}"
        )
    return op


def _head(chain: Sequence[Part], table_format: str) -> OpSpec:
    """Return the head of ``Conv_1``, pooling, further layers: each takes what comes before it."""
    for before, after in pairwise(chain):
        if before.out_shape != after.in_shape:
            raise ValueError(
                f"a layer takes {after.in_shape}, but the one before it gives {before.out_shape}"
            )
    hidden, classes = chain[0].out_shape[0], chain[-1].out_shape[0]
    if table_format == "proxyless":  # pooling is part of Logits
        return OpSpec.make("head", chain[0].in_shape, classes, hidden=hidden, act="relu6")
    return OpSpec.make(
        "head",
        chain[0].in_shape,
        classes,
        hidden=hidden,
        act="hswish",
        features=chain[2].out_shape[0],
        features_bias=False,
    )


def published_header(
    device: str, runtime: str, precision: str, threads: int, affinity: str | None
) -> TableHeader:
    """Return the header of a table that others measured; the files name no versions or dates.

    Raises:
        UsageError: a name that no device could have, an unknown runtime or precision, or CPUs that
            are no list.
    """
    problems = []
    if not re.fullmatch(DEVICE_NAME, device):
        problems.append(f"--device {device!r} must be a name of a-z, 0-9, dots and hyphens")
    if runtime not in RUNTIMES:
        problems.append(f"--runtime {runtime!r} must be one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        problems.append(f"--precision {precision!r} must be one of {', '.join(PRECISIONS)}")
    try:
        affinity = affinity and cpu_list(affinity)
    except ValueError as error:
        problems.append(f"--affinity {affinity!r} {error}")
    if problems:
        raise UsageError("; ".join(problems))
    return TableHeader(
        device=device,
        runtime=runtime,
        runtime_version=f"{runtime}, version not recorded",
        precision=precision,
        threads=threads,
        affinity=affinity,
        layout=RUNTIMES[runtime].layout,
        protocol=None,
        host={},
        date="at a time not recorded",
    )
