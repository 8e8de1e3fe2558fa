"""Known accuracies from a file: JSON lines ``{"arch": {...}, "top1": 0.937}``.

The value of a network is the mean over the lines of all codes that build it: a benchmark that
trained each code by itself (NAS-Bench-201) holds several results of one network, which differ by
the luck of training only. Two numbers for one *code* are an error instead.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from hwnas.arch import SCHEMA, Arch
from hwnas.errors import InputError
from hwnas.protocols import Codes, SearchSpace
from hwnas.search.evaluators.registry import EvaluatorContext

MAX_PROBLEMS = 50  # problems of a file that are spelt out


class TableScores:
    """Top-1 of networks by a table. Implements ``protocols.CodeEvaluator``.

    ``names`` are further names of the space that lines may carry (other widths or classes have the
    same choices). ``num_codes`` and ``num_networks`` count what the file holds.

    Raises:
        InputError: lists every bad line: not JSON, another space, an impossible choice, a top1
            that is no fraction, a code that comes again with another number; or an empty file.
    """

    source = "table"

    def __init__(self, path: Path, space: SearchSpace, *, names: Collection[str] = ()) -> None:
        self.space = space
        archs, values = _read(path, space, {space.name, *names})
        codes = space.encode(archs)
        keys, places = np.unique(space.network_keys(codes), axis=0, return_inverse=True)
        counts = np.bincount(places.ravel())
        means = np.bincount(places.ravel(), weights=values) / counts
        self.num_codes, self.num_networks = len(codes), len(keys)
        self._known = dict(zip(map(tuple, keys.tolist()), means.tolist(), strict=True))

    def score(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` fractions; NaN where the table lacks the network."""
        keys = self.space.network_keys(codes).tolist()
        return np.array([self._known.get(tuple(key), np.nan) for key in keys], dtype=np.float64)


def build(context: EvaluatorContext) -> TableScores:
    """Return the table of a run's file."""
    assert context.file is not None  # the entry takes a file
    return TableScores(context.file, context.space)


def _read(
    path: Path, space: SearchSpace, known: Collection[str]
) -> tuple[list[Arch], NDArray[np.float64]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror}"]) from error
    found: dict[Arch, tuple[float, int]] = {}
    problems = []
    for number, line in enumerate(lines, start=1):
        parsed = _line(line, space, known)
        if isinstance(parsed, str):
            problems.append(f"line {number}: {parsed}")
            continue
        arch, value = parsed
        before, first = found.setdefault(arch, (value, number))
        if before != value:
            problems.append(
                f"line {number}: top1 is {value}, but line {first} says {before} of "
                "the same architecture"
            )
    if not lines:
        problems.append("holds no line")
    if problems:
        more = len(problems) - MAX_PROBLEMS
        shown = problems[:MAX_PROBLEMS] + ([f"and {more} more lines"] if more > 0 else [])
        raise InputError(
            str(path), shown, 'a line is {"arch": {...}, "top1": 0.937}, top1 a fraction'
        )
    return list(found), np.array([value for value, _ in found.values()])


def _line(line: bytes, space: SearchSpace, known: Collection[str]) -> tuple[Arch, float] | str:
    """Return the architecture and number of a line, or what is wrong with it."""
    try:
        value: Any = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        is_nan = any(word in line for word in (b"NaN", b"nan", b"Infinity"))
        return f"not JSON: {error}" + (
            "; JSON has no NaN or infinity: leave out networks without a number" if is_nan else ""
        )
    if not isinstance(value, dict) or not {"arch", "top1"} <= set(value):
        return "has not the keys arch and top1"
    arch, top1 = value["arch"], value["top1"]
    if isinstance(top1, bool) or not isinstance(top1, int | float) or not 0 <= top1 <= 1:
        return f"top1 must be a fraction between 0 and 1, got {top1!r}"
    if not isinstance(arch, dict) or set(arch) != {"schema", "space", "choices"}:
        return "an architecture has exactly the keys schema, space and choices"
    if arch["schema"] != SCHEMA:
        return f"schema must be {SCHEMA}, got {arch['schema']!r}"
    if arch["space"] not in list(known):
        return f"is of space {arch['space']!r}, not of {space.name!r}"
    if not isinstance(arch["choices"], dict):
        return "choices must be an object of choice: option"
    try:
        return space.arch(arch["choices"]), float(top1)
    except InputError as error:
        return "; ".join(error.problems)
