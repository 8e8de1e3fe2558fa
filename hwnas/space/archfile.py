"""Lists of architectures as JSON lines, read and named at the speed of 100,000 a second."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hwnas.arch import SCHEMA, Arch
from hwnas.errors import InputError
from hwnas.io.journal import canonical_json
from hwnas.protocols import Codes, SearchSpace


@dataclass(frozen=True)
class ArchList:
    """The lines of a file: ``codes`` of the good ones, what is wrong with the others.

    ``rows`` are the line indices (from 0) of ``codes``; ``errors`` maps the other line indices to
    their problem.
    """

    num_lines: int
    codes: Codes
    rows: np.ndarray[Any, np.dtype[np.int64]]
    errors: dict[int, str]


def read_archs(path: Path, space: SearchSpace, *, names: Sequence[str] = ()) -> ArchList:
    """Read architectures of ``space``, one JSON object a line; blank lines are errors of theirs.

    A byte order mark at the start and blank lines at the end, as editors leave them, are not read.

    Lines may name the space by any of ``names`` as well: spaces that differ in width or classes
    have the same choices.

    Raises:
        InputError: the file cannot be read. A bad line is not an exception but in ``errors``.
    """
    try:
        lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror}"]) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return parse_archs(lines, space, names=names)


def parse_archs(
    lines: Sequence[bytes], space: SearchSpace, *, names: Sequence[str] = ()
) -> ArchList:
    """Return the architectures of these lines, as :func:`read_archs` does those of a file."""
    tables = [
        (choice.name, {option: i for i, option in enumerate(choice.options)})
        for choice in space.choices
    ]
    num_choices, known = len(tables), {space.name, *names}
    # True and 3.0 are found where 1 and 3 are options, but are none
    numbered = [choice.name for choice in space.choices if type(choice.options[0]) is int]
    codes: list[list[int]] = []
    rows: list[int] = []
    errors: dict[int, str] = {}
    for number, line in enumerate(lines):
        try:
            value = orjson.loads(line)
            choices = value["choices"]
            if value["schema"] != SCHEMA or value["space"] not in known or len(value) != 3:
                raise ValueError
            codes.append([table[choices[key]] for key, table in tables])
            if len(choices) != num_choices or any(type(choices[n]) is not int for n in numbered):
                codes.pop()
                raise ValueError
            rows.append(number)
        except (ValueError, KeyError, TypeError):
            # says what is wrong, or knows choices that may be absent
            found = _checked(line, space, known)
            if isinstance(found, str):
                errors[number] = found
            else:
                codes.append(space.encode([found])[0].tolist())
                rows.append(number)
    array = np.array(codes, dtype=np.int16).reshape(len(codes), num_choices)
    return ArchList(len(lines), array, np.array(rows, dtype=np.int64), errors)


def _checked(line: bytes, space: SearchSpace, known: Collection[str]) -> Arch | str:
    """Return the architecture of a line that lacks a choice or more, or what is wrong with it."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    if isinstance(value, dict) and {"ks", "e", "d"} <= set(value):
        return _of_once_for_all(value, space)
    if not isinstance(value, dict) or set(value) != {"schema", "space", "choices"}:
        return "an architecture has exactly the keys schema, space and choices"
    if value["schema"] != SCHEMA:
        return f"schema must be {SCHEMA}, got {value['schema']!r}"
    if value["space"] not in list(known):
        return f"is of space {value['space']!r}, not of {space.name!r}"
    if not isinstance(value["choices"], dict):
        return "choices must be an object of choice: option"
    try:
        return space.arch(value["choices"])
    except InputError as error:
        return "; ".join(error.problems)


def _of_once_for_all(value: dict[str, Any], space: SearchSpace) -> Arch | str:
    """Return the architecture that Once-for-All's program writes as ``{ks, e, d, r}``.

    ``ks`` and ``e`` are kernel sizes and expansions of 4 blocks a stage, of which the first ``d``
    of the stage exist; ``r`` is the resolution, a number or a list of one.
    """
    stages = sum(choice.name.endswith(".depth") for choice in space.choices)
    kernels, expands, depths = (value[key] for key in ("ks", "e", "d"))
    lists = (kernels, expands, depths)
    if not stages or any(not isinstance(one, list) for one in lists):
        return f"ks, e and d are lists of Once-for-All's networks, which {space.name} does not hold"
    if len(depths) != stages or not len(kernels) == len(expands) == 4 * stages:
        return (
            f"ks and e must have {4 * stages} values and d {stages}, got {len(kernels)}, "
            f"{len(expands)} and {len(depths)}"
        )
    resolution = value.get("r", value.get("image_size"))
    choices: dict[str, Any] = {
        "resolution": resolution[0] if isinstance(resolution, list) and resolution else resolution
    }
    for stage, depth in enumerate(depths):
        choices[f"stage{stage + 1}.depth"] = depth
        for block in range(depth if type(depth) is int and 0 <= depth <= 4 else 0):
            name = f"stage{stage + 1}.block{block + 1}"
            choices[f"{name}.kernel_size"] = kernels[4 * stage + block]
            choices[f"{name}.expand_ratio"] = expands[4 * stage + block]
    try:
        return space.arch(choices)
    except InputError as error:
        return "; ".join(error.problems)


def arch_ids(space: SearchSpace, codes: Codes) -> list[str]:
    """Return the arch_id of each of ``(num_archs, num_choices)`` codes.

    The same ids as ``Arch.arch_id``, from text pieces made once per option.
    """
    order = sorted(range(len(space.choices)), key=lambda i: space.choices[i].name)
    pieces = [
        [
            f"{json.dumps(space.choices[i].name)}:{json.dumps(option)}"
            for option in space.choices[i].options
        ]
        + [""]
        for i in order
    ]
    tail = f'}},"schema":{SCHEMA},"space":{json.dumps(space.name)}}}'
    ids = []
    has_absent = bool((codes < 0).any())
    for row in codes[:, order].tolist():
        # -1, absent, indexes the last piece, which is empty
        parts: Sequence[str] = [piece[i] for piece, i in zip(pieces, row, strict=True)]
        if has_absent:
            parts = [part for part in parts if part]
        text = f'{{"choices":{{{",".join(parts)}{tail}'
        ids.append(hashlib.sha256(text.encode()).hexdigest()[:16])
    return ids


def read_arch(path: Path) -> dict[str, Any]:
    """Read one architecture file and return its object, its shape checked.

    Raises:
        InputError: not JSON, or not an architecture.
    """
    try:
        value = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except orjson.JSONDecodeError as error:
        raise InputError(str(path), [f"not JSON: {error}"]) from error
    if isinstance(value, dict) and isinstance(value.get("arch"), dict):
        value = value["arch"]  # an exported arch.json holds the architecture under this key
    if not isinstance(value, dict) or set(value) != {"schema", "space", "choices"}:
        raise InputError(
            str(path),
            [
                "an architecture has exactly the keys schema, space and "
                f"choices, got {canonical_json(value)[:80]}"
            ],
        )
    if (
        value["schema"] != SCHEMA
        or not isinstance(value["space"], str)
        or not isinstance(value["choices"], dict)
    ):
        raise InputError(
            str(path),
            [
                f"schema must be {SCHEMA}, space a name and choices an object "
                f"of choice: option, got {canonical_json(value)[:80]}"
            ],
        )
    return value
