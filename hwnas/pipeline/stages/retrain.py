"""The stage that trains the finalists: from scratch, or from weights that somebody published."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hwnas.arch import Arch
from hwnas.artifacts.networks import ArchPart, Candidate
from hwnas.artifacts.search import FinalistsFile
from hwnas.artifacts.training import (
    DataPart,
    RankingPart,
    RecipePart,
    RetrainedFile,
    SearchedIds,
    TrainedNetwork,
    ValPart,
)
from hwnas.errors import UsageError
from hwnas.io.progress import report
from hwnas.pipeline.config.run import RetrainConfig
from hwnas.pipeline.context import Context
from hwnas.pipeline.folder import fold_state
from hwnas.pipeline.inputs import keep_own
from hwnas.pipeline.stages.outline import CROSS_VALIDATION, RETRAINING
from hwnas.pipeline.stages.published import Init, published_weights
from hwnas.rng import derived_seed
from hwnas.search.ranking import RankAgreement, rank_agreement
from hwnas.search.result import total_cost
from hwnas.train.engine import Score
from hwnas.train.recipe import Recipe
from hwnas.train.task import TrainOutcome, TrainTask, train_all

RETRAIN_SPLITS = ("train", "arch")


@dataclass(frozen=True)
class Wanted:
    """A network to train: ``arch`` is of the space of the images that it is trained on.

    ``candidate`` is the network as it was searched; where the images have other classes, it is
    another network, and the ids differ.
    """

    arch: Arch
    network_id: str
    candidate: Candidate

    @property
    def searched(self) -> SearchedIds | None:
        """The ids in the search where they differ."""
        if self.arch.arch_id == self.candidate.arch_id:
            return None
        return SearchedIds(arch_id=self.candidate.arch_id, network_id=self.candidate.network_id)


def retrain(
    context: Context,
    settings: RetrainConfig,
    *,
    every_budget: bool,
    calibration_images: int,
) -> bool:
    """Train the finalists of every answer on train + arch as configured; write retrained.json.

    Where the context's images are not those of the search, the networks are those of the same
    choices with the images' classes.

    Args:
        every_budget: one evaluator scored the networks of all budgets, so that their ranks compare.
        calibration_images: how many images measure the batch norms of weights that stay as they
            are.

    Raises:
        UsageError: the run's space has no such published weights, or they are to stay as they are
            and have other classes.
        InputError: ``init`` is not a file of such weights; lists all differences.
    """
    answers = context.folder.read(FinalistsFile).answers
    best, only_calibrate = settings.top, not settings.train
    init = None if settings.init is None else Init(Path(settings.init), settings.init_arch)
    wanted = _listed(context, [row for answer in answers for row in answer.finalists[:best]])
    drawn = _listed(context, [row for answer in answers for row in answer.random[:best]])
    compared = [
        _listed(context, [*answer.finalists[:best], *answer.random[:best]]) for answer in answers
    ]
    if every_budget:
        compared = [{**drawn, **wanted}]

    def work() -> tuple[RetrainedFile, Mapping[str, float]]:
        every = {**drawn, **wanted}
        begin = _initial_weights(context, init, every, whole=only_calibrate)
        tasks = {
            network_id: replace(
                retrain_task(context, settings.recipe.recipe(), network_id, one.arch),
                initial=begin.get(network_id),
                calibration=calibration_images if only_calibrate else None,
            )
            for network_id, one in every.items()
        }
        outcomes = train_networks(context, tasks, RETRAINING)
        if settings.folds:
            outcomes = cross_validated(context, tasks, outcomes, settings.folds)
        rows = _trained_rows({**drawn, **wanted}, outcomes, begin)
        ranked = [_comparable(_trained_rows(one, outcomes, begin), one) for one in compared]
        content = RetrainedFile(
            recipe=RecipePart.from_json(settings.recipe.model_dump()),
            seed=context.execution.seed,
            splits=RETRAIN_SPLITS,
            data=DataPart(name=context.data.name, root=context.data.root),
            init=None if init is None else init.part(fine_tuned=not only_calibrate),
            finalists=_trained_rows(wanted, outcomes, begin),
            random=_trained_rows(drawn, outcomes, begin),
            ranking=RankingPart.from_json(asdict(_ranking(context, ranked))),
        )
        return content, total_cost(row.cost for row in rows)

    done = context.folder.stage("retrain", RetrainedFile.path(context.folder.path), work)
    retrained = context.folder.read(RetrainedFile)
    keep_own(
        context.folder.path,
        [
            context.folder.weights(row.network_id)
            for row in (*retrained.finalists, *retrained.random)
        ],
    )
    for state in context.folder.fold_states():  # what they tell is in retrained.json
        state.unlink(missing_ok=True)
    return done


def _initial_weights(
    context: Context, init: Init | None, wanted: Mapping[str, Wanted], *, whole: bool
) -> Mapping[str, Path]:
    """Return the files of published weights that trainings begin with, by network_id."""
    check_beginning(context, wanted, init)
    if init is None:
        return {}
    archs = {network_id: one.arch for network_id, one in wanted.items()}
    return published_weights(context, init, archs, whole=whole)


def _listed(context: Context, candidates: Iterable[Candidate]) -> dict[str, Wanted]:
    """Return the networks to train by network_id, of the space of the run's data.

    A network that comes again is what it was first: a budget's winner keeps its own score.
    """
    found: dict[str, Wanted] = {}
    for candidate in candidates:
        arch = context.data.arch(candidate.arch)
        network_id = (
            candidate.network_id
            if arch.arch_id == candidate.arch_id
            else context.space.network_id(arch)
        )
        found.setdefault(network_id, Wanted(arch, network_id, candidate))
    return found


def _trained_rows(
    wanted: Mapping[str, Wanted], outcomes: Mapping[str, TrainOutcome], begun: Collection[str]
) -> tuple[TrainedNetwork, ...]:
    """Return what retrained.json holds of each network, best on ``val`` first.

    ``begun`` are those that began with published weights.
    """
    rows = [
        _trained_row(one, outcomes[network_id], is_published=network_id in begun)
        for network_id, one in wanted.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.val.top1, row.val.loss, row.network_id)))


def _trained_row(one: Wanted, outcome: TrainOutcome, *, is_published: bool) -> TrainedNetwork:
    row = TrainedNetwork(
        arch=ArchPart.of(one.arch),
        arch_id=one.arch.arch_id,
        network_id=one.network_id,
        latency_ms=one.candidate.latency_ms,
        search_top1=one.candidate.top1.value,
        search_source=one.candidate.top1.source,
        val=ValPart(
            top1=outcome.val.top1,
            loss=outcome.val.loss,
            num_images=outcome.val.num_images,
            source="published" if is_published else "scratch",
            **({} if outcome.folds is None else {"folds": outcome.folds}),
        ),
        checkpoint=f"checkpoints/{one.network_id}.safetensors",
        cost=dict(outcome.cost),
    )
    return row if one.searched is None else row.model_copy(update={"searched": one.searched})


def _comparable(
    rows: Sequence[TrainedNetwork], networks: Mapping[str, Wanted]
) -> list[TrainedNetwork]:
    """Return the rows whose search scores compare: of halving, those trained for longest."""
    objectives = [networks[row.network_id].candidate.objectives for row in rows]
    epochs = [one["epochs"].value if "epochs" in one else None for one in objectives]
    most = max((e for e in epochs if e is not None), default=None)
    return [row for row, e in zip(rows, epochs, strict=True) if e == most]


def _ranking(context: Context, groups: Sequence[Sequence[TrainedNetwork]]) -> RankAgreement:
    """Return how the search's scores rank the networks, compared within their groups only."""
    rows = [row for group in groups for row in group]
    macs = [
        sum(op.macs for op in context.space.layers(context.data.arch(row.arch))) for row in rows
    ]
    places = [place for place, group in enumerate(groups) for _ in group]
    return rank_agreement(
        [row.search_top1 for row in rows],
        [row.val.top1 for row in rows],
        macs,
        places,
        seed=context.execution.seed,
    )


