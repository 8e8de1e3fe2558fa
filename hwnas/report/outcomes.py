"""What the report reads of the files that stages after the search write, as frozen values.

As in ``records.py``: the classes name the keys the page shows, other keys are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hwnas.report.records import Positive


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
class Baseline:
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
    shelf: tuple[Baseline, ...] = ()
