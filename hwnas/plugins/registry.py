"""Choices by name: one registry a kind of choice (strategies, spaces, operations, runtimes ...).

Configuration checks, command-line help, error messages and the reference pages are derived from
registries. Entries are light: what needs torch or another heavy library is named by its import path
and loaded when it is used.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hwnas.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """One choice: the name users write, and one line of help that says what it is for."""

    name: str
    help: str


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """The choices of one kind, in the order in which they were added.

    ``what`` names the kind in messages ("strategy"). ``builtin`` are the modules that add the
    entries that come with hwnas; they are imported when the registry is first read, so that a
    registry costs nothing until then.
    """

    def __init__(self, what: str, builtin: tuple[str, ...] = ()) -> None:
        self.what = what
        self._entries: dict[str, E] = {}
        self._pending = list(builtin)

    def add(self, entry: E) -> E:
        """Add ``entry`` and return it.

        Raises:
            UsageError: the name is taken; two plugins cannot mean different things by one name.
        """
        known = self._entries.get(entry.name)
        if known is not None and known != entry:
            raise UsageError(
                f"{self.what} {entry.name!r} is registered already. Next: choose another name"
            )
        self._entries[entry.name] = entry
        return entry

    def _load(self) -> dict[str, E]:
        while self._pending:
            importlib.import_module(self._pending.pop(0))
        return self._entries

    def names(self) -> tuple[str, ...]:
        """Return the names of all entries."""
        return tuple(self._load())

    def __iter__(self) -> Iterator[E]:
        return iter(tuple(self._load().values()))

    def __len__(self) -> int:
        return len(self._load())

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __getitem__(self, name: str) -> E:
        """Return the entry called ``name``.

        Raises:
            UsageError: there is none; names those there are, the nearest first.
        """
        entries = self._load()
        if name in entries:
            return entries[name]
        near = difflib.get_close_matches(name, entries, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"{self.what} {name!r} is not known; known: {', '.join(entries)}.{hint} "
            "Next: choose one, or add one with --plugin FILE.py"
        )


def load_object(path: str) -> Any:
    """Return the object at ``package.module:name``, imported now."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
