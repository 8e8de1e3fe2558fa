"""Choices by name: one registry a kind of choice (strategies, spaces, operations, runtimes ...).

Configuration checks, command-line help, error messages and the reference pages are derived from
registries. Entries are light: what needs torch or another heavy library is named by its import path
(``package.module:name``) or made by a function, and loaded when it is used.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hwnas.errors import UsageError
from hwnas.plugins import loading


@dataclass(frozen=True)
class Entry:
    """One choice: the name users write, and one line of help that says what it is for.

    ``needs`` names what must be there for it, in the words of its registry: installed packages of
    a format or runtime, a supernet for a strategy. ``settings`` is the pydantic model of the keys
    it takes in a file, or the import path of one; None: it takes none.
    """

    name: str
    help: str
    needs: tuple[str, ...] = field(default=(), kw_only=True)
    settings: type[Any] | str | None = field(default=None, kw_only=True)


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E], Generic[E]):
    """The choices of one kind by name, in the order in which they were added.

    ``what`` names the kind in messages ("strategy"). ``builtin`` are the import paths of the
    entries that come with hwnas (``package.module:NAME``, a sequence of entries), loaded when the
    registry is first read. ``refused`` maps names
    that users may expect to the reason why they are not offered. Installed plugins are loaded when
    all entries are listed, or a name is asked for that is not built in (``plugins.loading``).
    """

    def __init__(
        self, what: str, builtin: tuple[str, ...] = (), refused: Mapping[str, str] | None = None
    ) -> None:
        self.what = what
        self._refused = dict(refused or {})
        self._entries: dict[str, E] = {}
        self._origins: dict[str, loading.Origin | None] = {}
        self._pending = list(builtin)

    def add(self, entry: E) -> E:
        """Add an entry that comes with hwnas and return it."""
        assert entry.name not in self._entries, entry.name
        self._entries[entry.name] = entry
        self._origins[entry.name] = None
        return entry

    def register(self, entry: E) -> E:
        """Add an entry of a plugin or of the user's session and return it.

        A plugin file that is loaded again, or a session that registers a name again, replaces what
        it registered before.

        Raises:
            UsageError: the name is taken by another; a name has one meaning.
        """
        self._load_builtin()
        origin = loading.current_origin()
        if entry.name in self._entries:
            before = self._origins[entry.name]
            if before is None or before.place != origin.place:
                raise UsageError(
                    f"{self.what} {entry.name!r} is registered already, by {before or 'hwnas'}. "
                    "Next: choose another name"
                )
        self._entries[entry.name] = entry
        self._origins[entry.name] = origin
        return entry

    def _load_builtin(self) -> None:
        while self._pending:
            for entry in load_object(self._pending.pop(0)):
                self.add(entry)

    def _load(self) -> dict[str, E]:
        self._load_builtin()
        loading.load_entry_points()
        return self._entries

    def names(self) -> tuple[str, ...]:
        """Return the names of all entries."""
        return tuple(self._load())

    def origin(self, name: str) -> loading.Origin | None:
        """Return the plugin that added the entry called ``name``; None: it comes with hwnas."""
        self[name]
        return self._origins[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._load())

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._load()

    def __getitem__(self, name: str) -> E:
        """Return the entry called ``name``.

        Raises:
            UsageError: there is none; names those there are, and the nearest or why not.
        """
        if name in self._entries:
            return self._entries[name]
        self._load_builtin()
        if name in self._entries or name in self._load():
            return self._entries[name]
        raise UsageError(
            f"{self.what} {name!r} is not known; known: {', '.join(self._entries)}"
            f"{self.hint(name)}. Next: choose one, or add one with --plugin FILE.py"
        )

    def hint(self, name: object) -> str:
        """Return why ``name`` is refused, or which name was probably meant; '' if neither."""
        if name in self._refused:
            return f". {name}: {self._refused[str(name)]}"
        near = difflib.get_close_matches(str(name), self._entries, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""

    def help_text(self) -> str:
        """Return one line for an option's help: ``name: what it is for; name: ...``."""
        return "; ".join(f"{entry.name}: {entry.help}" for entry in self.values())


@functools.cache
def load_object(path: str) -> Any:
    """Return the object at ``package.module:name``, imported now."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def resolved(value: Any) -> Any:
    """Return ``value``, or the object it names where it is an import path."""
    return load_object(value) if isinstance(value, str) else value