def retrain_task(context: Context, recipe: Recipe, network_id: str, arch: Arch) -> TrainTask:
    """Return the from-scratch training of one finalist."""
    return TrainTask(
        layers=context.space.layers(arch),
        source=context.data.source,
        splits=RETRAIN_SPLITS,
        recipe=recipe,
        seed=derived_seed(context.execution.seed, f"retrain:{network_id}"),
        torch_device=context.execution.torch_device,
        weights=context.folder.weights(network_id),
        checkpoint=context.folder.training_state(network_id),
        wiring=context.space.wiring(arch),
    )


def check_beginning(context: Context, network_ids: Iterable[str], init: Init | None) -> None:
    """Raise UsageError where trainings of these networks were begun in the other way.

    A retraining that was stopped goes on as it began: from scratch, or from published weights.
    """
    folder = context.folder
    begun = [
        n for n in network_ids if folder.training_state(n).exists() or folder.weights(n).exists()
    ]
    published = [n for n in network_ids if folder.initial(n).exists()]
    if init is None and published:
        raise UsageError(
            f"the retraining in {folder.path} was begun with --init. Next: give the "
            "same file again, or search into another folder"
        )
    if init is not None and begun and not published:
        raise UsageError(
            f"the retraining in {folder.path} was begun from scratch. Next: go on "
            "without --init, or search into another folder"
        )


