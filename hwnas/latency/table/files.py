"""Files of latency tables: text that diffs by line; a folder of files is read as one table."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.device.measurement import Measurement
from hwnas.errors import InputError
from hwnas.io.journal import canonical_json, read_json, write_whole
from hwnas.io.schemas import parse_model, require_no_leaving_links
from hwnas.latency.table.names import resolved
from hwnas.latency.table.schemas import (
    KEYS,
    Calibration,
    MeasurementSchema,
    NetworkRecord,
    TableHeader,
    ValidationSchema,
)
from hwnas.latency.table.scope import scope_problems, scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec

# writing --------------------------------------------------------------------------------------


def save_table(table: LatencyTable, path: Path) -> None:
    """Write a table: a file, or a folder with one file a scope where there are several scopes.

    A file appears as a whole, and so does a folder. Rows are sorted by operation, one a line.

    Raises:
        ValueError: a row is predicted: tables hold what was measured.
    """
    if table.parts:
        save_folder(table, path)
    else:
        _save_file(table, path)


def save_folder(table: LatencyTable, path: Path) -> None:
    """Write a table as a folder with one file a scope; the folder appears as a whole.

    Raises:
        ValueError: a row is predicted.
    """
    aside = path.parent / f".{path.name}.part"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was stopped here
    aside.mkdir(parents=True)
    for part in table.scopes:
        _save_file(part, aside / f"{scope_text(part.header.scope)}.json")
    os.replace(aside, path)


def _save_file(table: LatencyTable, path: Path) -> None:
    predicted = [op for op, row in table.entries.items() if row.source == "predicted"]
    if predicted:
        raise ValueError(
            f"{len(predicted)} rows are predicted, such as {predicted[0]}: a table "
            "file holds measured rows only"
        )
    rows = sorted(table.entries.items(), key=lambda item: item[0].key)
    lines = [
        canonical_json({"op": op.to_json(), **measurement.to_json()}) for op, measurement in rows
    ]
    networks = [canonical_json(network.model_dump()) for network in table.networks]
    calibration = {name: c.model_dump() for name, c in sorted(table.calibration.items())}
    parts = [
        '"schema": 1',
        f'"header": {json.dumps(table.header.model_dump(), indent=2)}',
        f'"calibration": {json.dumps(calibration, indent=2)}',
        f'"validation": {json.dumps(dict(table.validation), indent=2)}',
        '"networks": [\n' + ",\n".join(networks) + "\n]",
        '"entries": [\n' + ",\n".join(lines) + "\n]",
    ]
    write_whole(path, "{\n" + ",\n".join(parts) + "\n}\n")


def stored(folder: Path, stem: str) -> Path:
    """Return where a run folder holds a table: ``stem/`` if it has scopes, else ``stem.json``."""
    scoped = folder / stem
    return scoped if scoped.is_dir() else folder / f"{stem}.json"


def stored_name(table: LatencyTable, stem: str) -> str:
    """Return the name under which a run folder holds, or will hold, a table."""
    return stem if table.is_scoped else f"{stem}.json"


def store(table: LatencyTable, folder: Path, stem: str) -> None:
    """Write a table where :func:`stored` finds it."""
    path = folder / stored_name(table, stem)
    if table.is_scoped:
        save_folder(table, path)
    else:
        save_table(table, path)


def header_json(table: LatencyTable) -> dict[str, Any]:
    """Return a table's header for people, with the scopes and provenance of all its parts."""
    content: dict[str, Any] = table.target.model_dump()
    if table.is_scoped:
        content["scope"] = "; ".join(table.scope_names)
        content["provenance"] = {
            name: dict(part.header.provenance)
            for name, part in zip(table.scope_names, table.scopes, strict=True)
        }
    return content


# reading --------------------------------------------------------------------------------------


