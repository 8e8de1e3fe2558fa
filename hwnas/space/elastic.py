"""Elastic spaces: the input's resolution, stages of elastic depth, blocks of elastic size.

``ofa-mbv3`` is the space of Cai et al., "Once-for-All: Train One Network and Specialize it for
Efficient Deployment" (ICLR 2020), §4.1 "Architecture space", in the shapes of its published
MobileNetV3 supernets (width 1.0 and 1.2). Departures: an architecture holds the choices that exist
in it and no others, so that equal networks are equal codes; resolutions are those of the published
latency tables, 128 to 224 in steps of 16.

A block's input depends on the resolution only, since a stage's blocks have one width: every
factor covers the resolution, the depth where it decides about the block, and the block's own
choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch, Choice, Option
from hwnas.errors import InputError
from hwnas.ops import OpSpec, Shape, make_divisible
from hwnas.protocols import Codes, Factor, Wiring
from hwnas.space.chain import Block, network_id
from hwnas.space.codes import checked_arch, decode, encode

RESOLUTIONS = (128, 144, 160, 176, 192, 208, 224)


@dataclass(frozen=True)
class ElasticStage:
    """Blocks of ``width`` channels, the first with ``stride``; ``se``: squeeze over hidden."""

    width: int
    stride: int
    act: str
    se: float


@dataclass(frozen=True)
class _Sizes:
    """All operations at one resolution; ``blocks[s][b]`` is (num_kernels, num_expands)."""

    stem: OpSpec
    first: OpSpec
    blocks: tuple[tuple[NDArray[np.object_], ...], ...]
    head: OpSpec


@dataclass(frozen=True)
class ElasticSpace:
    """A space of ``resolution``, ``stage{s}.depth`` and blocks' ``kernel_size, expand_ratio``.

    The stem's block without expansion is fixed. ``hidden`` and ``features`` are the head's widths:
    1x1 convolution with BN, pooling, linear layer without bias. Options are increasing integers.
    """

    name: str
    num_classes: int
    stem_width: int
    stages: tuple[ElasticStage, ...]
    hidden: int
    features: int
    resolutions: tuple[int, ...] = RESOLUTIONS
    depths: tuple[int, ...] = (2, 3, 4)
    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int, ...] = (3, 4, 6)

    @property
    def input_shape(self) -> Shape:
        """The largest input image (3, H, W)."""
        return 3, self.resolutions[-1], self.resolutions[-1]

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Resolution, then stage by stage its depth and its blocks' kernels and expansions."""
        return tuple(self._choices())

    def _choices(self) -> Iterator[Choice]:
        yield Choice("resolution", self.resolutions)
        for stage in range(1, len(self.stages) + 1):
            yield Choice(f"stage{stage}.depth", self.depths)
            for block in range(1, self.depths[-1] + 1):
                yield Choice(f"stage{stage}.block{block}.kernel_size", self.kernels)
                yield Choice(f"stage{stage}.block{block}.expand_ratio", self.expands)

    def _depth_column(self, stage: int) -> int:
        return 1 + stage * (1 + 2 * self.depths[-1])

    def _kernel_column(self, stage: int, block: int) -> int:
        """Return the column of a block's kernel; its expansion's is the next."""
        return self._depth_column(stage) + 1 + 2 * block

    @cached_property
    def _sizes(self) -> Mapping[int, _Sizes]:
        return {resolution: self._walk(resolution) for resolution in self.resolutions}

    def _walk(self, resolution: int) -> _Sizes:
        stem = OpSpec.make(
            "conv", (3, resolution, resolution), self.stem_width, kernel=3, stride=2, act="hswish"
        )
        first = Block(3, 1, "relu").op(stem.out_shape, self.stem_width, 1)
        shape, stages = first.out_shape, []
        for stage in self.stages:
            blocks = []
            for number in range(self.depths[-1]):
                stride = stage.stride if number == 0 else 1
                ops = np.empty((len(self.kernels), len(self.expands)), dtype=object)
                for (k, e), _ in np.ndenumerate(ops):
                    block = Block(self.kernels[k], self.expands[e], stage.act, stage.se)
                    ops[k, e] = block.op(shape, stage.width, stride)
                blocks.append(ops)
                shape = ops[0, 0].out_shape
            stages.append(tuple(blocks))
        head = OpSpec.make(
            "head",
            shape,
            self.num_classes,
            hidden=self.hidden,
            act="hswish",
            features=self.features,
            features_bias=False,
        )
        return _Sizes(stem, first, tuple(stages), head)

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        """Return the checked architecture with these choices, none for blocks beyond a depth."""
        return checked_arch(self, choices, self._existing)

    def _existing(self, choices: Mapping[str, Option]) -> set[str]:
        """Return the names of the choices there are; a wrong depth says nothing about blocks."""
        names = {choice.name for choice in self.choices}
        for stage in range(1, len(self.stages) + 1):
            depth = choices.get(f"stage{stage}.depth")
            known = any(depth == option and type(depth) is int for option in self.depths)
            for block in range(self.depths[0] + 1, self.depths[-1] + 1):
                for name in ("kernel_size", "expand_ratio"):
                    spelt = f"stage{stage}.block{block}.{name}"
                    there = block <= int(depth) if known and depth else spelt in choices
                    if not there:
                        names.remove(spelt)
        return names

    def encode(self, archs: Sequence[Arch]) -> Codes:
        """Return ``(num_archs, num_choices)`` option indices, -1 beyond a stage's depth."""
        return encode(self.choices, archs)

    def decode(self, codes: Codes) -> list[Arch]:
        """Return the architectures of ``(num_archs, num_choices)`` codes."""
        return decode(self.name, self.choices, codes)

    def repair(self, codes: Codes) -> Codes:
        """Return the codes with -1 just beyond each depth and a first option where one lacks."""
        mended = np.maximum(codes, 0)
        for stage in range(len(self.stages)):
            depth = np.array(self.depths)[mended[:, self._depth_column(stage)]]
            for block in range(self.depths[0], self.depths[-1]):
                column = self._kernel_column(stage, block)
                mended[depth <= block, column : column + 2] = -1
        return mended

    def network_keys(self, codes: Codes) -> Codes:
        """Return the codes: different ones are different networks.

        Expansions of one input differ (widths are multiples of 8), and the stages' strides and
        squeeze layers tell where one ends.
        """
        return codes.copy()

    def layers(self, arch: Arch) -> tuple[OpSpec, ...]:
        """Return the operations in order of execution."""
        row = self.encode([arch])[0].tolist()
        sizes = self._sizes[self.resolutions[row[0]]]
        ops = [sizes.stem, sizes.first]
        for stage, blocks in enumerate(sizes.blocks):
            for block in range(self.depths[row[self._depth_column(stage)]]):
                column = self._kernel_column(stage, block)
                ops.append(blocks[block][row[column], row[column + 1]])
        return (*ops, sizes.head)

    def wiring(self, arch: Arch) -> Wiring | None:
        """Return None: the operations form a chain."""
        return None

    def factors(self) -> tuple[Factor, ...]:
        """Return the stem, the first block and the head by resolution, and one factor a block."""
        return self._factors

    @cached_property
    def _factors(self) -> tuple[Factor, ...]:
        at = [self._sizes[resolution] for resolution in self.resolutions]
        factors = [
            Factor((0,), _objects([size.stem for size in at])),
            Factor((0,), _objects([size.first for size in at])),
        ]
        for stage in range(len(self.stages)):
            for block in range(self.depths[-1]):
                ops = np.stack([size.blocks[stage][block] for size in at])
                column = self._kernel_column(stage, block)
                if block < self.depths[0]:
                    factors.append(Factor((0, column, column + 1), ops))
                else:
                    factors.append(self._optional(self._depth_column(stage), column, block, ops))
        return (*factors, Factor((0,), _objects([size.head for size in at])))

    def _optional(
        self, depth_column: int, column: int, block: int, ops: NDArray[np.object_]
    ) -> Factor:
        """Return the factor of a block that exists in stages deeper than ``block``.

        ``ops`` (num_resolutions, num_kernels, num_expands).
        """
        resolutions, kernels, expands = ops.shape
        shape = resolutions, len(self.depths), kernels + 1, expands + 1
        wide = np.empty(shape, dtype=object)
        possible = np.zeros(shape, dtype=bool)
        for index, depth in enumerate(self.depths):
            if depth > block:
                wide[:, index, :-1, :-1] = ops
                possible[:, index, :-1, :-1] = True
            else:
                possible[:, index, -1, -1] = True
        return Factor((0, depth_column, column, column + 1), wide, possible)

    def network_id(self, arch: Arch) -> str:
        """Hash the executed operations, the resolution included."""
        return network_id(self.layers(arch))


