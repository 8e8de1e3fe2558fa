"""The cell space of DARTS (Liu, Simonyan and Yang, ICLR 2019, §2.1 and §3.1.1), image networks.

A network is a stem and a row of cells; those at a third and at two thirds of the row halve the
image and double the channels. A cell takes the outputs of the two cells before it (0 and 1), each
brought to its channels by a 1x1 convolution; its four nodes (2 to 5) each sum two operations on
different earlier outputs, and its output is the nodes behind each other. Normal cells are all
alike, and so are reduction cells. Every output is used: node 2 has only the cell's inputs to take.

Derived networks use seven operations; the eighth, ``none``, exists while searching only (§2.4).

Latency is additive over each edge's operation and source. Departures: no auxiliary head and no path
dropping, which exist in training only; the first convolution of the ImageNet variant is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from hwnas.arch import Arch, Choice, Option, short_hash
from hwnas.errors import InputError
from hwnas.io.journal import canonical_json
from hwnas.ops import OpSpec, Shape
from hwnas.protocols import Codes, Factor, Wiring
from hwnas.space.cells.base import IMAGE, Walk, add_op, fixed_factor
from hwnas.space.codes import checked_arch, decode, encode

OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
CELLS = ("normal", "reduce")
NODES = (2, 3, 4, 5)
EDGES = (1, 2)
STEM_MULTIPLIER = 3


@dataclass(frozen=True)
class CellPlace:
    """One cell of the row: its shapes and which of the two cells it is.

    ``before`` and ``last`` are the shapes of its inputs 0 and 1; ``shape`` is what both are brought
    to, ``out_shape`` that of its nodes.
    """

    kind: str
    before: Shape
    last: Shape
    shape: Shape
    out_shape: Shape


@dataclass(frozen=True)
class Darts:
    """DARTS' networks of ``cells`` cells, the first of ``channels`` channels a node."""

    name: str
    cells: int = 20
    channels: int = 36
    num_classes: int = 10
    input_size: int = 32

    @property
    def input_shape(self) -> Shape:
        """Input image (3, H, W)."""
        return 3, self.input_size, self.input_size

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Operation and source of every edge; the first source of a node is below the second."""
        return tuple(
            choice
            for cell in CELLS
            for node in NODES
            for edge in EDGES
            for choice in (
                Choice(f"{cell}.node{node}.edge{edge}.op", OPERATIONS),
                Choice(
                    f"{cell}.node{node}.edge{edge}.source", tuple(range(edge - 1, node - 2 + edge))
                ),
            )
        )

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        """Return the checked architecture with these choices.

        Raises:
            InputError: see ``checked_arch``; or the sources of a node are equal or not in order.
        """
        checked = checked_arch(self, choices)
        problems = []
        for cell in CELLS:
            for node in NODES:
                first, second = (choices[f"{cell}.node{node}.edge{edge}.source"] for edge in EDGES)
                if int(first) >= int(second):
                    problems.append(
                        f"{cell}.node{node}: its sources must differ, the smaller one in edge1; "
                        f"got {first} and {second}"
                    )
        if problems:
            raise InputError(f"architecture of space {self.name}", problems)
        return checked

    def encode(self, archs: Sequence[Arch]) -> Codes:
        """Return ``(num_archs, 32)`` option indices."""
        return encode(self.choices, archs)

    def decode(self, codes: Codes) -> list[Arch]:
        """Return the architectures of ``(num_archs, 32)`` codes."""
        return decode(self.name, self.choices, codes)

    def repair(self, codes: Codes) -> Codes:
        """Return the codes with a first option for -1, and sources that differ and are in order.

        Two sources in the wrong order change places with their operations; of two equal ones the
        second moves on by one, or, where it is the node's last source, the first back by one.
        """
        mended = np.maximum(codes, 0)
        for column in range(0, len(self.choices), 4):
            ops, sources = mended[:, [column, column + 2]], mended[:, [column + 1, column + 3]]
            sources[:, 1] += 1  # an index of edge2 stands for the source one above
            order = np.argsort(sources, axis=1, kind="stable")
            ops = np.take_along_axis(ops, order, axis=1)
            sources = np.take_along_axis(sources, order, axis=1)
            last = len(self.choices[column + 3].options)
            equal = sources[:, 0] == sources[:, 1]
            sources[:, 1] += equal & (sources[:, 1] < last)
            sources[:, 0] -= equal & (sources[:, 0] == last)
            mended[:, [column, column + 2]] = ops
            mended[:, [column + 1, column + 3]] = sources - [0, 1]
        return mended

    def network_keys(self, codes: Codes) -> Codes:
        """Return the codes: each is a network of its own.

        Choices of a cell that the row lacks (of one or two cells none is normal) count as first.
        """
        keys = codes.copy()
        for number, kind in enumerate(CELLS):
            if kind not in self._kinds:
                width = len(self.choices) // len(CELLS)
                keys[:, number * width : (number + 1) * width] = 0
        return keys

    def network_id(self, arch: Arch) -> str:
        """Hash the space's name and the choices of its cells; every output of them is used."""
        cells = {
            name: option for name, option in arch.items if name.partition(".")[0] in self._kinds
        }
        return short_hash(canonical_json({"space": self.name, "cells": cells}))

    @cached_property
    def _kinds(self) -> frozenset[str]:
        """Which of the two cells are in the row."""
        return frozenset(place.kind for place in self._row)

    @cached_property
    def _stem(self) -> OpSpec:
        return OpSpec.make(
            "conv", self.input_shape, STEM_MULTIPLIER * self.channels, kernel=3, act="none"
        )

    @cached_property
    def _row(self) -> tuple[CellPlace, ...]:
        before = last = self._stem.out_shape
        channels, row = self.channels, []
        for number in range(self.cells):
            reduces = number in (self.cells // 3, 2 * self.cells // 3)
            channels *= 2 if reduces else 1
            shape = (channels, *last[1:])
            out_shape = shape
            if reduces:
                out_shape = OpSpec.make("pool", shape, channels, pool="max", stride=2).out_shape
            row.append(CellPlace("reduce" if reduces else "normal", before, last, shape, out_shape))
            before, last = last, (len(NODES) * channels, *out_shape[1:])
        return tuple(row)

    @cached_property
    def _head(self) -> OpSpec:
        place = self._row[-1]
        shape = (len(NODES) * place.out_shape[0], *place.out_shape[1:])
        return OpSpec.make("head", shape, self.num_classes)

    def layers(self, arch: Arch) -> tuple[OpSpec, ...]:
        """Return the operations in order of execution: stem, cells, head."""
        return tuple(self._walk(arch).layers)

    def wiring(self, arch: Arch) -> Wiring | None:
        """Return whose outputs each of ``layers(arch)`` takes."""
        return self._walk(arch).wiring

    def _walk(self, arch: Arch) -> Walk:
        walk, chosen = Walk(), arch.choices
        before = last = walk.run(self._stem, IMAGE)
        for place in self._row:
            outputs = [
                walk.run(input_op(place.before, place.shape), before),
                walk.run(input_op(place.last, place.shape), last),
            ]
            for node in NODES:
                entering = []
                for edge in EDGES:
                    name = f"{place.kind}.node{node}.edge{edge}"
                    source = int(chosen[f"{name}.source"])
                    op = edge_op(str(chosen[f"{name}.op"]), source, place)
                    entering.append(walk.run(op, outputs[source]))
                outputs.append(walk.add(place.out_shape, entering))
            before, last = last, walk.run(concat_op(place), *outputs[2:])
        walk.run(self._head, last)
        return walk

    def factors(self) -> tuple[Factor, ...]:
        """Return the parts in order of execution; a sum's says which pairs of sources there are."""
        factors = [fixed_factor(self._stem)]
        for place in self._row:
            factors += [
                fixed_factor(input_op(place.before, place.shape)),
                fixed_factor(input_op(place.last, place.shape)),
            ]
            factors += _node_factors(place)
            factors.append(fixed_factor(concat_op(place)))
        return (*factors, fixed_factor(self._head))


def input_op(given: Shape, wanted: Shape) -> OpSpec:
    """Return what brings a cell's output to the channels, and the size, of the cell that takes it.

    The cell before a reduction is twice as large; it is halved by a factorized reduction (the
    published code, ``FactorizedReduce``).
    """
    if given[1:] == wanted[1:]:
        return OpSpec.make("preact_conv", given, wanted[0], kernel=1)
    return OpSpec.make("factorized_reduce", given, wanted[0])


def concat_op(place: CellPlace) -> OpSpec:
    """Return the operation that puts a cell's nodes behind each other."""
    return OpSpec.make(
        "concat", place.out_shape, len(NODES) * place.out_shape[0], summands=len(NODES)
    )


def edge_op(option: str, source: int, place: CellPlace) -> OpSpec | None:
    """Return what an edge executes; None: nothing. On a reduction's inputs it has stride 2."""
    stride = 2 if place.kind == "reduce" and source < 2 else 1
    shape = place.shape if source < 2 else place.out_shape
    channels = shape[0]
    if option == "skip_connect":
        return None if stride == 1 else OpSpec.make("factorized_reduce", shape, channels)
    name, _, size = option.rpartition("_")
    if name.endswith("pool"):
        return OpSpec.make("pool", shape, channels, pool=name.removesuffix("_pool"), stride=stride)
    return OpSpec.make(name, shape, channels, kernel=int(size[0]), stride=stride)


@lru_cache(maxsize=256)
def _node_factors(place: CellPlace) -> tuple[Factor, ...]:
    """Return the factors of one cell's nodes: two edges, then their sum."""
    factors: list[Factor] = []
    first_choice = CELLS.index(place.kind) * len(NODES) * 2 * len(EDGES)
    for number, node in enumerate(NODES):
        column = first_choice + 4 * number
        for edge in EDGES:
            sources = range(edge - 1, node - 2 + edge)
            ops = np.empty((len(OPERATIONS), len(sources)), dtype=object)
            for index in np.ndindex(ops.shape):
                ops[index] = edge_op(OPERATIONS[index[0]], sources[index[1]], place)
            start = column + 2 * (edge - 1)
            factors.append(Factor((start, start + 1), ops))
        pairs = np.empty((node - 1, node - 1), dtype=object)
        pairs[:] = add_op(place.out_shape, len(EDGES))
        # indices i and j stand for sources i and j + 1
        possible = np.triu(np.ones(pairs.shape, dtype=bool))
        factors.append(Factor((column + 1, column + 3), pairs, possible))
    return tuple(factors)
