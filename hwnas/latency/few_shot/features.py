"""What is known of a network before it is timed: its code and the operations it executes.

Some runtimes execute a code as it is written, dead edges and identities included; others prune
first, and then only the live graph matters. So features come in blocks of both views, from coarse
(few columns, learnt from few networks) to fine, and the fit weighs the blocks:

====================  =============================================================================
block                 columns
====================  =============================================================================
``totals``            MACs, parameters, values read and written, operations executed
``classes``           executed parts of each class (pointwise, depthwise, ...; ``parts.split``):
                      number, MACs, values read and written, parameters
``alike``             MACs of the executed parts in columns that parts alike share, so that a sum
                      of them is a time per MAC that changes smoothly with sizes and kernels
``options``           how many choices take each option, choices with equal options together
``code``              one-hot of every choice
``network``           of a cell: one-hot of its network keys, the code without dead edges; of a
                      chain: how often each operation is executed (left out where a space has
                      more than MAX_OPS of them)
====================  =============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.ops import ACTIVATIONS, OpSpec
from hwnas.ops.split import part_class, split
from hwnas.protocols import Codes, Factor, SearchSpace
from hwnas.space.codes import distinct_ops

Floats = NDArray[np.float64]

MAX_OPS = 2000
CHANNEL_BLOCK = 16  # kernels work on blocks of channels, at most as wide as this on CPUs
ACT_COLUMNS = tuple(act for act in ACTIVATIONS if act not in ("none", "relu6"))  # relu6 as relu
ALIKE_VARIANCE = 0.99  # share of the covariance of parts that the columns of ``alike`` keep

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
        return Features(
            {name: block[rows] for name, block in self.blocks.items()},
            (self.symbols[0][rows], self.symbols[1][rows]),
        )


class FeatureReader:
    """Reads the features of a space's networks; made once, as large spaces hold many operations."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        ops = distinct_ops(space)
        number = {op: i for i, op in enumerate(ops)}
        parts, owner, which = _parts(ops)
        # (num_ops + 1, columns) of each block that is a sum over operations; the last row: nothing
        self._sums = {
            name: np.concatenate([rows, np.zeros((1, rows.shape[1]))])
            for name, rows in (
                ("totals", np.array([_sizes(op) for op in ops])),
                ("classes", _sum(_by_class(parts)[which], owner, len(ops))),
                ("alike", _sum(alike(parts)[which], owner, len(ops))),
            )
        }
        self._num_ops = len(ops)
        self._factors = [
            (
                factor.choices,
                times,
                factor.values(lambda op: len(ops) if op is None else number[op]),
            )
            for factor, times in _repeated(space.factors())
        ]

    def __call__(self, codes: Codes) -> Features:
        """Return the features of ``(num_archs, num_choices)`` codes."""
        space = self.space
        keys = space.network_keys(codes)
        sums, executed = self._executed(codes)
        one_hot = [len(choice.options) for choice in space.choices]
        blocks = {**sums, "options": _options(space, codes), "code": _one_hot(codes, one_hot)}
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

    def _executed(self, codes: Codes) -> tuple[dict[str, Floats], Floats | None]:
        """Return the sums over the factors, and how often each operation is executed."""
        sums = {name: np.zeros((len(codes), rows.shape[1])) for name, rows in self._sums.items()}
        every = np.zeros((len(codes), self._num_ops + 1)) if self._num_ops <= MAX_OPS else None
        rows = np.arange(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for choices, times, numbers in self._factors:
            chosen = numbers[tuple(columns[choice] for choice in choices)].astype(np.intp)
            chosen = np.broadcast_to(chosen, len(codes))
            for name, found in sums.items():
                found += times * self._sums[name][chosen]
            if every is not None:
                every[rows, chosen] += times
        return sums, None if every is None else every[:, :-1]


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


def _sizes(op: OpSpec) -> list[float]:
    values = float(np.prod(op.in_shape) * op.num_inputs + np.prod(op.out_shape))
    return [float(op.macs), float(op.params), values, 1.0]


def _parts(ops: Sequence[OpSpec]) -> tuple[list[OpSpec], NDArray[np.intp], NDArray[np.intp]]:
    """Return the distinct parts of ``ops`` and, for every part of every op, the op and the part."""
    place: dict[OpSpec, int] = {}
    pairs = [
        (number, place.setdefault(part, len(place)))
        for number, op in enumerate(ops)
        for part in split(op)
    ]
    owner, which = np.array(pairs, dtype=np.intp).T
    return list(place), owner, which


def _sum(rows: Floats, owner: NDArray[np.intp], count: int) -> Floats:
    """Return ``(count, columns)`` the sums of the rows of each owner."""
    found = np.zeros((count, rows.shape[1]))
    np.add.at(found, owner, rows)
    return found


def _by_class(parts: Sequence[OpSpec]) -> Floats:
    """Return ``(num_parts, classes * TOTALS)`` sizes of each part, in the columns of its class."""
    classes = list(dict.fromkeys(map(part_class, parts)))
    found = np.zeros((len(parts), len(classes), len(TOTALS)))
    for row, part in zip(found, parts, strict=True):
        row[classes.index(part_class(part))] = _sizes(part)
    return found.reshape(len(parts), -1)


def alike(parts: Sequence[OpSpec]) -> Floats:
    """Return ``(num_parts, columns)`` whose inner products are a covariance between parts.

    Time per MAC is a Gaussian process over the features of parts, independent between classes: the
    squared exponential kernel on standardised features, its squared length their number (parts that
    are a deviation apart in every one have covariance exp(-1/2)). A part's time is that times its
    MACs, an operation's and a network's the sum of their parts' (Rasmussen and Williams, §9.8:
    linear functionals of a process are jointly Gaussian with it). Its principal columns are kept.
    """
    number = {part: i for i, part in enumerate(parts)}
    blocks = []
    classes: dict[str, list[OpSpec]] = {}
    for part in dict.fromkeys(parts):
        classes.setdefault(part_class(part), []).append(part)
    for own in classes.values():
        x = np.array([of_part(part) for part in own])
        spread = x.std(axis=0)
        varying = spread > 1e-9
        x = (x - x.mean(axis=0))[:, varying] / spread[varying] / max(int(varying.sum()), 1) ** 0.5
        squares = (x**2).sum(axis=1)
        distance = np.maximum(squares[:, None] + squares[None] - 2 * x @ x.T, 0)
        values, vectors = np.linalg.eigh(np.exp(-distance / 2))
        count = int((np.cumsum(values[::-1]) < ALIKE_VARIANCE * values.sum()).sum()) + 1
        block = np.zeros((len(parts), count))
        macs = np.array([part.macs for part in own], dtype=np.float64)
        block[[number[part] for part in own]] = (
            macs[:, None] * vectors[:, : -count - 1 : -1] * np.sqrt(values[: -count - 1 : -1])
        )
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def _options(space: SearchSpace, codes: Codes) -> Floats:
    """Return how many choices take each option, by groups of choices with equal options."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for column, choice in enumerate(space.choices):
        groups.setdefault(choice.options, []).append(column)
    counts = [
        (codes[:, columns] == option).sum(axis=1)
        for options, columns in groups.items()
        for option in range(len(options))
    ]
    return np.stack(counts, axis=1).astype(np.float64)


def _one_hot(codes: Codes, sizes: Sequence[int]) -> Floats:
    return np.concatenate(
        [codes[:, column, None] == np.arange(size) for column, size in enumerate(sizes)], axis=1
    ).astype(np.float64)


def of_part(part: OpSpec) -> list[float]:
    """Return logarithms of a part's sizes and work, fill of its blocks of channels, activation."""
    attrs = dict(part.attrs)
    out_channels, height, width = part.out_shape
    sizes = [
        part.in_shape[0],
        out_channels,
        part.in_shape[1] * part.in_shape[2],
        height * width,
        part.macs,
        part.params,
    ]
    named = [
        attrs.get(name, 1)
        for name in ("kernel", "stride", "width", "hidden", "features", "kv_stride")
    ]
    logs = [float(np.log1p(float(value))) for value in (*sizes, *named)]
    filled = [
        math.log(-(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK / channels)
        for channels in (part.in_shape[0], out_channels)
    ]
    return logs + filled + [float(attrs.get("act") == act) for act in ACT_COLUMNS]
