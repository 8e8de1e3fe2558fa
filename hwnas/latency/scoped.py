"""Tables that each hold for some networks of a space only, read as one.

A table's ``scope`` names options of choices, such as ``{"resolution": 160}``: the networks in which
its operations were timed. The same operation can then have another number in another table of the
folder, and a network is predicted by the table of its own scope.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.arch import Option
from hwnas.errors import InputError
from hwnas.latency.table import (
    LatencyTable,
    NetworkRecord,
    TableHeader,
    load_table,
    merge_tables,
    save_table,
)

Scope = Mapping[str, int]


def scope_text(scope: Scope) -> str:
    """Return a scope in words and file names: ``resolution=160``."""
    return ",".join(f"{name}={option}" for name, option in sorted(scope.items())) or "every network"


@dataclass(frozen=True)
class ScopedTables:
    """Tables of one target with distinct scopes over the same choices, in their order."""

    tables: tuple[LatencyTable, ...]

    @property
    def header(self) -> TableHeader:
        """What all headers say, of no scope."""
        return self.tables[0].header.model_copy(update={"scope": {}})

    @property
    def networks(self) -> tuple[NetworkRecord, ...]:
        """The whole networks measured with any of the tables."""
        return tuple(network for table in self.tables for network in table.networks)

    def of(self, choices: Mapping[str, Option]) -> LatencyTable | None:
        """Return the table for the network with these choices, None where there is none."""
        fitting = (table for table in self.tables
                   if all(choices.get(name) == value for name, value in table.header.scope.items()))
        return next(fitting, None)


Tables = LatencyTable | ScopedTables
"""The tables of one target: one for every network, or one for each scope."""


def parts(tables: Tables) -> tuple[LatencyTable, ...]:
    """Return the single tables."""
    return (tables,) if isinstance(tables, LatencyTable) else tables.tables


def load_tables(path: Path) -> Tables:
    """Read a table, or a folder of tables of one target: of one scope each, or of none.

    Raises:
        InputError: all problems of a file at once; two tables of one scope, or scopes over
            different choices; tables of different targets.
    """
    if not path.is_dir():
        table = load_table(path)
        return ScopedTables((table,)) if table.header.scope else table
    paths = sorted(p for p in path.glob("*.json") if p.is_file())
    if not paths:
        raise InputError(str(path), ["holds no table (*.json)"],
                         "hwnas profile and hwnas lut import write tables")
    tables, problems = [], []
    for file in paths:
        try:
            tables.append(load_table(file))
        except InputError as error:
            problems += [f"{file.name}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(str(path), problems)
    if not any(table.header.scope for table in tables):
        return merge_tables(tables, [str(file) for file in paths])
    return _scoped(path, tables, [file.name for file in paths])


def _scoped(folder: Path, tables: Sequence[LatencyTable], names: Sequence[str]) -> ScopedTables:
    problems = scope_problems({name: table.header.scope
                               for name, table in zip(names, tables, strict=True)})
    first = tables[0].header
    for table, name in zip(tables[1:], names[1:], strict=True):
        unscoped = table.header.model_copy(update={"scope": first.scope})
        problems += [f"{name}: {difference} in {names[0]}"
                     for difference in unscoped.differences(first)]
    if problems:
        raise InputError(str(folder), problems, "a folder holds the tables of one target, each of "
                         "a scope of its own; keep others apart")
    return ScopedTables(tuple(sorted(tables, key=lambda table: sorted(table.header.scope.items()))))


def scope_problems(scopes: Mapping[str, Scope]) -> list[str]:
    """Return what keeps tables (file name to scope) from being told apart by scope."""
    problems = []
    seen: dict[str, str] = {}
    first, *_ = scopes
    for name, scope in scopes.items():
        if sorted(scope) != sorted(scopes[first]):
            problems.append(f"{name}: its scope is {scope_text(scope)}, that of {first} "
                            f"{scope_text(scopes[first])}: scopes must be over the same choices")
        earlier = seen.setdefault(scope_text(scope), name)
        if earlier != name:
            problems.append(f"{name}: a second table of scope {scope_text(scope)}, beside "
                            f"{earlier}")
    return problems


def stored(folder: Path, stem: str) -> Path:
    """Return where a run folder holds tables: ``stem/`` if they are scoped, else ``stem.json``."""
    scoped = folder / stem
    return scoped if scoped.is_dir() else folder / f"{stem}.json"


def stored_name(tables: Tables, stem: str) -> str:
    """Return the name under which a run folder holds, or will hold, these tables."""
    return stem if isinstance(tables, ScopedTables) else f"{stem}.json"


def store(tables: Tables, folder: Path, stem: str) -> None:
    """Write tables where :func:`stored` finds them; all of them appear at once."""
    if isinstance(tables, LatencyTable):
        save_table(tables, folder / f"{stem}.json")
        return
    aside = folder / f".{stem}.part"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was stopped here
    aside.mkdir(parents=True)
    for table in tables.tables:
        save_table(table, aside / f"{scope_text(table.header.scope)}.json")
    os.replace(aside, folder / stem)


def header_json(tables: Tables) -> dict[str, Any]:
    """Return what the tables' header says, for people, with the scopes there are."""
    content: dict[str, Any] = tables.header.model_dump()
    if isinstance(tables, ScopedTables):
        content["scope"] = "; ".join(scope_text(table.header.scope) for table in tables.tables)
        content["provenance"] = {scope_text(table.header.scope): dict(table.header.provenance)
                                 for table in tables.tables}
    return content
