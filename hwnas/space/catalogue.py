"""SPACES, the registry of search spaces, and spaces by name.

A name is ``NAME[:key=value,...]`` for a registered space, a path for a space file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import InputError, UsageError
from hwnas.plugins.registry import Entry, Registry, resolved
from hwnas.protocols import SearchSpace
from hwnas.space.custom import load_chain_space

Params = Mapping[str, int | float]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


@dataclass(frozen=True)
class Param:
    """A number that a space's name may set: its default, which gives the type, and its range."""

    default: int | float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class SpaceKind(Entry):
    """A search space by name: the numbers it can be made with, and how it is made.

    ``make(name, **params)`` returns the space that carries the canonical ``name``; it may be an
    import path.
    """

    params: Mapping[str, Param]
    make: Callable[..., SearchSpace] | str

    @property
    def defaults(self) -> Params:
        """The space's parameters where its name does not set them."""
        return {key: param.default for key, param in self.params.items()}


SPACES: Registry[SpaceKind] = Registry("space", builtin=("hwnas.space.builtin:SPACE_KINDS",))

COMMON_PARAMS: Mapping[str, Param] = {
    "input_size": Param(224, 8, 1024),
    "num_classes": Param(1000, 2, 100_000),
}
"""Parameters that most spaces have: the image's side in pixels, and the classifier's width."""

FILE_ENDINGS = (".yaml", ".yml")


def register_space(
    name: str,
    help: str,
    make: Callable[..., SearchSpace],
    params: Mapping[str, Param] = COMMON_PARAMS,
) -> SpaceKind:
    """Add a search space, which every command then knows by ``name``.

    ``make(name, **params)`` returns the space; ``name`` is the canonical spelling that its
    architectures carry, ``my-net`` or ``my-net:num_classes=5``.

    Example: ``examples/plugins/space.py``.

    Raises:
        UsageError: the name is taken, or cannot be spelled in ``NAME:key=value``.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a space's name must be of a-z, 0-9, - and _ and begin with a letter or digit, got "
            f"{name!r}. Next: choose another name"
        )
    return SPACES.register(SpaceKind(name, help, params=dict(params), make=make))


def load_space(name: str) -> SearchSpace:
    """Return the space called ``name``: ``proxyless``, ``tiny:num_classes=5``, ``my_space.yaml``.

    Raises:
        InputError: unknown space or parameter, or a value out of range; lists what is known.
    """
    base, text = _split(name)
    if base.endswith(FILE_ENDINGS):
        sizes = _parse_params(name, COMMON_PARAMS, text)
        return load_chain_space(Path(base), **{k: int(v) for k, v in sizes.items()})
    entry = _entry(name, base)
    params = {**entry.defaults, **_parse_params(name, entry.params, text)}
    space: SearchSpace = resolved(entry.make)(canonical_name(base, params), **params)
    return space


def _entry(name: str, base: str) -> SpaceKind:
    """Return the registered space called ``base``; InputError if there is none."""
    if base not in SPACES:
        raise InputError(
            f"space {name[:80]!r}",
            [f"there is no space {base[:80]!r}; known: {', '.join(SPACES)}"],
            "choose one of these, give the path of a space file ending in .yaml, or add the "
            "plugin that has it with --plugin FILE.py",
        )
    return SPACES[base]


def _split(name: str) -> tuple[str, str]:
    """Split a space's name at the colon before its parameters (a path may hold a colon)."""
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "=" in tail else (name, "")


def canonical_name(base: str, params: Params) -> str:
    """Return ``base:key=value,...`` with sorted keys and without the defaults."""
    defaults = SPACES[base].defaults
    differing = [f"{key}={params[key]}" for key in sorted(params) if params[key] != defaults[key]]
    return f"{base}:{','.join(differing)}" if differing else base


def with_params(name: str, **params: int) -> str:
    """Return the name of the same space with these parameters set (``num_classes=5``).

    Raises:
        InputError: the space has no such parameter.
    """
    base, text = _split(name)
    if base.endswith(FILE_ENDINGS):
        merged = {**_parse_params(name, COMMON_PARAMS, text), **params}
        return f"{base}:{','.join(f'{key}={merged[key]}' for key in sorted(merged))}"
    entry = _entry(name, base)
    defaults = entry.defaults
    unknown = sorted(set(params) - set(defaults))
    if unknown:
        allowed = ", ".join(f"{key}={value}" for key, value in defaults.items())
        raise InputError(
            f"space {name!r}",
            [f"{key!r} is not one of its parameters; they are {allowed}" for key in unknown],
        )
    return canonical_name(base, {**defaults, **_parse_params(name, entry.params, text), **params})


def _parse_params(name: str, known: Mapping[str, Param], text: str) -> dict[str, int | float]:
    problems: list[str] = []
    params: dict[str, int | float] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if key not in known or not equals:
            allowed = ", ".join(f"{k}={param.default}" for k, param in known.items())
            problems.append(f"{part!r} is not one of its parameters; they are {allowed}")
            continue
        try:
            number = type(known[key].default)(value)
        except ValueError:
            problems.append(f"{key} must be a number, got {value!r}")
            continue
        low, high = known[key].minimum, known[key].maximum
        if key in params:
            problems.append(f"{key} is given twice")
        elif not low <= number <= high:
            problems.append(f"{key} must be between {low:g} and {high:g}, got {value}")
        params[key] = number
    if problems:
        raise InputError(f"space {name!r}", problems)
    return params
