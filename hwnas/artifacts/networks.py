"""Architectures, operations, scores and limits as they stand in several files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from typing_extensions import Self

from hwnas.arch import Arch, Option
from hwnas.artifacts.base import Id, Milliseconds, Part
from hwnas.ops import OpSpec
from hwnas.protocols import Objective


class ArchPart(Part):
    """An architecture: the option of every choice of ``space``."""

    schema_: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    space: str
    choices: dict[str, Option]

    @classmethod
    def of(cls, arch: Arch) -> Self:
        """Return the file's form of ``arch``."""
        return cls(schema_=1, space=arch.space, choices=arch.choices)

    @property
    def unchecked(self) -> Arch:
        """The architecture; nobody has asked its space whether it is possible."""
        return Arch.make(self.space, self.choices)


class OperationPart(Part):
    """An operation of a network; ``in_shape`` is (C, H, W)."""

    kind: str
    in_shape: tuple[int, int, int]
    out_channels: int
    attrs: dict[str, bool | int | str]

    @classmethod
    def of(cls, op: OpSpec) -> Self:
        """Return the file's form of ``op``."""
        return cls.model_validate({**op.to_json(), "in_shape": op.in_shape})

    @property
    def spec(self) -> OpSpec:
        """The operation; ValueError says why there is none such."""
        return OpSpec.from_json(self.to_json())


class ObjectivePart(Part):
    """One score of a network, with where it came from (see :class:`hwnas.protocols.Objective`).

    ``top1`` is a fraction of one, ``loss`` in nats, ``epochs`` those of the last rung of successive
    halving.
    """

    value: float
    unit: str
    direction: str
    source: str

    @classmethod
    def of(cls, objective: Objective) -> Self:
        """Return the file's form of ``objective``."""
        return cls(
            value=objective.value,
            unit=objective.unit,
            direction=objective.direction,
            source=objective.source,
        )

    @property
    def objective(self) -> Objective:
        """The score as the searches work on it."""
        return Objective(self.value, self.unit, self.direction, self.source)


Objectives = dict[str, ObjectivePart]
"""The scores of a network by name: ``top1`` and, of some evaluators, ``loss`` and ``epochs``."""


def objectives_of(objectives: Mapping[str, Objective]) -> Objectives:
    """Return the file's form of scores."""
    return {name: ObjectivePart.of(objective) for name, objective in objectives.items()}


class LimitPart(Part):
    """An upper limit on a network.

    ``metric`` is ``latency_ms`` (on the target whose table is called ``table`` in the run folder),
    ``params``, ``macs`` or ``size_mb``; the last is about files of ``precision``.
    """

    metric: str
    table: str | None = None
    max: float
    precision: str | None = None


class Candidate(Part):
    """A network as the search ranks it; ``latency_ms`` is predicted for its first target."""

    arch: ArchPart
    arch_id: Id
    network_id: Id
    latency_ms: Milliseconds
    objectives: Objectives

    @property
    def top1(self) -> ObjectivePart:
        """What the search says of its accuracy; KeyError where its evaluation failed."""
        return self.objectives["top1"]
