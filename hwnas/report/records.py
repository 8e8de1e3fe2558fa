"""What the report reads of the files that a run and its search write, as frozen values.

The classes name the keys the page shows; other keys are ignored, so that a file may grow. Accuracy
(``top1``) and errors (``..._rel_error``, ``repeatability``) are fractions of one, latencies are
milliseconds at batch 1, times seconds. :func:`read_record` checks types at the border.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from hwnas.errors import InputError
from hwnas.protocols import Objective
from hwnas.report.markup import printable

Record = TypeVar("Record")
Positive: TypeAlias = Annotated[float, Field(gt=0)]
# pydantic takes no integer beyond 64 bits for a number, which the codes of a large space are
Count: TypeAlias = Annotated[
    float, BeforeValidator(lambda value: float(value) if type(value) is int else value)
]


def read_record(kind: type[Record], value: Any, what: str) -> Record:
    """Return ``value`` (as JSON gave it) as a ``kind``; numbers that are not finite are absent.

    Raises:
        InputError: lists every key of ``what`` that is missing or has the wrong type.
    """
    text = json.dumps(cleaned(value))
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in detail['loc']) or 'the file'}: "
            f"{detail['msg']}, got {str(detail['input'])[:80]}"
            for detail in error.errors()
        ]
        raise InputError(what, problems, "repeat the command that writes this file") from None


def cleaned(value: Any) -> Any:
    """Return plain data that a page can show.

    None stands for every NaN and infinity; keys are text, and all text is printable.
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {cleaned(str(key)): cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [cleaned(item) for item in value]
    return value


@dataclass(frozen=True)
class Env:
    """``env.json``: the software and host of the run."""

    hwnas: str
    python: str = ""
    platform: str = ""
    cpu: str = ""
    cores: int | None = None
    packages: dict[str, str] = field(default_factory=dict)
    started: str = ""


@dataclass(frozen=True)
class EvaluationRecord:
    """An ``evaluation`` of ``journal.jsonl``; ``latency_ms`` is predicted."""

    index: int
    arch_id: str
    latency_ms: Positive
    objectives: dict[str, Objective]
    latency_source: str = "lut"


@dataclass(frozen=True)
class SearchEpoch:
    """A ``supernet_epoch`` of ``journal.jsonl``: weights and, after warm-up, gates were trained.

    ``number`` is the budget's, from 0; ``entropy`` is per choice, nats; latencies are predicted.
    """

    number: int
    epoch: int
    loss: float
    entropy: float
    expected_ms: float
    argmax_ms: float
    target_ms: Positive
    num_arch_steps: int = 0


@dataclass(frozen=True)
class StageCost:
    """The ledger's counts of one stage."""

    images_trained: float | None = None
    macs_images: float | None = None
    core_s: float | None = None
    device_s: float | None = None


@dataclass(frozen=True)
class StageRecord:
    """A ``stage`` of ``journal.jsonl``: what one verb of the flow took."""

    stage: str
    wall_s: float
    cost: StageCost = StageCost()


@dataclass(frozen=True)
class Fit:
    """How well a predictor agrees with networks measured later."""

    num_networks: int | None = None
    mean_abs_rel_error: float | None = None
    within_5_percent: float | None = None
    kendall_tau: float | None = None


@dataclass(frozen=True)
class Validation(Fit):
    """A table's predictions of one space, beside what simpler predictors reach on it."""

    repeatability_mean: float | None = None
    macs_line: Fit | None = None
    op_count_line: Fit | None = None


@dataclass(frozen=True)
class Limit:
    """One limit of an answer: ``metric`` at most ``max``."""

    metric: str
    max: float


@dataclass(frozen=True)
class Candidate:
    """An architecture as the search ranks it; ``latency_ms`` is predicted."""

    arch_id: str
    network_id: str
    latency_ms: Positive
    objectives: dict[str, Objective] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """The best architecture under one set of limits."""

    limits: tuple[Limit, ...]
    best: Candidate | None = None


@dataclass(frozen=True)
class Audit:
    """How the latencies of the whole space lie about the budget; ``percentiles`` in ms."""

    num_codes: Count | None = None
    num_feasible_low: Count | None = None
    num_feasible_high: Count | None = None
    fastest_ms: float | None = None
    slowest_ms: float | None = None
    percentiles: dict[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictedRows:
    """Rows of a table (of a scope) that were predicted from its measured ones, with their errors.

    ``kinds``: what ``OpPredictor.report`` says of each kind of operation.
    """

    scope: str
    num_measured: Count
    num_predicted: Count
    kinds: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Result:
    """``result.json``: what the search answered."""

    strategy: str
    space: str
    seed: int
    num_evaluations: int
    answers: tuple[Answer, ...]
    restricted: tuple[Any, ...] = ()
    audit: Audit | None = None
    predicted_rows: tuple[tuple[PredictedRows, ...], ...] = ()


@dataclass(frozen=True)
class FinalistAnswer:
    """The distinct best networks under one set of limits, best first."""

    limits: tuple[Limit, ...]
    finalists: tuple[Candidate, ...]


@dataclass(frozen=True)
class Finalists:
    """``finalists.json``."""

    answers: tuple[FinalistAnswer, ...]


@dataclass(frozen=True)
class FrontPoint:
    """An evaluated architecture, and whether no other is both faster and better."""

    arch_id: str
    latency_ms: Positive
    top1: float
    on_front: bool


@dataclass(frozen=True)
class Front:
    """``front.json``."""

    points: tuple[FrontPoint, ...]
