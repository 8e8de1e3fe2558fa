"""What a search writes down: evaluations with their sources and cost, and stages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from hwnas.arch import Arch
from hwnas.protocols import Evaluation, Objective, SearchSpace


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def evaluation_record(
    index: int, space: SearchSpace, evaluation: Evaluation, latency_ms: float, source: str
) -> dict[str, Any]:
    """Return the journal's record of one evaluation; ``latency_ms`` is predicted."""
    arch = evaluation.arch
    return {
        "event": "evaluation",
        "index": index,
        "arch": arch.to_json(),
        "arch_id": arch.arch_id,
        "network_id": space.network_id(arch),
        "latency_ms": latency_ms,
        "latency_source": source,
        "objectives": {name: o.to_json() for name, o in evaluation.objectives.items()},
        **({} if evaluation.error is None else {"error": evaluation.error}),
        "cost": dict(evaluation.cost),
        "time": now(),
    }


def evaluation_of(record: Mapping[str, Any]) -> Evaluation:
    """Read :func:`evaluation_record` back."""
    arch = record["arch"]
    return Evaluation(
        arch=Arch.make(arch["space"], arch["choices"]),
        objectives={name: Objective(**value) for name, value in record["objectives"].items()},
        cost=record["cost"],
        error=record.get("error"),
    )


def stage_record(stage: str, wall_s: float, cost: Mapping[str, float]) -> dict[str, Any]:
    """Return the journal's record of a finished stage of a run."""
    return {
        "event": "stage",
        "stage": stage,
        "wall_s": round(wall_s, 3),
        "cost": dict(cost),
        "time": now(),
    }
