"""Space ``mobile``: stages of blocks of several families, in which published networks are codes.

MobileNetV2, V3-Small, V3-Large, MnasNet-B1, EfficientNet-B0, MobileNetV4-Conv-S and Hybrid-M are
architectures of it (``known_mobile.py``). There are seven stages; stages 1, 5 and 7, which do not
stride, may be absent (depth 0). Departures from what one would offer first, all to keep the
number of operations and of states small enough for exact answers:

- strides are fixed, as the networks agree on them: ``stage{n}.stride`` has one option;
- a stage offers what the networks have there, and a first block its own options;
- ``hidden`` is relative to the block's input (``6`` times), so that it suits every width;
- ``se`` sets width, gate and inner activation together.

A choice exists only where its stage, its block and the block's family have it. A block's operation
depends on its stage's width and its own choices, a first block's on the widths of the stages before
it as well; every factor covers these, and factors without operations say which codes there are.
Latency is additive. Graphs over the space have millions of states, a hundredth of that once each
block's choices are one (``additive/contract.py``), which windows and optima are computed on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch, Choice, Option
from hwnas.ops import OpSpec, Shape
from hwnas.protocols import Codes, Factor, Wiring
from hwnas.space.chain import network_id
from hwnas.space.codes import checked_arch, decode, encode
from hwnas.space.mobile.blocks import (
    BLOCK_CHOICES,
    EXISTING,
    HEAD_KINDS,
    BlockOptions,
    head_op,
)
from hwnas.space.mobile.stages import ALL_ACTS, STAGES, BlockMenu, MobileStage

STEM_WIDTHS = (16, 32)


@dataclass(frozen=True)
class _Slot:
    """One place of a network: the columns that decide its operation, and the operations."""

    columns: tuple[int, ...]
    ops: NDArray[np.object_]
    possible: NDArray[np.bool_]


@dataclass(frozen=True)
class MobileSpace:
    """The space of the given stages. Implements :class:`hwnas.protocols.SearchSpace`."""

    name: str
    input_size: int
    num_classes: int
    stem_widths: tuple[int, ...]
    stages: tuple[MobileStage, ...]

    @property
    def input_shape(self) -> Shape:
        """Input image (3, H, W)."""
        return 3, self.input_size, self.input_size

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Stem, stages with their blocks, head."""
        return tuple(self._choices())

    def _choices(self) -> Iterator[Choice]:
        yield Choice("stem.width", self.stem_widths)
        yield Choice("stem.act", ALL_ACTS)
        for number, stage in enumerate(self.stages, start=1):
            yield Choice(f"stage{number}.depth", stage.depths)
            yield Choice(f"stage{number}.width", stage.widths)
            yield Choice(f"stage{number}.stride", (stage.stride,))
            for block in range(max(stage.depths)):
                menu = stage.menu(block)
                for name, options, kept in zip(
                    BLOCK_CHOICES, menu.options, menu.kept(), strict=True
                ):
                    if kept:
                        yield Choice(f"stage{number}.block{block + 1}.{name}", options)
        yield Choice("head.kind", tuple(HEAD_KINDS))

    @cached_property
    def _column(self) -> Mapping[str, int]:
        return {choice.name: column for column, choice in enumerate(self.choices)}

    def _block_columns(self, stage: int, block: int) -> tuple[int, ...]:
        """Return the columns of a block's choices, -1 for those that its menu never has."""
        prefix = f"stage{stage + 1}.block{block + 1}."
        return tuple(self._column.get(prefix + name, -1) for name in BLOCK_CHOICES)

    # the codes there are -----------------------------------------------------------------------

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        """Return the checked architecture with these choices, one for every choice there is."""
        return checked_arch(self, choices, self._existing)

    def _existing(self, choices: Mapping[str, Option]) -> set[str]:
        """Return the names of the choices there are; what a wrong option decides is taken as is."""
        names = {"stem.width", "stem.act", "head.kind"}
        for number, stage in enumerate(self.stages, start=1):
            prefix, depth = f"stage{number}.", choices.get(f"stage{number}.depth")
            names.add(f"{prefix}depth")
            known = depth in stage.depths and type(depth) is int
            for name in ("width", "stride"):
                if depth != 0 if known else prefix + name in choices:
                    names.add(prefix + name)
            for block in range(max(stage.depths)):
                start = f"{prefix}block{block + 1}."
                there = block < int(depth or 0) if known else f"{start}family" in choices
                if there:
                    names |= self._existing_of_block(start, stage.menu(block), choices)
        return names

    def _existing_of_block(
        self, prefix: str, menu: BlockMenu, choices: Mapping[str, Option]
    ) -> set[str]:
        family = choices.get(f"{prefix}family")
        has = EXISTING[str(family)] if family in menu.families else None
        return {f"{prefix}family"} | {
            prefix + name
            for index, name in enumerate(BLOCK_CHOICES[1:])
            if (has[index] if has else prefix + name in choices)
        }

    def encode(self, archs: Sequence[Arch]) -> Codes:
        """Return ``(num_archs, num_choices)`` option indices, -1 where a choice is absent."""
        return encode(self.choices, archs)

    def decode(self, codes: Codes) -> list[Arch]:
        """Return the architectures of ``(num_archs, num_choices)`` codes."""
        return decode(self.name, self.choices, codes)

    def repair(self, codes: Codes) -> Codes:
        """Return the codes with -1 where a choice does not exist, a first option where one lacks.

        Depths and families that are there decide.
        """
        mended = np.maximum(codes, 0)
        for number, stage in enumerate(self.stages):
            depth_column = self._column[f"stage{number + 1}.depth"]
            depth = np.array(stage.depths)[mended[:, depth_column]]
            mended[depth == 0, depth_column + 1 : depth_column + 3] = -1
            for block in range(max(stage.depths)):
                columns, menu = self._block_columns(number, block), stage.menu(block)
                has = np.array([(True, *EXISTING[family]) for family in menu.families])
                exists = has[mended[:, columns[0]]] & (depth > block)[:, None]
                for column, there in zip(columns, exists.T, strict=True):
                    if column >= 0:
                        mended[~there, column] = -1
        return mended

    # the shape walk ----------------------------------------------------------------------------

    @cached_property
    def _slots(self) -> tuple[_Slot, ...]:
        """Every place of a network in order: stem, blocks, head."""
        return tuple(self._walk())

    def _walk(self) -> Iterator[_Slot]:
        stem = np.empty((len(self.stem_widths), len(ALL_ACTS)), dtype=object)
        for (w, a), _ in np.ndenumerate(stem):
            stem[w, a] = OpSpec.make(
                "conv", self.input_shape, self.stem_widths[w], kernel=3, stride=2, act=ALL_ACTS[a]
            )
        yield _Slot((0, 1), stem, np.ones(stem.shape, dtype=bool))
        _, *size = stem[0, 0].out_shape
        before = [(0, self.stem_widths, False)]  # columns that may hold the input's width
        for number, stage in enumerate(self.stages):
            width_column = self._column[f"stage{number + 1}.width"]
            own = (width_column, stage.widths, 0 in stage.depths)
            yield self._slot(number, 0, [*before, own], (size[0], size[1]))
            size = [(side - 1) // stage.stride + 1 for side in size]
            rest = None
            for block in range(1, max(stage.depths)):
                columns = (width_column, *self._present(number, block))
                if rest is None or block == min(stage.depths):
                    # those that the stage has at every depth cannot be absent; the others are alike
                    rest = self._slot(number, block, [own], (size[0], size[1]))
                yield _Slot(columns, rest.ops, rest.possible)
            before = [*before, own] if own[2] else [own]
        head = np.empty(
            (*(len(w) + absent for _, w, absent in before), len(HEAD_KINDS)), dtype=object
        )
        for index in np.ndindex(head.shape):
            channels = self._width(before, index[:-1])
            head[index] = head_op(
                tuple(HEAD_KINDS)[index[-1]], (channels, size[0], size[1]), self.num_classes
            )
        yield _Slot(
            (*(column for column, _, _ in before), len(self.choices) - 1),
            head,
            np.ones(head.shape, dtype=bool),
        )

    def _present(self, stage: int, block: int) -> tuple[int, ...]:
        return tuple(column for column in self._block_columns(stage, block) if column >= 0)

    @staticmethod
    def _width(before: list[tuple[int, tuple[int, ...], bool]], index: tuple[int, ...]) -> int:
        """Return the channels that the last present one of these stages gives."""
        for (_, widths, _), option in zip(reversed(before), reversed(index), strict=True):
            if option < len(widths):
                return widths[option]
        raise AssertionError("the stem is always there")

    def _slot(
        self,
        number: int,
        block: int,
        widths: list[tuple[int, tuple[int, ...], bool]],
        size: tuple[int, int],
    ) -> _Slot:
        """Return the operations of a block; ``widths`` are its own stage's, last, and earlier."""
        stage = self.stages[number]
        menu, stride = stage.menu(block), stage.stride if block == 0 else 1
        optional = block >= min(stage.depths)
        kept = [i for i, is_kept in enumerate(menu.kept()) if is_kept]
        # an axis has an entry for 'absent' where the block, or a family of it, lacks the choice
        lengths = [
            len(menu.options[i])
            + (optional or not all((True, *EXISTING[f])[i] for f in menu.families))
            for i in kept
        ]
        heads = [len(w) + absent for _, w, absent in widths]
        ops = np.empty((*heads, *lengths), dtype=object)
        possible = np.zeros(ops.shape, dtype=bool)
        bodies = list(_bodies(menu, kept))
        for outer in np.ndindex(*heads):
            is_there = outer[-1] < len(stage.widths)
            if is_there:
                out_channels = stage.widths[outer[-1]]
                given = self._width(widths[:-1], outer[:-1]) if block == 0 else out_channels
                for inner, options in bodies:
                    possible[outer + inner] = True
                    ops[outer + inner] = options.op(
                        (given, *size), out_channels, stride, stage.kv_stride
                    )
            # the stage's width and its first block are there together
            if optional and (block > 0 or not is_there):
                possible[outer + tuple(length - 1 for length in lengths)] = True
        columns = (*(column for column, _, _ in widths), *self._present(number, block))
        return _Slot(columns, ops, possible)

    def layers(self, arch: Arch) -> tuple[OpSpec, ...]:
        """Return the operations in order of execution."""
        row = self.encode([arch])[0].tolist()
        ops = (slot.ops[tuple(row[column] for column in slot.columns)] for slot in self._slots)
        return tuple(op for op in ops if op is not None)

    def wiring(self, arch: Arch) -> Wiring | None:
        """Return None: the operations form a chain."""
        return None

    # what follows from it ----------------------------------------------------------------------

    def factors(self) -> tuple[Factor, ...]:
        """Return a factor per place of a network, and those that tie choices to a depth."""
        return self._factors

    @cached_property
    def _factors(self) -> tuple[Factor, ...]:
        places = tuple(Factor(slot.columns, slot.ops, slot.possible) for slot in self._slots)
        return (*places, *self._ties())

    def _ties(self) -> Iterator[Factor]:
        """Yield factors without operations that say at which depths a choice exists."""
        for number, stage in enumerate(self.stages):
            depth = self._column[f"stage{number + 1}.depth"]
            yield _tie(depth, depth + 2, [d > 0 for d in stage.depths], 1)
            if 0 in stage.depths:
                yield _tie(depth, depth + 1, [d > 0 for d in stage.depths], len(stage.widths))
            for block in range(min(stage.depths), max(stage.depths)):
                family = self._block_columns(number, block)[0]
                yield _tie(
                    depth,
                    family,
                    [d > block for d in stage.depths],
                    len(stage.menu(block).families),
                )

    @cached_property
    def _op_numbers(self) -> tuple[NDArray[np.int16], ...]:
        """For every slot the numbers of its operations, equal where they are; 0: none."""
        numbers: dict[OpSpec | None, int] = {None: 0}
        known: dict[int, NDArray[np.int32]] = {}
        for slot in self._slots:
            if id(slot.ops) not in known:
                flat = [numbers.setdefault(op, len(numbers)) for op in slot.ops.ravel().tolist()]
                known[id(slot.ops)] = np.array(flat, dtype=np.int32).reshape(slot.ops.shape)
        if len(numbers) > np.iinfo(np.int16).max:
            raise AssertionError("more operations than codes of 16 bits can number")
        return tuple(known[id(slot.ops)].astype(np.int16) for slot in self._slots)

    def network_keys(self, codes: Codes) -> Codes:
        """Return ``(num_archs, num_places)`` numbers of the operations in order, absent ones last.

        Two stages of one width can share their blocks in several ways.
        """
        columns = np.ascontiguousarray(codes.T)
        keys = np.stack(
            [
                numbers[tuple(columns[column] for column in slot.columns)]
                for slot, numbers in zip(self._slots, self._op_numbers, strict=True)
            ],
            axis=1,
        )
        order = np.argsort(keys == 0, axis=1, kind="stable")
        return np.take_along_axis(keys, order, axis=1)

    def network_id(self, arch: Arch) -> str:
        """Hash the executed operations."""
        return network_id(self.layers(arch))


def _bodies(menu: BlockMenu, kept: list[int]) -> Iterator[tuple[tuple[int, ...], BlockOptions]]:
    """Yield every combination of a block's options: its index along the kept axes, the options."""
    for place, family in enumerate(menu.families):
        has = (True, *EXISTING[family])
        ranges = [range(len(menu.options[i])) if has[i] else (-1,) for i in range(1, 6)]
        for picked in itertools.product(*ranges):
            index = (place, *picked)
            values = [menu.options[i][at] if at >= 0 else None for i, at in enumerate(index)]
            yield (tuple(index[i] for i in kept), BlockOptions(family, *values[1:]))  # type: ignore[arg-type]


def _tie(depth: int, column: int, exists: list[bool], num_options: int) -> Factor:
    """Return the factor that lets a choice exist at just those depths for which ``exists``."""
    can_be_absent = not all(exists)
    shape = len(exists), num_options + can_be_absent
    possible = np.repeat(np.array(exists)[:, None], shape[1], axis=1)
    if can_be_absent:
        possible[:, -1] = ~np.array(exists)
    return Factor((depth, column), np.full(shape, None, dtype=object), possible)


def mobile(name: str, input_size: int, num_classes: int) -> MobileSpace:
    """Return space ``mobile`` for square images of ``input_size`` pixels."""
    return MobileSpace(name, input_size, num_classes, STEM_WIDTHS, STAGES)
