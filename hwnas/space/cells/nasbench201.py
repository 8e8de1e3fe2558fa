"""The cell space of NAS-Bench-201 (Dong and Yang, ICLR 2020), and NATS-Bench's topology space.

A cell has four nodes, the first its input and the last its output; every pair is joined by an edge
with one of five operations, and a node is the sum of the edges that enter it. Three stages of equal
cells are joined by residual reductions (§2.1, Fig. 1).

Departure: an edge that no path from the input to the output passes ("dead") is not executed. The
benchmark runs it, and its convolutions count among the published parameters; so does a batch norm
behind a convolution of nothing, whose shift is then all that such an edge adds.

A network's operations depend on the choices like this: whether an edge is executed is decided by up
to five others (whether they are ``none``), and how many tensors a node sums by up to six. The
latency is therefore not additive over single choices; it is over the factors given here, each
named by just the choices that decide it, the largest by all six.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch, Choice, Option, short_hash
from hwnas.errors import InputError
from hwnas.io.journal import canonical_json
from hwnas.ops import OpSpec, Shape
from hwnas.protocols import Codes, Factor, Wiring
from hwnas.space.cells.base import IMAGE, Walk, add_op, fixed_factor, lean_factor
from hwnas.space.codes import checked_arch, decode, encode

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP = 0, 1

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from, to) of each edge, in the order of the choices and of the benchmark's strings."""

NUM_STAGES = 3
OUTPUT = 3


@dataclass(frozen=True)
class NasBench201:
    """NAS-Bench-201 with ``cells`` cells a stage and ``channels`` channels in the first."""

    name: str
    cells: int = 5
    channels: int = 16
    num_classes: int = 10
    input_size: int = 32

    @property
    def input_shape(self) -> Shape:
        """Input image (3, H, W)."""
        return 3, self.input_size, self.input_size

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """One choice per edge of the cell."""
        return tuple(Choice(f"edge_{start}_{end}", OPERATIONS) for start, end in EDGES)

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        """Return the checked architecture with these choices."""
        return checked_arch(self, choices)

    def encode(self, archs: Sequence[Arch]) -> Codes:
        """Return ``(num_archs, 6)`` option indices."""
        return encode(self.choices, archs)

    def decode(self, codes: Codes) -> list[Arch]:
        """Return the architectures of ``(num_archs, 6)`` codes."""
        return decode(self.name, self.choices, codes)

    def repair(self, codes: Codes) -> Codes:
        """Return the codes with a first option for what is -1: every choice exists."""
        return np.maximum(codes, 0)

    def network_keys(self, codes: Codes) -> Codes:
        """Return the ``(num_archs, 6)`` codes with ``none`` for every dead edge."""
        return without_dead_edges(codes)

    def network_id(self, arch: Arch) -> str:
        """Hash the space's name and the cell without its dead edges: 9,445 networks."""
        canonical = to_strings(without_dead_edges(self.encode([arch])))
        return short_hash(canonical_json({"space": self.name, "cell": str(canonical[0])}))

    def layers(self, arch: Arch) -> tuple[OpSpec, ...]:
        """Return the operations in order of execution: of a cell's, those of live edges and sums.

        A cell whose output no live edge reaches is one operation, ``zero``.
        """
        return tuple(self._walk(arch).layers)

    def wiring(self, arch: Arch) -> Wiring | None:
        """Return whose outputs each of ``layers(arch)`` takes."""
        return self._walk(arch).wiring

    @cached_property
    def _skeleton(self) -> tuple[OpSpec, tuple[OpSpec, ...], OpSpec]:
        """Stem, reductions, head: the parts no choice decides."""
        stem = OpSpec.make("conv", self.input_shape, self.channels, kernel=3, act="none")
        shape, reductions = stem.out_shape, []
        for _ in range(NUM_STAGES - 1):
            reductions.append(OpSpec.make("preact_residual", shape, 2 * shape[0], stride=2))
            shape = reductions[-1].out_shape
        return stem, tuple(reductions), OpSpec.make("preact_head", shape, self.num_classes)

    @cached_property
    def _shapes(self) -> tuple[Shape, ...]:
        """The shape of the tensors in the cells of each stage."""
        stem, reductions, _ = self._skeleton
        return stem.out_shape, *(op.out_shape for op in reductions)

    def _walk(self, arch: Arch) -> Walk:
        code = without_dead_edges(self.encode([arch]))[0].tolist()
        stem, reductions, head = self._skeleton
        walk = Walk()
        position = walk.run(stem, IMAGE)
        for stage, shape in enumerate(self._shapes):
            if stage:
                position = walk.run(reductions[stage - 1], position)
            ops = edge_ops(shape)
            for _ in range(self.cells):
                position = _walk_cell(walk, code, ops, shape, position)
        walk.run(head, position)
        return walk

    def factors(self) -> tuple[Factor, ...]:
        """Return the parts in order of execution; a cell's over the choices that decide them."""
        stem, reductions, head = self._skeleton
        factors = [fixed_factor(stem)]
        for stage, shape in enumerate(self._shapes):
            if stage:
                factors.append(fixed_factor(reductions[stage - 1]))
            factors += _cell_factors(shape) * self.cells
        return (*factors, fixed_factor(head))


def edge_ops(shape: Shape) -> tuple[OpSpec | None, ...]:
    """Return what each of OPERATIONS executes on tensors of ``shape``; None: nothing."""
    channels = shape[0]
    return (
        None,
        None,
        OpSpec.make("preact_conv", shape, channels, kernel=1),
        OpSpec.make("preact_conv", shape, channels, kernel=3),
        OpSpec.make("pool", shape, channels, pool="avg"),
    )


