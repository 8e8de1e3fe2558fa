"""Latency tables: measured milliseconds per operation on one target, as text that diffs by line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import Measurement
from hwnas.errors import InputError, MissingRowError
from hwnas.io.journal import canonical_json, read_json, write_whole
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.ops import OpSpec

KEYS = ("schema", "header", "calibration", "validation", "networks", "entries")
STATISTICS = ("p5_ms", "p50_ms", "p90_ms", "p95_ms", "repeatability")


Finite = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]


class TableHeader(FileSchema):
    """Where a table's numbers are from; tables with different headers do not merge."""

    device: str
    runtime: str
    runtime_version: str
    precision: str
    threads: Annotated[int, Field(ge=1, le=4096)]
    affinity: str | None
    layout: str
    protocol: TimingProtocol | None  # None: numbers of others, measured in ways not recorded
    host: dict[str, str | int | list[int]]
    date: str
    seed: int = 0
    scope: dict[str, int] = Field(default_factory=dict)  # options of choices it was measured for
    provenance: dict[str, str] = Field(default_factory=dict)  # of an imported table: file, sha256

    def target(self) -> dict[str, Any]:
        """Return all that must agree for two tables to describe the same target."""
        content: dict[str, Any] = self.model_dump(exclude={"date", "provenance"})
        return content

    def differences(self, other: TableHeader) -> list[str]:
        """Return what keeps this target from being ``other``'s, one line a key."""
        theirs = other.target()
        return [
            f"{key} is {value!r}, but {theirs[key]!r}"
            for key, value in self.target().items()
            if value != theirs[key]
        ]


