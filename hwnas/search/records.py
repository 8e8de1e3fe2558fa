"""Events that a search and the stages of a run write into the journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TypeVar

from hwnas.artifacts.events import BaselineEvent, EvaluationEvent, RungEvent, StageEvent
from hwnas.artifacts.networks import ArchPart, objectives_of
from hwnas.protocols import Evaluation, SearchSpace

Failable = TypeVar("Failable", EvaluationEvent, BaselineEvent, RungEvent)


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def evaluation_event(
    index: int, space: SearchSpace, evaluation: Evaluation, latency_ms: float, source: str
) -> EvaluationEvent:
    """Return the event of evaluation number ``index``; ``source`` predicted ``latency_ms``."""
    arch = evaluation.arch
    event = EvaluationEvent(
        index=index,
        arch=ArchPart.of(arch),
        arch_id=arch.arch_id,
        network_id=space.network_id(arch),
        latency_ms=latency_ms,
        latency_source=source,
        objectives=objectives_of(evaluation.objectives),
        cost=dict(evaluation.cost),
        time=now(),
    )
    return _with_error(event, evaluation)


def baseline_event(
    index: int,
    number: int,
    space: SearchSpace,
    evaluation: Evaluation,
    latency_ms: float,
    source: str,
) -> BaselineEvent:
    """Return the event of random network ``index`` for budget ``number``, both from 0."""
    arch = evaluation.arch
    event = BaselineEvent(
        index=index,
        arch=ArchPart.of(arch),
        arch_id=arch.arch_id,
        network_id=space.network_id(arch),
        latency_ms=latency_ms,
        latency_source=source,
        objectives=objectives_of(evaluation.objectives),
        cost=dict(evaluation.cost),
        time=now(),
        number=number,
    )
    return _with_error(event, evaluation)


def rung_event(space: SearchSpace, evaluation: Evaluation, epochs: int) -> RungEvent:
    """Return the event of a network that successive halving trained for ``epochs``."""
    arch = evaluation.arch
    event = RungEvent(
        arch=ArchPart.of(arch),
        arch_id=arch.arch_id,
        network_id=space.network_id(arch),
        objectives=objectives_of(evaluation.objectives),
        cost=dict(evaluation.cost),
        time=now(),
        epochs=epochs,
    )
    return _with_error(event, evaluation)


def _with_error(event: Failable, evaluation: Evaluation) -> Failable:
    """Return ``event`` with the error of a failed evaluation; a key without a value is left out."""
    if evaluation.error is None:
        return event
    return event.model_copy(update={"error": evaluation.error})


def stage_event(stage: str, wall_s: float, cost: Mapping[str, float]) -> StageEvent:
    """Return the event of a stage that ended after ``wall_s`` seconds."""
    return StageEvent(stage=stage, wall_s=round(wall_s, 3), cost=dict(cost), time=now())
