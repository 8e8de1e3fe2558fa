"""Architectures to integer arrays and back, and the checks of a code's choices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch, Choice, Option
from hwnas.errors import InputError
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, SearchSpace


def checked_arch(
    space: SearchSpace,
    choices: Mapping[str, Option],
    existing: Callable[[Mapping[str, Option]], Collection[str]] | None = None,
) -> Arch:
    """Return the Arch of ``space`` with these choices, one option for every choice that exists.

    ``existing`` names the choices that exist beside given ones (of which some may be missing or
    wrong; None: all of the space's exist).

    Raises:
        InputError: lists every unknown, missing or impossible choice, with what is allowed.
    """
    problems = []
    known = {choice.name: choice for choice in space.choices}
    for name in sorted(set(choices) - set(known)):
        problems.append(f"unknown choice {name!r}; {space.name} has {', '.join(known)}")
    there = set(known) if existing is None else set(existing(choices))
    for name, choice in known.items():
        if name not in there:
            if name in choices:
                problems.append(
                    f"choice {name!r} does not exist in this architecture: leave it "
                    "out, or change the choice (a depth) that decides so"
                )
        elif name not in choices:
            problems.append(f"choice {name!r} is missing; allowed: {_listed(choice)}")
        elif not any(_same(choices[name], option) for option in choice.options):
            problems.append(f"choice {name!r} is {choices[name]!r}; allowed: {_listed(choice)}")
    if problems:
        raise InputError(
            f"architecture of space {space.name}",
            problems,
            f"'hwnas spaces show {space.name}' prints an example",
        )
    return Arch.make(space.name, choices)


def _same(left: Option, right: Option) -> bool:
    return type(left) is type(right) and left == right


def _listed(choice: Choice) -> str:
    return ", ".join(str(option) for option in choice.options)


def encode(choices: Sequence[Choice], archs: Sequence[Arch]) -> Codes:
    """Return ``(num_archs, num_choices)`` option indices, -1 where a choice is absent.

    Raises:
        ValueError: an architecture has an option the choices do not know.
    """
    index = [
        (choice.name, {option: i for i, option in enumerate(choice.options)}) for choice in choices
    ]
    rows = []
    for arch in archs:
        chosen = arch.choices
        try:
            rows.append([table[chosen[name]] if name in chosen else -1 for name, table in index])
        except KeyError as error:
            raise ValueError(
                f"architecture {arch.arch_id} of space {arch.space} has the option "
                f"{error}, which these choices do not"
            ) from None
    return np.array(rows, dtype=np.int16).reshape(len(archs), len(choices))


def decode(space: str, choices: Sequence[Choice], codes: Codes) -> list[Arch]:
    """Return the architectures of ``(num_archs, num_choices)`` codes."""
    return [
        Arch.make(
            space,
            {
                choice.name: choice.options[i]
                for choice, i in zip(choices, row, strict=True)
                if i >= 0
            },
        )
        for row in codes.tolist()
    ]


def symbol_counts(space: SearchSpace) -> list[int]:
    """Return the number of symbols of each choice: its options, and 'absent' where that can be."""
    sizes = [len(choice.options) for choice in space.choices]
    for factor in space.factors():
        for choice, length in zip(factor.choices, factor.ops.shape, strict=True):
            sizes[choice] = max(sizes[choice], length)
    return sizes


def to_symbols(codes: Codes, space: SearchSpace) -> NDArray[np.int64]:
    """Return Codes as symbols: the inverse of :func:`to_codes`."""
    options = np.array([len(choice.options) for choice in space.choices])
    return np.where(codes < 0, options, codes).astype(np.int64)


def to_codes(symbols: NDArray[np.int64], space: SearchSpace) -> Codes:
    """Return symbols as Codes: the symbol after the last option means absent, -1."""
    options = np.array([len(choice.options) for choice in space.choices])
    return np.where(symbols == options, -1, symbols).astype(np.int16)


def distinct_ops(space: SearchSpace) -> list[OpSpec]:
    """Return every operation of ``space`` once, in the order of its factors."""
    entries = (op for factor in space.factors() for op in factor.ops.ravel().tolist())
    objects = {id(op): op for op in entries}  # many entries are few objects
    return list(dict.fromkeys(op for op in objects.values() if op is not None))
