"""Latency tables: milliseconds per operation on one target.

A table holds rows for every network of a space, or rows for several scopes, such as one resolution
each (``scope.py``). The common case is a table of one scope; ``table.scopes`` treats both alike.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from hwnas.arch import Option
from hwnas.device.measurement import Measurement
from hwnas.errors import InputError, MissingRowError, UsageError
from hwnas.latency.table.schemas import Calibration, NetworkRecord, TableHeader
from hwnas.latency.table.scope import Scope, scope_problems, scope_text
from hwnas.ops import OpSpec


@dataclass(frozen=True)
class _DiffersByScope(Mapping[Any, Any]):
    """Stands for a part of a table that each of its scopes has its own of; reading it raises."""

    what: str
    scopes: str

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"the {self.what} of this table differ by scope ({self.scopes}). Next: take them from "
            "one of table.scopes, or from table.of(choices)"
        )

    def __getitem__(self, key: Any) -> NoReturn:
        self._refuse()

    def __iter__(self) -> Iterator[Any]:
        self._refuse()

    def __len__(self) -> int:
        self._refuse()

    def __contains__(self, key: object) -> bool:
        self._refuse()


@dataclass(frozen=True, repr=False)
class LatencyTable:
    """Rows of one target, with the calibrations and validations that belong to them.

    Args:
        header: the target, and how and when it was measured.
        entries: the measurement of each operation.
        calibration: by space name, how rows become the latency of a network.
        validation: by space name, errors of predictions on networks held out of the calibration.
        networks: whole networks measured together with the rows.
        parts: tables of one scope each, made by :meth:`of_scopes`; empty in a table of one scope.
            ``entries``, ``calibration`` and ``validation`` then raise UsageError: they differ by
            scope.
    """

    header: TableHeader
    entries: Mapping[OpSpec, Measurement]
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    validation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: tuple[NetworkRecord, ...] = ()
    parts: tuple[LatencyTable, ...] = ()

    @staticmethod
    def of_scopes(tables: Sequence[LatencyTable]) -> LatencyTable:
        """Return one table of tables with distinct scopes over the same choices.

        The header is that of the first scope without its scope; one table is returned as it is.

        Raises:
            InputError: no table, two tables of one scope, or scopes over different choices.
        """
        parts = tuple(sorted(tables, key=lambda table: sorted(table.header.scope.items())))
        scopes = {f"table {number}": part.header.scope for number, part in enumerate(parts, 1)}
        problems = scope_problems(scopes) if scopes else ["there is no table"]
        if problems:
            raise InputError("tables to join by scope", problems)
        if len(parts) == 1:
            return parts[0]
        texts = "; ".join(scope_text(part.header.scope) for part in parts)
        return LatencyTable(
            header=parts[0].header.model_copy(update={"scope": {}}),
            entries=_DiffersByScope("entries", texts),
            calibration=_DiffersByScope("calibration", texts),
            validation=_DiffersByScope("validation", texts),
            networks=tuple(network for part in parts for network in part.networks),
            parts=parts,
        )

    @property
    def scopes(self) -> tuple[LatencyTable, ...]:
        """The table's scopes as tables of one scope each, by scope; the table itself if of one."""
        return self.parts or (self,)

    @property
    def target(self) -> TableHeader:
        """The header without a scope: what all scopes of the target have in common."""
        return self.header.model_copy(update={"scope": {}})

    @property
    def is_scoped(self) -> bool:
        """Whether the rows hold for some networks of a space only."""
        return any(part.header.scope for part in self.scopes)

    @property
    def scope_names(self) -> tuple[str, ...]:
        """The scopes in words, such as ``resolution=160``; ``every network`` without a scope."""
        return tuple(scope_text(part.header.scope) for part in self.scopes)

    def of(self, choices: Mapping[str, Option]) -> LatencyTable | None:
        """Return the table of the scope that holds the network with these choices, else None."""
        for part in self.scopes:
            if _matches(part.header.scope, choices):
                return part
        return None

    def map_scopes(self, change: Callable[[LatencyTable], LatencyTable]) -> LatencyTable:
        """Return the table with ``change`` applied to the table of each scope."""
        changed = [change(part) for part in self.scopes]
        return LatencyTable.of_scopes(changed)

    @property
    def num_rows(self) -> int:
        """Number of rows of all scopes."""
        return sum(len(part.entries) for part in self.scopes)

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the spaces that the table is calibrated for or holds networks of, sorted."""
        calibrated = {name for part in self.scopes for name in part.calibration}
        return tuple(sorted(calibrated | {network.space for network in self.networks}))

    def is_calibrated(self, space: str) -> bool:
        """Whether every scope holds a calibration of the space of this name."""
        return all(space in part.calibration for part in self.scopes)

    def mean_error(self, space: str) -> float | None:
        """Return the largest mean relative error of a scope's predictions for a space, if known.

        Of networks held out for validation where there are any, else of those calibrated on.
        """
        found = [_mean_error(part, space) for part in self.scopes]
        return max((error for error in found if error is not None), default=None)

    def row_ms(self, op: OpSpec) -> float:
        """Return the measured latency of ``op`` in ms.

        Raises:
            MissingRowError: there is no such row; names the nearest ones and how to measure it.
            UsageError: the table has several scopes.
        """
        if op not in self.entries:
            raise self.missing([op])
        return self.entries[op].latency_ms

    def missing(self, ops: Sequence[OpSpec], space: str = "SPACE") -> MissingRowError:
        """Return the error that names missing rows, the nearest rows, and how to measure them."""
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
            "Next: "
            + self.header.profile_command(space, "TABLE", resume=True)
            + " measures what TABLE lacks"
        )
        return MissingRowError("\n".join(lines))

    def summary(self) -> dict[str, str]:
        """Return what the table is in words: device, runtime, rows, calibrated spaces."""
        header = self.header
        pinned = f", CPUs {header.affinity}" if header.affinity else ""
        found = {
            "device": header.device,
            "runtime": f"{header.runtime} {header.precision}",
            "threads": f"{header.threads}{pinned}",
            "rows": f"{self.num_rows:,}",
        }
        if self.is_scoped:
            found["scopes"] = "; ".join(self.scope_names)
        for name in self.spaces:
            if self.is_calibrated(name):
                error = self.mean_error(name)
                found[f"calibrated for {name}"] = f"mean error {error:.1%}"
        return found

    def __repr__(self) -> str:
        return f"LatencyTable({', '.join(f'{k}: {v}' for k, v in self.summary().items())})"

    def _repr_html_(self) -> str:
        """Return the summary as an HTML table, which notebooks show."""
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.summary().items()
        )
        return f"<table><caption>LatencyTable</caption>{rows}</table>"


def _matches(scope: Scope, choices: Mapping[str, Option]) -> bool:
    return all(choices.get(name) == option for name, option in scope.items())


def _mean_error(table: LatencyTable, space: str) -> float | None:
    if space in table.validation:
        return float(table.validation[space]["mean_abs_rel_error"])
    fit = table.calibration.get(space)
    return None if fit is None else fit.mean_abs_rel_error


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