def cross_validated(
    context: Context,
    tasks: Mapping[str, TrainTask],
    outcomes: Mapping[str, TrainOutcome],
    folds: int,
) -> dict[str, TrainOutcome]:
    """Return the outcomes with the scores of a cross-validation, and what it cost in addition.

    The trainings' checkpoints are ``RunFolder.fold_states()``, which the caller deletes.

    Every image of train, arch and val is scored once, by a training that has not seen it.
    """
    every = {
        f"{key} fold {number + 1}": replace(
            task,
            splits=("train",),
            weights=None,
            checkpoint=None
            if task.checkpoint is None
            else fold_state(task.checkpoint, number, folds),
            fold=(number, folds),
        )
        for key, task in tasks.items()
        for number in range(folds)
    }
    found = train_networks(context, every, CROSS_VALIDATION)
    return {
        key: pooled(outcome, [found[f"{key} fold {number + 1}"] for number in range(folds)])
        for key, outcome in outcomes.items()
    }


def pooled(outcome: TrainOutcome, parts: Sequence[TrainOutcome]) -> TrainOutcome:
    """Return ``outcome`` with the accuracy and loss over all images of the folds, costs summed."""
    num_images = sum(part.val.num_images for part in parts)

    def mean(values: Iterable[float]) -> float:
        weights = (part.val.num_images for part in parts)
        return sum(w * v for w, v in zip(weights, values, strict=True)) / num_images

    return replace(
        outcome,
        val=Score(
            mean(part.val.top1 for part in parts), mean(part.val.loss for part in parts), num_images
        ),
        images_trained=outcome.images_trained + sum(part.images_trained for part in parts),
        macs_images=outcome.macs_images + sum(part.macs_images for part in parts),
        core_s=outcome.core_s + sum(part.core_s for part in parts),
        wall_s=outcome.wall_s + sum(part.wall_s for part in parts),
        folds=len(parts),
    )


def train_networks(
    context: Context, tasks: Mapping[str, TrainTask], stage: str
) -> dict[str, TrainOutcome]:
    """Return the outcomes of these trainings, several at a time."""
    outcomes: dict[str, TrainOutcome] = {}
    report(stage, 0, len(tasks))
    for key, outcome in train_all(tasks, workers=context.execution.workers):
        outcomes[key] = outcome
        report(stage, len(outcomes), len(tasks))
    return outcomes
