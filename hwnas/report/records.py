"""What the report reads of each file of a run folder, as frozen values.

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
from hwnas.interfaces import Objective
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

    ``kinds``: what ``KernelPredictor.report`` says of each kind of operation.
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


@dataclass(frozen=True)
class Validated:
    """Accuracy of a trained finalist on ``val``; ``source``: scratch, or published weights."""

    top1: float
    num_images: int | None = None
    source: str = "scratch"


@dataclass(frozen=True)
class SearchedIds:
    """The ids a network had in the search, whose head had other classes."""

    arch_id: str
    network_id: str


@dataclass(frozen=True)
class RetrainedFinalist:
    """A finalist after training; ``search_top1`` is what the search believed."""

    arch_id: str
    network_id: str
    latency_ms: Positive
    val: Validated
    search_top1: float | None = None
    searched: SearchedIds | None = None


@dataclass(frozen=True)
class Ranking:
    """How the search's ranking agrees with training from scratch (``search.ranking``)."""

    num_networks: int
    statement: str
    tau: float | None = None
    interval: tuple[float, float] | None = None
    macs_tau: float | None = None


@dataclass(frozen=True)
class Init:
    """Published weights that trainings began with; ``arch``: the model whose they are.

    ``fine_tuned`` False: no weight was trained, only batch norms got statistics.
    """

    file: str
    sha256: str | None = None
    arch: str | None = None
    fine_tuned: bool = True

    @property
    def words(self) -> str:
        """How the network got its weights, to follow its name."""
        done = "fine-tuned from" if self.fine_tuned else "untrained, with the weights of"
        of = f" ({self.arch})" if self.arch else ""
        return f"{done} {self.file}{of}"


@dataclass(frozen=True)
class TrainingData:
    """The images the finalists were trained on."""

    name: str


@dataclass(frozen=True)
class Retrained:
    """``retrained.json``."""

    recipe: str | dict[str, Any]
    seed: int
    finalists: tuple[RetrainedFinalist, ...]
    splits: tuple[str, ...] = ()
    random: tuple[RetrainedFinalist, ...] = ()
    ranking: Ranking | None = None
    init: Init | None = None
    data: TrainingData | None = None


@dataclass(frozen=True)
class Parity:
    """How far the exported file's outputs are from the trained network's; int8 by ``sqnr_db``."""

    max_rel: float | None = None
    max_abs: float | None = None
    num_images: int | None = None
    top1_agreement: float | None = None
    sqnr_db: float | None = None
    float_operations: dict[str, int] | None = None


@dataclass(frozen=True)
class ExportedFile:
    """One format of an exported network."""

    file: str
    bytes: int | None = None
    parity: Parity | None = None


@dataclass(frozen=True)
class Export:
    """``export/<arch_id>/export.json``."""

    formats: dict[str, ExportedFile]


@dataclass(frozen=True)
class Measurement:
    """A model's latency: the 25th percentile of the round medians, and what lies about it."""

    latency_ms: Positive
    p5_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    num_rounds: int | None = None
    num_runs: int | None = None
    repeatability: float | None = None


@dataclass(frozen=True)
class BenchRow:
    """One model timed on the device; ``kind`` is finalist or shelf."""

    name: str
    kind: str
    measurement: Measurement
    arch_id: str | None = None
    predicted_ms: Positive | None = None
    within_budget: bool | None = None


@dataclass(frozen=True)
class Drift:
    """How the sentinel's time moved between profiling and this session: new over old."""

    ratio: float | None = None


@dataclass(frozen=True)
class Bench:
    """``bench/<device>-<runtime>-<precision>.json``: one measuring session."""

    device: str
    runtime: str
    precision: str
    rows: tuple[BenchRow, ...]
    runtime_version: str = ""
    threads: int | None = None
    affinity: Any = None
    protocol: dict[str, Any] = field(default_factory=dict)
    state_before: dict[str, Any] | None = None
    state_after: dict[str, Any] | None = None
    drift: Drift | None = None


@dataclass(frozen=True)
class FinalScore:
    """The winner on the ``test`` split, used once; ``ci95`` bounds its top-1."""

    top1: float
    num_images: int | None = None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Rejected:
    """A finalist of higher rank that did not hold the budget when measured."""

    arch_id: str
    measured_ms: Positive | None = None
    reason: str = ""


@dataclass(frozen=True)
class ShelfModel:
    """A human-designed model measured beside the winner."""

    name: str
    measured_ms: Positive | None = None
    val_top1: float | None = None
    test_top1: float | None = None
    macs: int | None = None
    params: int | None = None
    width_mult: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class SearchScore:
    """What the search believed of the winner: ``source`` supernet, scratch, ..."""

    value: float
    source: str


@dataclass(frozen=True)
class RandomBaseline:
    """The best on ``val`` of ``num_networks`` random networks trained like the finalists."""

    num_networks: int
    arch_id: str
    val_top1: float
    test_top1: float
    predicted_ms: Positive | None = None


@dataclass(frozen=True)
class InPrecision:
    """The winner in one precision: measured on the device, accuracy of what executes there."""

    measured_ms: Positive | None = None
    val_top1: float | None = None
    test: FinalScore | None = None


@dataclass(frozen=True)
class Winner:
    """``winner.json``: the network that is handed over."""

    arch: dict[str, Any]
    arch_id: str
    network_id: str
    budget_ms: Positive
    layers: tuple[dict[str, Any], ...]
    predicted_ms: Positive | None = None
    measured_ms: Positive | None = None
    search_top1: SearchScore | None = None
    random_baseline: RandomBaseline | None = None
    val_top1: float | None = None
    test: FinalScore | None = None
    init: Init | None = None
    first_finalist_passed: bool | None = None
    first_try: dict[str, int] | None = None
    rejected: tuple[Rejected, ...] = ()
    macs: int | None = None
    params: int | None = None
    files: dict[str, str | None] = field(default_factory=dict)
    precisions: dict[str, InPrecision] = field(default_factory=dict)
    shelf: tuple[ShelfModel, ...] = ()
