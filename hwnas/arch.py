"""Choices and architectures: a space's named decisions, and one frozen answer to all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from hwnas.io.journal import canonical_json

Option: TypeAlias = str | int

SCHEMA = 1


def short_hash(text: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of ``text``: the length of every id."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Choice:
    """A named decision of a space and the options it may take, in their fixed order."""

    name: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"choice {self.name!r} needs distinct options, got {self.options}")


@dataclass(frozen=True)
class Arch:
    """One architecture as a code: an option for each choice that exists in it.

    ``space`` is the canonical name of the space, ``items`` the ``(choice, option)`` pairs sorted by
    choice. Build one with :meth:`make`; a space's ``arch()`` also checks it.
    """

    space: str
    items: tuple[tuple[str, Option], ...]

    @staticmethod
    def make(space: str, choices: Mapping[str, Option]) -> Arch:
        """Return the architecture of ``space`` with these choices, unchecked."""
        return Arch(space, tuple(sorted(choices.items())))

    @property
    def choices(self) -> dict[str, Option]:
        """The options by choice name (a new dict)."""
        return dict(self.items)

    @cached_property
    def arch_id(self) -> str:
        """16 hex digits that name this code in every file and on every machine."""
        return short_hash(canonical_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Return the object an arch file holds."""
        return {"schema": SCHEMA, "space": self.space, "choices": self.choices}
