"""A space whose blocks may be absent, which no built-in chain has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from hwnas.arch import Arch, Choice, Option
from hwnas.errors import InputError
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, Factor
from hwnas.space.codes import decode, encode


class DepthSpace:
    """A depth of 1 to 3 and a kernel for every block up to it; names are not in sorted order."""

    name = "depth"
    input_shape, num_classes = (3, 8, 8), 2
    choices = (
        Choice("depth", (1, 2, 3)),
        Choice("block1.kernel", (3, 5)),
        Choice("block2.kernel", (3, 5)),
        Choice('a "quoted" block3.kernel', (3, 5, 7)),
    )

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        depth = choices.get("depth")
        if depth not in (1, 2, 3):
            raise InputError("architecture of depth", [f"choice 'depth' is {depth!r}"])
        expected = {choice.name for choice in self.choices[: depth + 1]}
        if set(choices) != expected:
            raise InputError("architecture of depth", [f"depth {depth} needs {sorted(expected)}"])
        return Arch.make(self.name, choices)

    def encode(self, archs: Sequence[Arch]) -> Codes:
        return encode(self.choices, archs)

    def decode(self, codes: Codes) -> list[Arch]:
        return decode(self.name, self.choices, codes)

    def factors(self) -> tuple[Factor, ...]:
        stem = np.empty((), dtype=object)
        stem[()] = OpSpec.make("conv", self.input_shape, 8, kernel=3, stride=1)
        factors = [Factor((), stem)]
        for number, choice in enumerate(self.choices[1:], start=1):
            is_optional = number > 1
            ops = np.empty((3, len(choice.options) + is_optional), dtype=object)
            for place, kernel in enumerate(choice.options):
                ops[number - 1 :, place] = OpSpec.make(
                    "conv", (8, 8, 8), 8, kernel=kernel, stride=1
                )
            factors.append(Factor((0, number), ops))
        return tuple(factors)


@pytest.fixture(scope="session")
def depth_space() -> DepthSpace:
    return DepthSpace()


@pytest.fixture(scope="session")
def depth_codes() -> Codes:
    """All codes of the space: 2 of depth 1, 4 of depth 2, 12 of depth 3."""
    return np.array(
        [(0, a, -1, -1) for a in range(2)]
        + [(1, a, b, -1) for a in range(2) for b in range(2)]
        + [(2, a, b, c) for a in range(2) for b in range(2) for c in range(3)],
        dtype=np.int16,
    )
