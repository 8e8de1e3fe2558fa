"""The lines of ``journal.jsonl``: one object each, its kind in the key ``event``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from hwnas.artifacts.base import Cost, Count, Id, JsonObject, Milliseconds, Part
from hwnas.artifacts.networks import ArchPart, Candidate, Objectives
from hwnas.io.schemas import parse_model
from hwnas.protocols import Evaluation

JOURNAL = "journal.jsonl"


class Event(Part):
    """A line of a journal; ``EVENT`` is what its key ``event`` holds."""

    EVENT: ClassVar[str]

    def to_json(self) -> JsonObject:
        """Return the line's object, its kind first."""
        return {"event": self.EVENT, **super().to_json()}


Kind = TypeVar("Kind", bound=Event)


def read_events(records: Iterable[Mapping[str, Any]], kind: type[Kind], path: Path) -> list[Kind]:
    """Return the events of one kind among the ``records`` of the journal at ``path``, in order.

    Raises:
        InputError: one of them is not what its schema says; lists every problem of the first such.
    """
    found = [record for record in records if record.get("event") == kind.EVENT]
    try:
        # all at once: a search by a table has tens of thousands
        return TypeAdapter(list[kind]).validate_json(json.dumps(found))  # type: ignore[valid-type]
    except ValidationError:
        return [parse_model(kind, record, what=f"{path}, {kind.EVENT}") for record in found]


class EvaluationEvent(Event):
    """A network that the search evaluated, number ``index`` from 0.

    ``latency_ms`` is predicted, ``latency_source`` is the predictor's name. Without ``objectives``
    the evaluation failed, and ``error`` says why. ``time`` is UTC in ISO 8601, here and below.
    """

    EVENT: ClassVar[str] = "evaluation"

    event: Literal["evaluation", "baseline"] = "evaluation"
    index: Count
    arch: ArchPart
    arch_id: Id
    network_id: Id
    latency_ms: Milliseconds
    latency_source: str = "lut"
    objectives: Objectives
    error: str | None = None
    cost: Cost = Field(default_factory=dict)
    time: str = ""

    @property
    def is_scored(self) -> bool:
        """Whether the evaluation gave an accuracy."""
        return "top1" in self.objectives

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation as searches work on it."""
        return _evaluation(self.arch, self.objectives, self.cost, self.error)

    @property
    def candidate(self) -> Candidate:
        """What result files say of the network."""
        return Candidate(
            arch=self.arch,
            arch_id=self.arch_id,
            network_id=self.network_id,
            latency_ms=self.latency_ms,
            objectives=self.objectives,
        )


class BaselineEvent(EvaluationEvent):
    """A network drawn at random within the limits of budget ``number``, from 0, and evaluated."""

    EVENT: ClassVar[str] = "baseline"

    event: Literal["baseline"] = "baseline"
    number: Count


class RungEvent(Event):
    """A network that successive halving trained for ``epochs``."""

    EVENT: ClassVar[str] = "rung"

    event: Literal["rung"] = "rung"
    arch: ArchPart
    arch_id: Id
    network_id: Id
    objectives: Objectives
    error: str | None = None
    cost: Cost = Field(default_factory=dict)
    time: str = ""
    epochs: Count

    @property
    def evaluation(self) -> Evaluation:
        """The evaluation as searches work on it."""
        return _evaluation(self.arch, self.objectives, self.cost, self.error)


def _evaluation(
    arch: ArchPart, objectives: Objectives, cost: Cost, error: str | None
) -> Evaluation:
    return Evaluation(
        arch=arch.unchecked,
        objectives={name: part.objective for name, part in objectives.items()},
        cost=cost,
        error=error,
    )


class SupernetEvent(Event):
    """A supernet that was trained: copy ``number``, from 0, its last loss, and the cost."""

    EVENT: ClassVar[str] = "supernet"

    event: Literal["supernet"] = "supernet"
    number: Count
    epochs: Count
    loss: float
    cost: Cost = Field(default_factory=dict)


class SupernetEpochEvent(Event):
    """One epoch of a supernet with gates, for budget ``number``, from 0; ``epoch`` from 1.

    ``entropy`` is the gates' mean per choice in nats, ``expected_ms`` and ``argmax_ms`` are the
    predicted latencies of the gates' distribution and of its likeliest network, ``multiplier``
    weights the latency in the loss, ``num_arch_steps`` counts the gates' updates so far. ``gates``
    has for each choice of the space the probability of each of its options (older runs: empty).
    """

    EVENT: ClassVar[str] = "supernet_epoch"

    event: Literal["supernet_epoch"] = "supernet_epoch"
    number: Count
    epoch: Count
    loss: float
    lr: float | None = None
    entropy: float
    expected_ms: float
    argmax_ms: float
    target_ms: Milliseconds
    multiplier: float | None = None
    num_arch_steps: Count = 0
    gates: tuple[tuple[float, ...], ...] = ()


class StageEvent(Event):
    """A stage that ended: its wall time in seconds and its cost."""

    EVENT: ClassVar[str] = "stage"

    event: Literal["stage"] = "stage"
    stage: str
    wall_s: float
    cost: Cost = Field(default_factory=dict)
    time: str = ""


class ResumeEvent(Event):
    """The run was taken up again."""

    EVENT: ClassVar[str] = "resume"

    event: Literal["resume"] = "resume"
    time: str = ""