class MeasurementSchema(FileSchema):
    """A Measurement in a file; a published number (``num_rounds`` 0) has no statistics."""

    latency_ms: Milliseconds
    p5_ms: Milliseconds | None = None
    p50_ms: Milliseconds | None = None
    p90_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    num_rounds: Annotated[int, Field(ge=0, le=10**9)]
    num_runs: Annotated[int, Field(ge=0, le=10**12)]
    repeatability: Annotated[float, Field(ge=0, le=2)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> MeasurementSchema:
        given = [name for name in STATISTICS if getattr(self, name) is not None]
        if self.num_rounds and len(given) < len(STATISTICS):
            absent = ", ".join(name for name in STATISTICS if name not in given)
            raise ValueError(f"a measurement of {self.num_rounds} rounds also has {absent}")
        if not self.num_rounds and given:
            raise ValueError(f"a published number (num_rounds 0) has no {', '.join(given)}")
        return self

    def value(self) -> Measurement:
        """Return the frozen value."""
        if self.num_rounds == 0:
            return Measurement.published(self.latency_ms, self.num_runs)
        return Measurement(**self.model_dump())


class FormError(FileSchema):
    """How a form of calibration errs on networks left out of its fit, relative."""

    rms_rel_error: float
    mean_abs_rel_error: float
    max_abs_rel_error: float


class Calibration(FileSchema):
    """Whole-network latency of one space from its rows (the formula: ``composition.py``).

    ``form`` was chosen by ``left_out``, the errors of the forms compared; ``margin`` is how much
    larger the rms error of the next best form is (below 0: a more complex form errs less, but not
    reliably). Tables written before forms were compared have none.
    """

    scale: Finite
    per_op_ms: Finite
    constant_ms: Finite
    per_mparam_ms: Finite = 0.0
    per_cold_mparam_ms: Finite = 0.0
    per_mvalue_ms: Finite = 0.0
    corrections: dict[str, Finite] = Field(default_factory=dict)
    num_networks: Annotated[int, Field(ge=0, le=10**9)]
    mean_abs_rel_error: Finite
    max_abs_rel_error: Finite
    form: str | None = None
    left_out: dict[str, FormError] = Field(default_factory=dict)
    margin: float | None = None


class ErrorsSchema(BaseModel):
    """What is shown of a validation's errors; a block may hold more."""

    model_config = ConfigDict(strict=True)

    mean_abs_rel_error: Finite
    max_abs_rel_error: Finite | None = None
    within_5_percent: Finite | None = None
    kendall_tau: Finite


class ValidationSchema(ErrorsSchema):
    """What is shown of a space's validation; the block may hold more."""

    num_networks: int
    fastest_ms: Finite | None = None
    slowest_ms: Finite | None = None
    repeatability_mean: Finite
    macs_line: ErrorsSchema
    op_count_line: ErrorsSchema
    winners: ErrorsSchema | None = None


class ArchSchema(FileSchema):
    """An architecture in a table: the object an arch file holds."""

    schema_: Literal[1] = Field(alias="schema")
    space: str
    choices: dict[str, str | int]


class NetworkRecord(FileSchema):
    """A whole network that was measured together with the rows."""

    space: str
    role: Literal["sentinel", "calibrate", "validate", "winner"]
    is_sentinel: bool
    arch: dict[str, Any]
    measurement: MeasurementSchema

    @field_validator("arch")
    @classmethod
    def _is_arch(cls, value: dict[str, Any]) -> dict[str, Any]:
        ArchSchema.model_validate(value)
        return value


@dataclass(frozen=True)
class LatencyTable:
    """OpSpec to Measurement for one target, with what was measured beside."""

    header: TableHeader
    entries: Mapping[OpSpec, Measurement]
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    validation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: tuple[NetworkRecord, ...] = ()

    def row_ms(self, op: OpSpec) -> float:
        """Return the measured latency of ``op`` in ms.

        Raises:
            MissingRowError: there is no such row; names the nearest ones and how to measure it.
        """
        if op not in self.entries:
            raise self.missing([op])
        return self.entries[op].latency_ms

    def missing(self, ops: Sequence[OpSpec], space: str = "SPACE") -> MissingRowError:
        """Return the error that says which rows are missing and what measures them."""
        lines = [
            f"the table of {self.header.device} ({self.header.runtime}, "
            f"{self.header.precision}) has no row for {len(ops)} operation(s):"
        ]
        for op in ops[:5]:
            near = sorted(self.entries, key=lambda row: _distance(op, row))[:2]
            lines.append(f"  - {op}; nearest rows: " + ("; ".join(map(str, near)) or "none"))
        if len(ops) > 5:
            lines.append(f"  - and {len(ops) - 5} more")
        lines.append(
            f"Next: hwnas profile --device {self.header.device} --runtime {self.header.runtime} "
            f"--precision {self.header.precision} --space {space} --out FILE --resume measures "
            "what FILE lacks"
        )
        return MissingRowError("\n".join(lines))


def _distance(wanted: OpSpec, row: OpSpec) -> float:
    """Rank rows by likeness: kind first, then sizes (in octaves) and attributes."""
    sizes = zip(
        (*wanted.in_shape, wanted.out_channels), (*row.in_shape, row.out_channels), strict=True
    )
    distance = sum(abs(math.log2(a / b)) for a, b in sizes)
    if wanted.kind != row.kind:
        return distance + 1000
    for (_, a), (_, b) in zip(wanted.attrs, row.attrs, strict=True):
        is_size = type(a) is int and type(b) is int and a > 0 and b > 0
        distance += abs(math.log2(a / b)) if is_size else float(a != b)  # type: ignore[operator]
    return distance


def save_table(table: LatencyTable, path: Path) -> None:
    """Write a table, whole; rows sorted by operation, one a line.

    Raises:
        ValueError: a row is predicted: tables hold what was measured.
    """
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


def load_table(path: Path) -> LatencyTable:
    """Read a table, or a folder of tables of one target as one.

    Raises:
        InputError: all problems of the file at once.
    """
    if path.is_dir():
        return _load_folder(path)
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


def _load_folder(folder: Path) -> LatencyTable:
    paths = sorted(p for p in folder.glob("*.json") if p.is_file())
    if not paths:
        raise InputError(str(folder), ["holds no table (*.json)"])
    return merge_tables([load_table(path) for path in paths], [str(path) for path in paths])


def merge_tables(tables: Sequence[LatencyTable], names: Sequence[str]) -> LatencyTable:
    """Return one table with the rows of all; the first keeps precedence in nothing.

    Raises:
        InputError: headers differ, or two tables hold different numbers for one operation or
            different calibrations or validations of one space.
    """
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
