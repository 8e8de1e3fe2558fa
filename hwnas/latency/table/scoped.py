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

import numpy as np

from hwnas.additive.graph import Term
from hwnas.arch import Option
from hwnas.errors import InputError, UsageError
from hwnas.io.schemas import require_no_leaving_links
from hwnas.latency.table.table import (
    LatencyTable,
    NetworkRecord,
    TableHeader,
    load_table,
    merge_tables,
    save_table,
)
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.space.codes import symbol_counts

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
        fitting = (
            table
            for table in self.tables
            if all(choices.get(name) == value for name, value in table.header.scope.items())
        )
        return next(fitting, None)


def parse_scope(text: str) -> dict[str, int]:
    """Return the scope that ``resolution=160`` names; several are joined by commas.

    Raises:
        UsageError: a part is not ``choice=integer``, or a choice is named twice.
    """
    scope: dict[str, int] = {}
    for part in text.split(","):
        name, equals, option = (piece.strip() for piece in part.partition("="))
        if not (name and equals and option.lstrip("-").isdigit()) or name in scope:
            raise UsageError(
                f"a scope is choice=integer[,...], each choice once, as in "
                f"resolution=160; got {text!r}"
            )
        scope[name] = int(option)
    return scope


def scope_places(space: SearchSpace, scope: Scope, of: str) -> dict[int, int]:
    """Return the option's index by choice's index of what ``scope`` names; ``of`` is for errors.

    Raises:
        InputError: a choice or an option that the space does not have; all of them at once.
    """
    place, problems = {}, []
    names = [choice.name for choice in space.choices]
    for name, option in scope.items():
        options = space.choices[names.index(name)].options if name in names else ()
        if option in options:
            place[names.index(name)] = options.index(option)
        elif name in names:
            allowed = ", ".join(map(str, options))
            problems.append(f"{name} of {space.name} is one of {allowed}, not {option}")
        else:
            problems.append(f"{space.name} has no choice {name!r}")
    if problems:
        raise InputError(
            f"{of} with scope {scope_text(scope)}",
            problems,
            "leave out this table, or name the space it is for",
        )
    return place


def ops_in_scope(space: SearchSpace, scope: Scope) -> list[OpSpec]:
    """Return every operation of the networks in ``scope`` once, in the order of its factors."""
    place = scope_places(space, scope, "operations")
    found: dict[OpSpec, None] = {}
    for factor in space.factors():
        where = (*(place.get(choice, slice(None)) for choice in factor.choices), ...)
        entries = factor.ops[where].ravel().tolist()
        objects = {id(op): op for op in entries}  # many entries are few objects
        found |= dict.fromkeys(op for op in objects.values() if op is not None)
    return list(found)


def scope_terms(space: SearchSpace, scope: Scope) -> list[Term]:
    """Return terms that are 0 for networks in ``scope`` and NaN, impossible, for all others."""
    terms = []
    for choice, option in scope_places(space, scope, "networks").items():
        values = np.full(symbol_counts(space)[choice], np.nan)
        values[option] = 0.0
        terms.append(Term((choice,), values))
    return terms


Tables = LatencyTable | ScopedTables
"""The tables of one target: one for every network, or one for each scope."""


def parts(tables: Tables) -> tuple[LatencyTable, ...]:
    """Return the single tables."""
    return (tables,) if isinstance(tables, LatencyTable) else tables.tables


def load_tables(path: Path) -> Tables:
    """Read a table, or a folder of tables of one target: of one scope each, or of none.

    Raises:
        InputError: all problems of a file at once; two tables of one scope, or scopes over
            different choices; tables of different targets; links that lead out of the folder.
    """
    if not path.is_dir():
        table = load_table(path)
        return ScopedTables((table,)) if table.header.scope else table
    require_no_leaving_links(path, "folder of tables")
    paths = sorted(p for p in path.glob("*.json") if p.is_file())
    if not paths:
        raise InputError(
            str(path),
            ["holds no table (*.json)"],
            "hwnas profile and hwnas lut import write tables",
        )
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
    problems = scope_problems(
        {name: table.header.scope for name, table in zip(names, tables, strict=True)}
    )
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
    return ScopedTables(tuple(sorted(tables, key=lambda table: sorted(table.header.scope.items()))))


def scope_problems(scopes: Mapping[str, Scope]) -> list[str]:
    """Return what keeps tables (file name to scope) from being told apart by scope."""
    problems = []
    seen: dict[str, str] = {}
    first, *_ = scopes
    for name, scope in scopes.items():
        if sorted(scope) != sorted(scopes[first]):
            problems.append(
                f"{name}: its scope is {scope_text(scope)}, that of {first} "
                f"{scope_text(scopes[first])}: scopes must be over the same choices"
            )
        earlier = seen.setdefault(scope_text(scope), name)
        if earlier != name:
            problems.append(
                f"{name}: a second table of scope {scope_text(scope)}, beside {earlier}"
            )
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
        content["provenance"] = {
            scope_text(table.header.scope): dict(table.header.provenance) for table in tables.tables
        }
    return content
