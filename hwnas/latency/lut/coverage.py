"""Which options of a space a table does not cover."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import MissingRowError
from hwnas.ops import OpSpec
from hwnas.protocols import Factor, Restriction, SearchSpace
from hwnas.space.codes import symbol_counts


def restrictions(
    space: SearchSpace,
    factors: Sequence[Factor],
    values: Sequence[NDArray[np.float64]],
    missing: Callable[[Sequence[OpSpec]], MissingRowError],
) -> tuple[Restriction, ...]:
    """Return the options, and combinations of options, without a value (NaN) in some factor.

    An option is restricted where every possible combination with the others' usable options lacks
    a value; what is left are combinations, told by the factor's last choice beside the others.

    Raises:
        MissingRowError: ``missing`` of the operations of factors in which nothing has a value.
    """
    gaps = [
        (factor, np.isnan(value) & _possible(factor))
        for factor, value in zip(factors, values, strict=True)
    ]
    gaps = [(factor, gap) for factor, gap in gaps if gap.any()]
    dead = [factor for factor, gap in gaps if (gap == _possible(factor)).all()]
    usable = [np.ones(size, dtype=bool) for size in symbol_counts(space)]
    found: list[Restriction] = []
    num_found = -1
    while num_found != len(found):
        num_found = len(found)
        for factor, gap in gaps:
            if not any(factor is other for other in dead):
                found += _lost_options(space, factor, gap, usable)
    emptied = [factor for factor, gap in gaps if not (_live(factor, usable) & ~gap).any()]
    if emptied:
        live = [op for factor in emptied for op in factor.ops[_live(factor, usable)]]
        every = [op for factor in emptied for op in factor.ops.ravel()]
        raise missing([op for op in dict.fromkeys(live or every) if op is not None])
    for factor, gap in gaps:
        for index in np.argwhere(gap & _live(factor, usable)):
            pairs = [
                (space.choices[choice].name, space.choices[choice].options[symbol])
                for choice, symbol in zip(factor.choices, index.tolist(), strict=True)
                if symbol < len(space.choices[choice].options)
            ]
            found.append(Restriction(*pairs[-1], factor.ops[tuple(index)], tuple(pairs[:-1])))
    return tuple(found)


def _possible(factor: Factor) -> NDArray[np.bool_]:
    return np.ones(factor.ops.shape, dtype=bool) if factor.possible is None else factor.possible


def _live(factor: Factor, usable: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return the possible combinations of usable options."""
    live = _possible(factor).copy()
    for axis, choice in enumerate(factor.choices):
        shape = [1] * live.ndim
        shape[axis] = live.shape[axis]
        live &= usable[choice][: live.shape[axis]].reshape(shape)
    return live


def _lost_options(
    space: SearchSpace,
    factor: Factor,
    gap: NDArray[np.bool_],
    usable: Sequence[NDArray[np.bool_]],
) -> list[Restriction]:
    """Return options that only occur in combinations without a value; they become unusable."""
    found = []
    for axis, number in enumerate(factor.choices):
        choice = space.choices[number]
        live = _live(factor, usable)
        others = tuple(other for other in range(live.ndim) if other != axis)
        lost = np.asarray(live.any(axis=others) & ~(live & ~gap).any(axis=others))
        for index in np.flatnonzero(lost[: len(choice.options)]).tolist():
            lacking = np.argwhere(live & gap & (np.indices(gap.shape)[axis] == index))[0]
            op = factor.ops[tuple(lacking)]
            found.append(Restriction(choice.name, choice.options[index], op))
            usable[number][index] = False
    return found
