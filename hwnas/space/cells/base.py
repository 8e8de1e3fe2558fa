"""What spaces of networks made of cells share: operations with their inputs, and lean factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwnas.ops import OpSpec, Shape
from hwnas.protocols import Factor, Wiring

IMAGE = -1
"""The position in a Wiring that stands for the image."""


@dataclass
class Walk:
    """The operations of a network as they are met, each with the positions it takes."""

    layers: list[OpSpec] = field(default_factory=list)
    inputs: list[tuple[int, ...]] = field(default_factory=list)

    def run(self, op: OpSpec | None, *inputs: int) -> int:
        """Execute ``op`` on these outputs; return the position of its own (None: of the input)."""
        if op is None:
            return inputs[0]
        self.layers.append(op)
        self.inputs.append(inputs)
        return len(self.layers) - 1

    def add(self, shape: Shape, inputs: Sequence[int]) -> int:
        """Return the position of the sum of these outputs; one alone is its own sum."""
        if len(inputs) == 1:
            return inputs[0]
        return self.run(add_op(shape, len(inputs)), *inputs)

    @property
    def wiring(self) -> Wiring:
        """Whose outputs each operation takes."""
        return tuple(self.inputs)


def add_op(shape: Shape, summands: int) -> OpSpec:
    """Return the sum of ``summands`` tensors of ``shape``."""
    return OpSpec.make("add", shape, shape[0], summands=summands)


def fixed_factor(op: OpSpec) -> Factor:
    """Return the factor of an operation that no choice decides."""
    ops = np.empty((), dtype=object)
    ops[()] = op
    return Factor((), ops)


def lean_factor(
    choices: tuple[int, ...], numbers: NDArray[np.intp], ops: Sequence[OpSpec | None]
) -> Factor:
    """Return the factor whose entries are ``ops[numbers]``, over those choices that decide it."""
    lean, kept = numbers, []
    for axis, choice in reversed(list(enumerate(choices))):
        first = np.take(lean, [0], axis)
        if np.array_equal(lean, np.broadcast_to(first, lean.shape)):
            lean = np.take(lean, 0, axis)
        else:
            kept.append(choice)
    table = np.empty(len(ops), dtype=object)
    table[:] = ops
    return Factor(tuple(reversed(kept)), np.asarray(table[lean], dtype=object).reshape(lean.shape))
