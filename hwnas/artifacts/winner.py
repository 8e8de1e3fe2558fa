"""``winner.json``: the network that a run hands over, and what it was compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from hwnas.artifacts.base import Artifact, Count, Id, Milliseconds, Part
from hwnas.artifacts.exported import ParityPart
from hwnas.artifacts.networks import ArchPart, OperationPart
from hwnas.artifacts.training import InitPart


class SearchScorePart(Part):
    """What the search said of a network's accuracy; ``source`` is supernet, scratch, ..."""

    value: float
    source: str


class ScorePart(Part):
    """Accuracy on the split ``test``, used once; ``ci95`` is the exact 95 % interval of top-1.

    A model file has no ``loss``.
    """

    top1: float
    loss: float | None = None
    num_images: Count
    ci95: tuple[float, float]


class ImagesPart(Part):
    """What the split ``test`` consists of: ``majority`` is the share of its most frequent class."""

    num_classes: Count
    majority: float


class PairedPart(Part):
    """On how many images of ``test`` only the winner is right, and only the other network."""

    only_winner: Count
    only_other: Count


class FirstTryPart(Part):
    """How many finalists were within the budget when measured."""

    within: Count
    of: Count


class RejectedPart(Part):
    """A finalist that ranks above the winner and was not taken."""

    arch_id: Id
    measured_ms: Milliseconds | None = None
    reason: str = ""


class PrecisionPart(Part):
    """The winner in one precision: latency on the device, accuracy of the file that runs there."""

    measured_ms: Milliseconds | None = None
    val_top1: float | None = None
    test: ScorePart


class RandomBaselinePart(Part):
    """The best on ``val`` of ``num_networks`` random networks trained like the finalists."""

    num_networks: Count
    arch_id: Id
    network_id: Id | None = None
    predicted_ms: Milliseconds | None = None
    val_top1: float
    test_top1: float
    paired: PairedPart | None = None


class BaselinePart(Part):
    """A known network, scaled by its width to the budget and trained like the finalists."""

    name: str
    width_mult: float
    measured_ms: Milliseconds
    within_budget: bool | None = None
    val_top1: float
    test_top1: float
    macs: Count
    params: Count
    note: str = ""
    paired: PairedPart | None = None


class WinnerFile(Artifact):
    """The best finalist, by ``val``, that was measured within the first budget.

    ``measured_ms`` is from the device in ``precision`` (None: not measured yet), ``predicted_ms``
    from the latency table. ``test`` is None until the winner was scored on that split.
    ``test_images`` and the ``paired`` of the networks compared are None in runs of version 0.1.
    ``rejected`` are better finalists measured over the budget; if all were, the fastest stands here
    and ``within_budget`` is false. ``files`` maps formats, and ``arch``, to paths in the run
    folder; ``parity`` and ``precisions`` are by format and by precision.
    """

    FILE: ClassVar[str] = "winner.json"
    WRITTEN_BY: ClassVar[str] = "hwnas bench"
    RENAMED: ClassVar[Mapping[str, str]] = {"shelf": "baselines"}

    arch: ArchPart
    arch_id: Id
    network_id: Id
    budget_ms: Milliseconds
    predicted_ms: Milliseconds | None = None
    measured_ms: Milliseconds | None = None
    within_budget: bool | None = None
    search_top1: SearchScorePart | None = None
    val_top1: float | None = None
    init: InitPart | None = None
    test: ScorePart | None = None
    test_images: ImagesPart | None = None
    first_try: FirstTryPart | None = None
    first_finalist_passed: bool | None = None
    rejected: tuple[RejectedPart, ...] = ()
    layers: tuple[OperationPart, ...]
    macs: Count | None = None
    params: Count | None = None
    parity: dict[str, ParityPart] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    precision: str | None = None
    precisions: dict[str, PrecisionPart] = Field(default_factory=dict)
    random_baseline: RandomBaselinePart | None = None
    baselines: tuple[BaselinePart, ...] = ()
