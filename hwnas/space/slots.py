"""A chain space as places in a row, each decided by one choice: what a supernet of paths needs.

Imports no torch, so that a command can ask early whether gates can be trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.errors import UsageError
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace


@dataclass(frozen=True)
class Slot:
    """A place of the chain: the choice that decides it (None: no choice) and its candidates.

    ``None`` among the candidates is an operation that does nothing.
    """

    choice: int | None
    ops: tuple[OpSpec | None, ...]


def slots_of(space: SearchSpace) -> tuple[Slot, ...]:
    """Return the places of a chain space in order of execution.

    Raises:
        UsageError: a part of the space is decided by several choices, or its parts are not a chain.
    """
    factors = space.factors()
    first = space.decode(space.repair(np.zeros((1, len(space.choices)), dtype=np.int16)))[0]
    if any(len(factor.choices) > 1 for factor in factors):
        shared = "supernet, " if space.wiring(first) is None else ""
        raise UsageError(
            f"space {space.name} has parts that several choices decide; gates "
            "(proxyless, proxyless-rl) need a chain of layers with a choice each: "
            "tiny, macro-cifar, proxyless, fbnet, or a chain of your own. Next: "
            f"--strategy evolution with --evaluator {shared}scratch, table:FILE or "
            "predictor:FILE, or one of these spaces"
        )
    slots = tuple(
        Slot(f.choices[0] if f.choices else None, tuple(np.atleast_1d(f.ops))) for f in factors
    )
    chain = tuple(op for op in (slot.ops[0] for slot in slots) if op is not None)
    if chain != space.layers(first):
        raise UsageError(
            f"space {space.name}: its parts are not executed one after the other, as "
            "those of a supernet are. Next: --evaluator scratch"
        )
    return slots
