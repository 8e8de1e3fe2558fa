"""Chain spaces: a stem, stages of layers each with its own choice of operation, a head.

One description serves the built-in spaces and a user's YAML: stages give width, stride and number
of layers; options are named blocks whose hidden width is a multiple of the layer's input. As the
widths are fixed, a layer's input shape does not depend on other choices, and latency is additive
over the choices: every factor covers at most one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from hwnas.arch import Arch, Choice, Option, short_hash
from hwnas.io.journal import canonical_json
from hwnas.ops import OpSpec, Shape, make_divisible
from hwnas.protocols import Codes, Factor, Wiring
from hwnas.space.codes import checked_arch, decode, encode


@dataclass(frozen=True)
class Block:
    """An option that is an inverted residual block.

    ``expand`` is the hidden width over the input width, rounded to a multiple of 8; ``se`` the
    squeeze width over the hidden width (0: none). ``expand`` 1 has no expansion convolution unless
    ``expand_conv`` is set. With ``groups`` over 1 both 1x1 convolutions are grouped and channels
    are shuffled after the first of them, where there is one.
    """

    kernel: int
    expand: float
    act: str = "relu6"
    se: float = 0.0
    se_gate: str = "hsigmoid"
    expand_conv: bool = False
    groups: int = 1

    def op(self, in_shape: Shape, out_channels: int, stride: int) -> OpSpec:
        """Return the operation of this block at this place of a network."""
        hidden = in_shape[0] if self.expand == 1 else make_divisible(in_shape[0] * self.expand)
        expand = self.expand != 1 or self.expand_conv
        return OpSpec.make(
            "mbconv",
            in_shape,
            out_channels,
            kernel=self.kernel,
            stride=stride,
            hidden=hidden,
            expand=expand,
            act=self.act,
            residual=stride == 1 and in_shape[0] == out_channels,
            se_width=make_divisible(hidden * self.se) if self.se else 0,
            se_gate=self.se_gate,
            groups=self.groups,
            shuffle=expand and self.groups > 1,
        )


@dataclass(frozen=True)
class Conv:
    """An option that is a plain convolution + BN + activation."""

    kernel: int
    act: str = "relu6"
    groups: int = 1

    def op(self, in_shape: Shape, out_channels: int, stride: int) -> OpSpec:
        """Return the operation of this convolution at this place of a network."""
        return OpSpec.make(
            "conv",
            in_shape,
            out_channels,
            kernel=self.kernel,
            stride=stride,
            act=self.act,
            groups=self.groups,
        )


@dataclass(frozen=True)
class Identity:
    """An option that does nothing; a 1x1 convolution + BN + ``act`` where the shape changes."""

    act: str = "none"

    def op(self, in_shape: Shape, out_channels: int, stride: int) -> OpSpec | None:
        """Return None, or the projection that a change of shape needs."""
        if stride == 1 and in_shape[0] == out_channels:
            return None
        return OpSpec.make("conv", in_shape, out_channels, kernel=1, stride=stride, act=self.act)


class LayerOption(Protocol):
    """What a layer can be: an operation at every place of a network, or nothing.

    Options are values: equal ones give equal operations.
    """

    def op(self, in_shape: Shape, out_channels: int, stride: int) -> OpSpec | None:
        """Return the operation from (C, H, W) to ``out_channels`` channels; None: no operation."""


@dataclass(frozen=True)
class Stage:
    """``layers`` layers of ``width`` channels; the first has ``stride``, the others stride 1.

    ``options`` are offered to every layer; ``same_shape_options`` only to those whose input and
    output shapes match. A stage with ``fixed`` set offers no choice.
    """

    width: int
    layers: int
    stride: int
    options: tuple[str, ...] = ()
    same_shape_options: tuple[str, ...] = ()
    fixed: LayerOption | None = None


@dataclass(frozen=True)
class Head:
    """1x1 conv to ``hidden`` channels, pool, linear to ``features``, classes; width 0: none."""

    hidden: int
    act: str = "relu6"
    features: int = 0


@dataclass(frozen=True)
class ChainSpace:
    """A search space whose networks are chains of layers."""

    name: str
    input_size: int
    num_classes: int
    stem_width: int
    stem_stride: int
    stages: tuple[Stage, ...]
    options: Mapping[str, LayerOption]
    head: Head
    layer_name: str = "layer"
    stem_act: str = "relu6"

    @property
    def input_shape(self) -> Shape:
        """Input image (3, H, W)."""
        return 3, self.input_size, self.input_size

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """One choice per searched layer."""
        return tuple(Choice(name, options) for name, options, _ in self._slots if name is not None)

    @cached_property
    def _slots(self) -> tuple[tuple[str | None, tuple[str, ...], tuple[OpSpec | None, ...]], ...]:
        """Every part in order: (choice name or None, option names, operation per option)."""
        return tuple(self._walk())

    def _walk(self) -> Iterator[tuple[str | None, tuple[str, ...], tuple[OpSpec | None, ...]]]:
        stem = OpSpec.make(
            "conv",
            self.input_shape,
            self.stem_width,
            kernel=3,
            stride=self.stem_stride,
            act=self.stem_act,
        )
        yield None, (), (stem,)
        shape, number = stem.out_shape, 0
        for stage in self.stages:
            for layer in range(stage.layers):
                stride = stage.stride if layer == 0 else 1
                same_shape = stride == 1 and shape[0] == stage.width
                if stage.fixed is not None:
                    yield None, (), (stage.fixed.op(shape, stage.width, stride),)
                else:
                    names = stage.options + (stage.same_shape_options if same_shape else ())
                    ops = tuple(self.options[n].op(shape, stage.width, stride) for n in names)
                    number += 1
                    yield f"{self.layer_name}{number}", names, ops
                probe = OpSpec.make("conv", shape, stage.width, kernel=1, stride=stride)
                shape = probe.out_shape
        head = OpSpec.make(
            "head",
            shape,
            self.num_classes,
            hidden=self.head.hidden,
            features=self.head.features,
            act=self.head.act,
        )
        yield None, (), (head,)

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        """Return the checked architecture with these choices."""
        return checked_arch(self, choices)

    def encode(self, archs: Sequence[Arch]) -> Codes:
        """Return ``(num_archs, num_choices)`` option indices."""
        return encode(self.choices, archs)

    def decode(self, codes: Codes) -> list[Arch]:
        """Return the architectures of ``(num_archs, num_choices)`` codes."""
        return decode(self.name, self.choices, codes)

    def repair(self, codes: Codes) -> Codes:
        """Return the codes with a first option for what is -1: every choice exists."""
        return np.maximum(codes, 0)

    def network_keys(self, codes: Codes) -> Codes:
        """Return ``(num_archs, num_places)``: numbers of the operations in order, identities last.

        The places are the searched layers and the fixed ones between them, which tell on what side
        of them an operation stands.
        """
        numbers: dict[OpSpec | None, int] = {None: 0}
        searched = [place for place, (name, _, _) in enumerate(self._slots) if name is not None]
        columns, place_of = [], {place: column for column, place in enumerate(searched)}
        for place in range(searched[0], searched[-1] + 1) if searched else ():
            ops = self._slots[place][2]
            known = np.array([numbers.setdefault(op, len(numbers)) for op in ops], codes.dtype)
            column = place_of.get(place)
            columns.append(
                np.full(len(codes), known[0]) if column is None else known[codes[:, column]]
            )
        keys = np.stack(columns, axis=1) if columns else codes.copy()
        order = np.argsort(keys == 0, axis=1, kind="stable")
        return np.take_along_axis(keys, order, axis=1)

    def layers(self, arch: Arch) -> tuple[OpSpec, ...]:
        """Return the operations in order of execution."""
        chosen = arch.choices
        walked = (
            ops[names.index(str(chosen[name]))] if name is not None else ops[0]
            for name, names, ops in self._slots
        )
        return tuple(op for op in walked if op is not None)

    def wiring(self, arch: Arch) -> Wiring | None:
        """Return None: the operations form a chain."""
        return None

    def factors(self) -> tuple[Factor, ...]:
        """Return one factor per part: the fixed ones of no choice, each layer of its own."""
        factors, number = [], 0
        for name, _, ops in self._slots:
            values = np.empty(len(ops), dtype=object)
            values[:] = ops
            if name is None:
                factors.append(Factor((), values.reshape(())))
            else:
                factors.append(Factor((number,), values))
                number += 1
        return tuple(factors)

    def network_id(self, arch: Arch) -> str:
        """Hash the executed operations: identities, wherever they stand, leave no trace."""
        return network_id(self.layers(arch))


def network_id(layers: Sequence[OpSpec]) -> str:
    """Return the id of a chain of operations, whatever space it came from."""
    return short_hash(canonical_json([op.to_json() for op in layers]))