def _walk_cell(
    walk: Walk, code: Sequence[int], ops: Sequence[OpSpec | None], shape: Shape, position: int
) -> int:
    """Execute one cell on the output at ``position``; return its own output's position.

    ``code`` has no dead edges, so that a node without entering edges has no leaving ones either.
    """
    nodes = {0: position}
    for node in range(1, OUTPUT + 1):
        entering = [
            walk.run(ops[option], nodes[start])
            for (start, end), option in zip(EDGES, code, strict=True)
            if end == node and option != NONE
        ]
        if entering:
            nodes[node] = walk.add(shape, entering)
    if OUTPUT not in nodes:
        return walk.run(_zero_op(shape), position)
    return nodes[OUTPUT]


def _zero_op(shape: Shape) -> OpSpec:
    return OpSpec.make("zero", shape, shape[0])


@lru_cache(maxsize=64)
def _cell_factors(shape: Shape) -> tuple[Factor, ...]:
    """Return the factors of one cell in order of execution: each node's edges, then its sum."""
    codes = all_codes()
    live = without_dead_edges(codes)
    grid = (len(OPERATIONS),) * len(EDGES)
    choices = tuple(range(len(EDGES)))
    # node 1 has one entering edge, so it sums nothing
    entering = {
        node: sum(live[:, column] != NONE for column, (_, end) in enumerate(EDGES) if end == node)
        for node in (2, OUTPUT)
    }
    pair = add_op(shape, 2)
    at_node = {2: (None, None, pair), OUTPUT: (_zero_op(shape), None, pair, add_op(shape, 3))}
    edges = [
        lean_factor(choices, live[:, column].astype(np.intp).reshape(grid), edge_ops(shape))
        for column in choices
    ]
    sums = {
        node: lean_factor(choices, np.reshape(count, grid), at_node[node])
        for node, count in entering.items()
    }
    return (*edges[:3], sums[2], *edges[3:], sums[OUTPUT])


def all_codes() -> Codes:
    """Return the ``(15625, 6)`` codes of the space, in lexicographic order."""
    sizes = (len(OPERATIONS),) * len(EDGES)
    return np.indices(sizes, dtype=np.int16).reshape(len(EDGES), -1).T


def without_dead_edges(codes: Codes) -> Codes:
    """Return ``(num_archs, 6)`` codes with ``none`` where no path through the cell passes.

    What remains is on a path from the input to the output along edges that are not ``none``.
    """
    there = {edge: codes[:, column] != NONE for column, edge in enumerate(EDGES)}
    every = np.ones(len(codes), dtype=bool)
    reached, reaching = {0: every}, {OUTPUT: every}
    for node in range(1, OUTPUT + 1):
        reached[node] = np.any(
            [there[start, node] & reached[start] for start in range(node)], axis=0
        )
    for node in reversed(range(OUTPUT)):
        reaching[node] = np.any(
            [there[node, end] & reaching[end] for end in range(node + 1, OUTPUT + 1)], axis=0
        )
    live = np.stack([there[edge] & reached[edge[0]] & reaching[edge[1]] for edge in EDGES], axis=1)
    return np.where(live, codes, codes.dtype.type(NONE))


def to_strings(codes: Codes) -> NDArray[np.str_]:
    """Return the benchmark's strings of ``(n, 6)`` codes: ``|op~0|+|op~0|op~1|+|op~0|...``."""
    names = np.array(OPERATIONS)
    strings = np.full(len(codes), "", dtype=np.str_)
    for column, (start, end) in enumerate(EDGES):
        opening = ("" if end == 1 else "+") + "|" if start == 0 else ""
        edge = np.char.add(np.char.add(opening, names), f"~{start}|")
        strings = np.char.add(strings, edge[codes[:, column]])
    return strings


def from_strings(strings: Sequence[str] | NDArray[np.str_]) -> Codes:
    """Return the ``(n, 6)`` codes of the benchmark's strings.

    Raises:
        InputError: some are not of this form; shows the first ones.
    """
    given = np.asarray(strings, dtype=np.str_).reshape(-1)
    codes = all_codes()
    known = to_strings(codes)
    order = np.argsort(known)
    places = order[np.minimum(np.searchsorted(known, given, sorter=order), len(known) - 1)]
    wrong = np.flatnonzero(known[places] != given)
    if len(wrong):
        raise InputError(
            f"{len(wrong)} of {len(given)} NAS-Bench-201 strings",
            [f"string {place}: {str(given[place])!r}" for place in wrong[:5]],
            f"a string is like {str(known[0])!r}, with any of {', '.join(OPERATIONS)}",
        )
    return codes[places]


def isomorphism_strings(codes: Codes) -> list[str]:
    """Return one text per code, equal where the benchmark counts two cells as one: 6,466 texts.

    The published rule (§2.1; ``CellStructure.to_unique_str`` with zeros considered): a node is the
    sorted sum of what enters it, ``skip_connect`` hands its node on, and what is ``none``, or comes
    directly from a node that is a single zero, is zero. A sum of zeros is not known as one, and
    zeros stay in a sum: so this rule splits some cells that are one network by ``network_keys``,
    and joins many that skips make equal.
    """
    columns = {edge: column for column, edge in enumerate(EDGES)}
    known: dict[tuple[int, ...], str] = {}
    for code in map(tuple, codes.tolist()):
        if code not in known:
            nodes = ["0"]
            for node in range(1, OUTPUT + 1):
                parts = [_term(nodes[start], code[columns[start, node]]) for start in range(node)]
                nodes.append("+".join(sorted(parts)))
            known[code] = nodes[OUTPUT]
    return [known[code] for code in map(tuple, codes.tolist())]


def _term(source: str, option: int) -> str:
    if option == NONE or source == "#":
        return "#"
    return source if option == SKIP else f"({source})@{OPERATIONS[option]}"
