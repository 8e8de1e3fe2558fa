"""What is known of a network before it is timed: its code and the operations it executes.

Some runtimes execute a code as it is written, dead edges and identities included; others prune
first, and then only the live graph matters. So features come in blocks of both views, from coarse
(few columns, learnt from few networks) to fine, and the fit weighs the blocks:

====================  =============================================================================
block                 columns
====================  =============================================================================
``totals``            MACs, parameters, values read and written, operations executed
``families``          executed operations of each kind and attributes (no sizes): number, MACs
``options``           how many choices take each option, choices with equal options together
``code``              one-hot of every choice
``network``           of a cell: one-hot of its network keys, the code without dead edges; of a
                      chain: how often each operation is executed (left out where a space has
                      more than MOST_OPS of them)
====================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.interfaces import Codes, Factor, SearchSpace
from hwnas.ops import OpSpec
from hwnas.space.codes import distinct_ops

Floats = NDArray[np.float64]

SIZES = ("hidden", "se_width")
"""Attributes that say how large an operation is; the others say which one it is."""

MOST_OPS = 2000

TOTALS = ("macs", "params", "values", "ops")
MACS, NUM_OPS = 0, 3
"""Columns of the block ``totals``."""


@dataclass(frozen=True)
class Features:
    """Features of networks: ``blocks`` maps a block's name to ``(num_archs, columns)``.

    ``symbols`` are the code and network keys, ``(num_archs, choices)`` and ``(num_archs, keys)``.
    """

    blocks: dict[str, Floats]
    symbols: tuple[Codes, Codes]

    def __len__(self) -> int:
        return len(self.symbols[0])

    def take(self, rows: NDArray[np.intp]) -> Features:
        """Return the features of these rows."""
        return Features({name: block[rows] for name, block in self.blocks.items()},
                        (self.symbols[0][rows], self.symbols[1][rows]))


class FeatureReader:
    """Reads the features of a space's networks; made once, as large spaces hold many operations."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        ops = distinct_ops(space)
        number = {op: i for i, op in enumerate(ops)}
        sizes = np.array([[op.macs, op.params, _values(op), 1.0] for op in ops])
        names = [_family(op) for op in ops]
        columns = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self._num_families = len(columns)
        # the last of both: nothing is executed
        self._family = np.array([*(columns[name] for name in names), len(columns)])
        self._sizes = np.concatenate([sizes, np.zeros((1, len(TOTALS)))])
        self._factors = [
            (factor.choices, times,
             factor.values(lambda op: len(ops) if op is None else number[op]))
            for factor, times in _repeated(space.factors())
        ]

    def __call__(self, codes: Codes) -> Features:
        """Return the features of ``(num_archs, num_choices)`` codes."""
        space = self.space
        keys = space.network_keys(codes)
        totals, families, executed = self._executed(codes)
        one_hot = [len(choice.options) for choice in space.choices]
        blocks = {"totals": totals, "families": families, "options": _options(space, codes),
                  "code": _one_hot(codes, one_hot)}
        if self._is_cell:
            # the keys of a cell keep an edge's place, those of a chain close up
            blocks["network"] = _one_hot(keys, one_hot)
        elif executed is not None:
            blocks["network"] = executed
        return Features(blocks, (codes, keys))

    @cached_property
    def _is_cell(self) -> bool:
        first = self.space.repair(np.zeros((1, len(self.space.choices)), dtype=np.int16))
        return self.space.wiring(self.space.decode(first)[0]) is not None

    def _executed(self, codes: Codes) -> tuple[Floats, Floats, Floats | None]:
        """Return totals, families and numbers of each operation, sums over the factors."""
        num_ops = len(self._sizes)
        totals = np.zeros((len(codes), len(TOTALS)))
        families = np.zeros((2, len(codes), self._num_families + 1))
        every = np.zeros((len(codes), num_ops)) if num_ops <= MOST_OPS else None
        rows = np.arange(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for choices, times, numbers in self._factors:
            chosen = numbers[tuple(columns[choice] for choice in choices)].astype(np.intp)
            chosen = np.broadcast_to(chosen, len(codes))
            totals += times * self._sizes[chosen]
            families[0, rows, self._family[chosen]] += times
            families[1, rows, self._family[chosen]] += times * self._sizes[chosen, MACS]
            if every is not None:
                every[rows, chosen] += times
        both = np.concatenate([families[0, :, :-1], families[1, :, :-1]], axis=1)
        return totals, both, None if every is None else every[:, :-1]


def features(space: SearchSpace, codes: Codes) -> Features:
    """Return the features of ``(num_archs, num_choices)`` codes; the space decides the columns."""
    return FeatureReader(space)(codes)


def _repeated(factors: Sequence[Factor]) -> list[tuple[Factor, int]]:
    """Return distinct factors with how often each occurs: equal cells share theirs."""
    counts: dict[tuple[tuple[int, ...], int], tuple[Factor, int]] = {}
    for factor in factors:
        key = factor.choices, id(factor.ops)
        counts[key] = factor, counts.get(key, (factor, 0))[1] + 1
    return list(counts.values())


def _values(op: OpSpec) -> float:
    return float(np.prod(op.in_shape) * op.num_inputs + np.prod(op.out_shape))


def _family(op: OpSpec) -> tuple[object, ...]:
    return op.kind, *((name, value) for name, value in op.attrs if name not in SIZES)


def _options(space: SearchSpace, codes: Codes) -> Floats:
    """Return how many choices take each option, by groups of choices with equal options."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for column, choice in enumerate(space.choices):
        groups.setdefault(choice.options, []).append(column)
    counts = [(codes[:, columns] == option).sum(axis=1)
              for options, columns in groups.items() for option in range(len(options))]
    return np.stack(counts, axis=1).astype(np.float64)


def _one_hot(codes: Codes, sizes: Sequence[int]) -> Floats:
    return np.concatenate([codes[:, column, None] == np.arange(size)
                           for column, size in enumerate(sizes)], axis=1).astype(np.float64)
