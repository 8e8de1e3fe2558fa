"""Scopes: the networks of a space that a table's rows hold for.

A scope names options of choices, such as ``{"resolution": 160}``. The same operation can take
another time in networks of another scope, so each scope of a table has rows of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hwnas.additive.graph import Term
from hwnas.errors import InputError, UsageError
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.space.codes import symbol_counts

Scope = Mapping[str, int]


def scope_text(scope: Scope) -> str:
    """Return a scope in words and file names: ``resolution=160``."""
    return ",".join(f"{name}={option}" for name, option in sorted(scope.items())) or "every network"


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
