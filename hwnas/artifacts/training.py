"""Trainings: ``retrained.json``, and ``supernet-start.json`` of published weights."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from hwnas.artifacts.base import Artifact, Cost, Count, Id, Milliseconds, Part
from hwnas.artifacts.networks import ArchPart


class InitPart(Part):
    """Published weights that trainings began with.

    ``file`` is a name without folders; ``arch`` is the known model whose weights they are, None for
    Once-for-All's supernet. Without ``fine_tuned`` no weight was trained: only the statistics of
    the batch norms were measured anew.
    """

    file: str
    sha256: str | None = None
    arch: str | None = None
    fine_tuned: bool = True


class ValPart(Part):
    """Accuracy (a fraction) and loss (nats) on the split ``val``.

    ``source`` says what the training began with: ``scratch`` or ``published`` weights. With
    ``folds`` they are of a cross-validation by so many folds of train, arch and val.
    """

    top1: float
    loss: float | None = None
    num_images: Count | None = None
    source: Literal["scratch", "published"] = "scratch"
    folds: Count | None = None


class SearchedIds(Part):
    """The ids of a network in the search, whose images had other classes."""

    arch_id: Id
    network_id: Id


class TrainedNetwork(Part):
    """A network after training; ``latency_ms`` is predicted, for the search's classes.

    ``search_top1`` is what the search said of its accuracy, by ``search_source`` (supernet,
    scratch, ...); ``checkpoint`` is the path of its weights in the run folder.
    """

    arch: ArchPart
    arch_id: Id
    network_id: Id
    latency_ms: Milliseconds
    searched: SearchedIds | None = None
    search_top1: float
    search_source: str
    val: ValPart
    checkpoint: str | None = None
    cost: Cost = Field(default_factory=dict)

    @property
    def searched_network_id(self) -> str:
        """The network_id it has in ``finalists.json``."""
        return self.network_id if self.searched is None else self.searched.network_id


class RankingPart(Part):
    """How the search's ranking agrees with training (see ``hwnas.search.ranking``)."""

    num_networks: Count
    tau: float | None = None
    interval: tuple[float, float] | None = None
    macs_tau: float | None = None
    statement: str
    num_groups: Count = 1


class DataPart(Part):
    """A data set: its name, and the folder it is in where one was given."""

    name: str | None
    root: str | None = None


class RecipePart(Part):
    """A training recipe (see :class:`hwnas.train.recipe.Recipe`)."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    label_smoothing: float
    grad_clip: float
    warmup_epochs: float
    augment: bool
    randaugment: int
    mixup: float
    cutmix: float
    ema: float
    amp: bool
    compile: bool


class RetrainedFile(Artifact):
    """``retrained.json``: the finalists of all budgets after training, best on ``val`` first.

    ``random`` are the networks drawn at random that were trained like them; ``splits`` are those
    trained on; ``ranking`` compares the search's scores with these trainings.
    """

    FILE: ClassVar[str] = "retrained.json"
    WRITTEN_BY: ClassVar[str] = "hwnas retrain --run"

    recipe: RecipePart
    seed: int
    splits: tuple[str, ...] = ()
    data: DataPart | None = None
    init: InitPart | None = None
    finalists: tuple[TrainedNetwork, ...]
    random: tuple[TrainedNetwork, ...] = ()
    ranking: RankingPart | None = None


class SupernetStartFile(Artifact):
    """``supernet-start.json``: what published weights fill of the supernets that begin with them.

    ``share`` is the filled part of all values, 0..1; ``filled`` maps tensors to the shape that is
    filled of them; ``drawn`` are the tensors that keep their random values.
    """

    FILE: ClassVar[str] = "supernet-start.json"
    WRITTEN_BY: ClassVar[str] = "hwnas search --out"

    file: str
    sha256: str
    arch: str | None = None
    share: float
    num_filled: Count
    num_drawn: Count
    filled: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    drawn: tuple[str, ...] = ()