def _objects(ops: Sequence[OpSpec]) -> NDArray[np.object_]:
    array = np.empty(len(ops), dtype=object)
    array[:] = ops
    return array


def ofa_mbv3(name: str, width_mult: float, num_classes: int, resolution: int = 0) -> ElasticSpace:
    """Return the Once-for-All MobileNetV3 space; supernets are published at width 1.0 and 1.2.

    ``resolution`` leaves one of them, 0 all.

    Raises:
        InputError: the space has no such resolution.
    """
    if resolution and resolution not in RESOLUTIONS:
        raise InputError(
            f"space {name!r}",
            [f"resolution must be one of {', '.join(map(str, RESOLUTIONS))}, or 0 for all"],
        )

    def width(channels: int) -> int:
        return make_divisible(channels * width_mult)

    return ElasticSpace(
        name=name,
        num_classes=num_classes,
        stem_width=width(16),
        stages=(
            ElasticStage(width(24), 2, "relu", 0.0),
            ElasticStage(width(40), 2, "relu", 0.25),
            ElasticStage(width(80), 2, "hswish", 0.0),
            ElasticStage(width(112), 1, "hswish", 0.25),
            ElasticStage(width(160), 2, "hswish", 0.25),
        ),
        hidden=width(960),
        features=width(1280),
        resolutions=(resolution,) if resolution else RESOLUTIONS,
    )