def load_table(path: Path) -> LatencyTable:
    """Read a table: a file, or a folder of files of one target, of one scope each or of none.

    Where there is no such path, ``path`` may be the name of a table that comes with hwnas.

    Raises:
        InputError: all problems of a file at once; two tables of one scope, or scopes over
            different choices; tables of different targets; links that lead out of the folder.
    """
    path = resolved(path)
    if not path.is_dir():
        return _load_file(path)
    require_no_leaving_links(path, "folder of tables")
    files = sorted(p for p in path.glob("*.json") if p.is_file())
    if not files:
        raise InputError(
            str(path),
            ["holds no table (*.json)"],
            "hwnas profile and hwnas lut import write tables",
        )
    tables, problems = [], []
    for file in files:
        try:
            tables.append(_load_file(file))
        except InputError as error:
            problems += [f"{file.name}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(str(path), problems)
    if not any(table.header.scope for table in tables):
        return merge_tables(tables, [str(file) for file in files])
    return _join_scopes(path, tables, [file.name for file in files])


def _join_scopes(
    folder: Path, tables: Sequence[LatencyTable], names: Sequence[str]
) -> LatencyTable:
    scopes = {name: table.header.scope for name, table in zip(names, tables, strict=True)}
    problems = scope_problems(scopes)
    first = tables[0].header
    for table, name in zip(tables[1:], names[1:], strict=True):
        unscoped = table.header.model_copy(update={"scope": first.scope})
        problems += [
            f"{name}: {difference} in {names[0]}" for difference in unscoped.differences(first)
        ]
    if problems:
        raise InputError(
            str(folder),
            problems,
            "a folder holds the tables of one target, each of "
            "a scope of its own; keep others apart",
        )
    return LatencyTable.of_scopes(tables)


def _load_file(path: Path) -> LatencyTable:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != 1:
        raise InputError(
            str(path),
            ['is not a latency table: it must be an object with "schema": 1'],
            "hwnas profile writes tables",
        )
    problems = [
        f"unknown key {key!r}; a table has {', '.join(KEYS)}"
        for key in sorted(set(content) - set(KEYS))
    ]
    header = _parsed(TableHeader, content.get("header"), "header", problems)
    entries = _parse_entries(content.get("entries"), problems)
    calibration = {
        name: _parsed(Calibration, value, f"calibration.{name}", problems)
        for name, value in _section(content, "calibration", dict, problems).items()
    }
    validation = _section(content, "validation", dict, problems)
    for name, value in validation.items():
        _parsed(ValidationSchema, value, f"validation.{name}", problems)
    networks = [
        _parsed(NetworkRecord, value, f"networks.{i}", problems)
        for i, value in enumerate(_section(content, "networks", list, problems))
    ]
    if problems:
        raise InputError(str(path), problems)
    return LatencyTable(header, entries, calibration, validation, tuple(networks))


def _section(content: Mapping[str, Any], key: str, kind: type, problems: list[str]) -> Any:
    """Return an optional part of a table, empty where it is absent or of another kind."""
    value = content.get(key, kind())
    if isinstance(value, kind):
        return value
    problems.append(f"{key} must be {'an object' if kind is dict else 'a list'}")
    return kind()


def _parsed(model: type[Any], value: Any, place: str, problems: list[str]) -> Any:
    try:
        return parse_model(model, value, what=place)
    except InputError as error:
        problems += [f"{place}: {problem}" for problem in error.problems]
        return None


def _parse_entries(rows: Any, problems: list[str]) -> dict[OpSpec, Measurement]:
    entries: dict[OpSpec, Measurement] = {}
    if not isinstance(rows, list):
        problems.append("entries must be a list of rows")
        return entries
    for number, row in enumerate(rows):
        place = f"entries.{number}"
        if not isinstance(row, dict) or "op" not in row:
            problems.append(f"{place}: a row is an object with the key op")
            continue
        try:
            op = OpSpec.from_json(row["op"])
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        rest = {key: value for key, value in row.items() if key != "op"}
        measurement = _parsed(MeasurementSchema, rest, place, problems)
        if op in entries:
            problems.append(f"{place}: a second row for {op}")
        elif measurement is not None:
            entries[op] = measurement.value()
    return entries


# merging --------------------------------------------------------------------------------------


def merge_tables(tables: Sequence[LatencyTable], names: Sequence[str]) -> LatencyTable:
    """Return one table with the rows of all tables; ``names`` are for errors.

    Raises:
        InputError: headers differ, a table has several scopes, or two tables hold different
            numbers for one operation or different calibrations or validations of one space.
    """
    scoped = [
        f"{name}: holds several scopes"
        for table, name in zip(tables, names, strict=True)
        if table.parts
    ]
    if scoped:
        raise InputError(", ".join(names), scoped, "merge the tables of one scope at a time")
    first = tables[0]
    problems = []
    for table, name in zip(tables[1:], names[1:], strict=True):
        problems += [
            f"{name}: {difference} in {names[0]}"
            for difference in table.header.differences(first.header)
        ]
    entries: dict[OpSpec, Measurement] = {}
    for table, name in zip(tables, names, strict=True):
        for op, measurement in table.entries.items():
            if op in entries and entries[op] != measurement:
                problems.append(f"{name}: a second, different row for {op}")
            entries[op] = measurement
    calibration = _union("calibration", [t.calibration for t in tables], names, problems)
    validation = _union("validation", [t.validation for t in tables], names, problems)
    networks = [network for table in tables for network in table.networks]
    if problems:
        raise InputError(
            ", ".join(names),
            problems,
            "tables of different targets, or measured twice, stay apart: choose one",
        )
    return replace(
        first,
        entries=entries,
        calibration=calibration,
        validation=validation,
        networks=tuple(n for i, n in enumerate(networks) if n not in networks[:i]),
    )


def _union(
    what: str, parts: Sequence[Mapping[str, Any]], names: Sequence[str], problems: list[str]
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part, name in zip(parts, names, strict=True):
        for space, block in part.items():
            if merged.setdefault(space, block) != block:
                problems.append(f"{name}: a second, different {what} of {space}")
    return merged
