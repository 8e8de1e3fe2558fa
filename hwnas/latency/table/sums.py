"""A table solved out of whole networks' latencies that are sums of its rows.

Some published latencies are sums of a per-layer table that was never published itself, such as
those of FBNet's networks on a Pixel 3 and a Raspberry Pi 4 in HW-NAS-Bench (Li et al., ICLR 2021).
``sums_solver.py`` solves for the rows. This module reads the files and refuses:

- networks that do not determine rows which all networks of the space would, with the operations;
- too few networks for a residual to be a test;
- latencies that are no sums, by more than their rounding explains. Latencies of networks measured
  as a whole are not sums, and neither are those in which equal operations take different times in
  different places (equal operations share a row). A few lines that do not fit are named.

The table holds rank and residual in its provenance.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from hwnas.device.measurement import Measurement
from hwnas.errors import InputError
from hwnas.latency.table.schemas import TableHeader
from hwnas.latency.table.sums_solver import MAX_WRONG, Array, Solution, solve
from hwnas.latency.table.table import LatencyTable
from hwnas.latency.table.units import implausible
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, SearchSpace

SPARE = 0.1  # networks beyond the rank, as a share of it, that a residual needs to say anything
LARGEST_MS = 1e9
SHOWN = 10


@dataclass(frozen=True)
class Sums:
    """Networks and their latencies: ``codes (n, num_choices)``, ``latency_ms (n,)``, ``places``."""

    codes: Codes
    latency_ms: Array
    places: tuple[str, ...]


def import_sums(
    files: Sequence[Path], space: SearchSpace, header: TableHeader, *, force: bool = False
) -> LatencyTable:
    """Return the table whose sums the files' latencies are.

    ``force`` takes what is no sum as a least-squares fit, and leaves out rows that the networks
    leave open.

    Raises:
        InputError: all problems of all files; too few networks; latencies that are no sums.
    """
    sums = read_sums(files, space)
    solution = solve(space, sums.codes, sums.latency_ms)
    problems = complaints(space, sums, solution)
    entries = _entries(solution)
    unit = implausible(entries, header.precision)
    problems += [unit] if unit is not None else []
    if problems and not force:
        raise InputError(
            "--format sums",
            problems,
            "nothing was written; --force fits what can be "
            "fitted, leaves out the rows that stay open, and says so in the table",
        )
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    provenance = {
        "format": "sums",
        "file": ", ".join(file.name for file in files),
        "sha256": digest.hexdigest(),
        "space": space.name,
        "latency_ms": "solved from sums over whole networks",
        **solution.statement(),
        **({"forced": "; ".join(problems)} if problems else {}),
    }
    return LatencyTable(header.model_copy(update={"provenance": provenance}), entries)


def _entries(solution: Solution) -> dict[OpSpec, Measurement]:
    left_out = set(solution.open_ops)
    return {
        op: Measurement.published(ms, int(count))
        for op, ms, count in zip(
            solution.ops, solution.row_ms.tolist(), solution.num_networks, strict=True
        )
        if op not in left_out and count
    }


def complaints(space: SearchSpace, sums: Sums, solution: Solution) -> list[str]:
    """Return why the latencies are not sums that determine a table."""
    problems = []
    wanted = math.ceil(solution.rank * (1 + SPARE)) + 1
    if len(sums.codes) < wanted:
        problems.append(
            f"{len(sums.codes)} networks cannot show whether they are sums: their rows "
            f"have rank {solution.rank}, so at least {wanted} are needed"
        )
    if solution.open_ops:
        shown = "; ".join(map(str, solution.open_ops[:SHOWN]))
        more = len(solution.open_ops) - SHOWN
        problems.append(
            f"the networks have rank {solution.rank}, those of {space.name} {solution.space_rank}: "
            f"{len(solution.open_ops)} rows stay open: {shown}"
            + (f"; and {more} more" if more > 0 else "")
            + _never_used(space, sums.codes)
        )
    misfits = solution.misfits
    if not len(misfits):
        return problems
    if len(misfits) <= MAX_WRONG * len(sums.codes):
        for place in misfits[:SHOWN].tolist():
            problems.append(
                f"{sums.places[place]}: {sums.latency_ms[place]:.9g} ms is no sum of the rows of "
                f"the other networks, which give "
                f"{sums.latency_ms[place] - solution.residual_ms[place]:.9g} ms"
            )
        if len(misfits) > SHOWN:
            problems.append(f"and {len(misfits) - SHOWN} more lines that fit no sum")
        return problems
    relative = np.abs(solution.residual_ms) / sums.latency_ms
    problems.append(
        f"they are no sums of one table: the best one misses them by {relative.mean():.2%} in the "
        f"mean, at most {relative.max():.2%} ({sums.places[int(relative.argmax())]}), where sums "
        f"leave {np.median(solution.tolerance_ms):.2g} ms. Networks measured as a whole are none, "
        "nor are sums in which equal operations take different times"
    )
    return problems


def _never_used(space: SearchSpace, codes: Codes) -> str:
    absent = [
        f"{choice.name}={option}"
        for column, choice in enumerate(space.choices)
        for index, option in enumerate(choice.options)
        if not (codes[:, column] == index).any()
    ]
    more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
    return f". No network has {', '.join(absent[:SHOWN])}{more}" if absent else ""


# reading ------------------------------------------------------------------------------------


def read_sums(files: Sequence[Path], space: SearchSpace) -> Sums:
    """Read lines ``{"arch": {...}, "latency_ms": 3.1}``; blank lines are left out.

    Raises:
        InputError: all problems of all files, by line.
    """
    codes, latencies, places = [], [], []
    problems: list[str] = []
    for file in files:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror}")
            continue
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            place = f"{file.name} line {number}"
            try:
                arch, latency_ms = _line(line, space)
            except InputError as error:
                problems += [f"{place}: {problem}" for problem in error.problems]
                continue
            codes.append(arch)
            latencies.append(latency_ms)
            places.append(place)
    if not codes and not problems:
        problems.append("there is no network in " + ", ".join(map(str, files)))
    if problems:
        more = len(problems) - SHOWN
        shown = problems[:SHOWN] + ([f"and {more} more problems"] if more > 0 else [])
        raise InputError(
            "--format sums",
            shown,
            'each line is {"arch": {"schema": 1, "space": '
            f'"{space.name}", "choices": {{...}}}}, "latency_ms": 3.1}}',
        )
    return Sums(np.array(codes, dtype=np.int16), np.array(latencies), tuple(places))


def _line(line: bytes, space: SearchSpace) -> tuple[list[int], float]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError("", [f"not JSON: {error}"]) from None
    if not isinstance(value, dict) or not {"arch", "latency_ms"} <= set(value) <= {
        "arch",
        "latency_ms",
        "device",
    }:
        raise InputError("", ["must hold arch and latency_ms (and may hold device), nothing else"])
    arch, latency_ms = value["arch"], value["latency_ms"]
    problems = []
    if type(latency_ms) not in (int, float) or not 0 < latency_ms < LARGEST_MS:
        problems.append(
            f"latency_ms must be a number above 0 and below {LARGEST_MS:g}, got "
            f"{str(latency_ms)[:80]}"
        )
    if not isinstance(arch, dict) or set(arch) != {"schema", "space", "choices"}:
        problems.append("arch must have exactly the keys schema, space and choices")
    elif arch["schema"] != 1 or not isinstance(arch["choices"], dict):
        problems.append("arch must be of schema 1, its choices an object")
    elif arch["space"] != space.name:
        problems.append(f"arch is of space {str(arch['space'])[:80]!r}, not of {space.name!r}")
    if problems:
        raise InputError("", problems)
    found = space.encode([space.arch(arch["choices"])])[0].tolist()
    return found, float(latency_ms)
