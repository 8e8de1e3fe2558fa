"""ScratchEvaluator: the score of an architecture is that of its network, trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from hwnas.arch import Arch
from hwnas.errors import InputError
from hwnas.executor.local import TaskError
from hwnas.protocols import Evaluation, Evaluator, Objective, SearchSpace
from hwnas.rng import derived_seed
from hwnas.search.evaluators.halving import HalvingEvaluator, rungs
from hwnas.search.evaluators.memo import Memo
from hwnas.search.evaluators.registry import EvaluatorContext
from hwnas.train.engine import DivergedError
from hwnas.train.recipe import Recipe
from hwnas.train.task import DataSource, TrainOutcome, TrainTask, train_all

SOURCE = "scratch"


class ScratchEvaluator:
    """Trains every network on ``train`` and scores it on ``val``; it never sees ``test``.

    A network's seed derives from ``seed`` and its network_id: codes that build one network get one
    result, in whatever order they come, and it is trained once. Several networks are trained at a
    time, in ``workers`` processes (None: one per core).

    Raises:
        InputError: classes or input size of the space and the data set differ.
    """

    def __init__(
        self,
        space: SearchSpace,
        source: DataSource,
        recipe: Recipe,
        *,
        seed: int,
        torch_device: str = "cpu",
        workers: int | None = None,
    ) -> None:
        self.space = space
        self.source = source
        self.recipe = recipe
        self.seed = seed
        self.torch_device = torch_device
        self.workers = workers
        self._memo = Memo(space.network_id)
        dataset = source.load().without_test()
        expected = (3, dataset.input_size, dataset.input_size)
        problems = []
        if space.num_classes != dataset.num_classes:
            problems.append(
                f"num_classes: the space has {space.num_classes}, the data set "
                f"{dataset.num_classes}"
            )
        if tuple(space.input_shape) != expected:
            problems.append(
                f"input shape: the space has {space.input_shape}, the data set {expected}"
            )
        if problems:
            raise InputError(
                f"space {space.name} with data set {dataset.name}",
                problems,
                "set num_classes and input_size of the space by the data set",
            )

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)`` as trainings end: ``top1`` (fraction), ``loss`` on val.

        ``cost``: ``images_trained``, ``macs_images`` (forward MACs of one image x images trained),
        ``core_s``, ``wall_s``; all 0 for a network that was evaluated before. A training that
        diverged is an evaluation with ``error``: it would diverge again.

        Raises:
            TaskError: after the others were yielded, naming each training that failed otherwise.
        """
        return self._memo.evaluate(archs, self._train)

    def _train(self, new: Mapping[str, Arch]) -> Iterator[tuple[str, Evaluation]]:
        """Train the networks of ``new`` (by network_id), several at a time."""
        tasks = {network_id: self._task(arch, network_id) for network_id, arch in new.items()}
        for network_id, outcome in self._outcomes(tasks):
            arch = new[network_id]
            if isinstance(outcome, DivergedError):
                yield network_id, Evaluation(arch, {}, {}, str(outcome))
            else:
                yield network_id, _evaluation(arch, outcome)

    def _outcomes(
        self, tasks: Mapping[str, TrainTask]
    ) -> Iterator[tuple[str, TrainOutcome | DivergedError]]:
        """Yield what trainings end in; those that diverged last."""
        try:
            yield from train_all(tasks, workers=self.workers)
        except TaskError as error:
            diverged = {
                key: one for key, one in error.failures.items() if isinstance(one, DivergedError)
            }
            yield from diverged.items()
            if len(diverged) < len(error.failures) or not diverged:
                raise

    def recall(self, evaluations: Iterable[Evaluation]) -> None:
        """Take evaluations of an earlier session as known: their networks are not trained again."""
        self._memo.recall(evaluations)

    def _task(self, arch: Arch, network_id: str) -> TrainTask:
        return TrainTask(
            layers=self.space.layers(arch),
            source=self.source,
            splits=("train",),
            recipe=self.recipe,
            seed=derived_seed(self.seed, f"{SOURCE}:{network_id}"),
            torch_device=self.torch_device,
            wiring=self.space.wiring(arch),
        )


def _evaluation(arch: Arch, outcome: TrainOutcome) -> Evaluation:
    return Evaluation(
        arch=arch,
        objectives={
            "top1": Objective(outcome.val.top1, "fraction", "max", SOURCE),
            "loss": Objective(outcome.val.loss, "nats", "min", SOURCE),
        },
        cost=outcome.cost,
    )


def build(context: EvaluatorContext) -> Evaluator:
    """Return the evaluator of a run: with halving where the run halves."""
    halving = context.halving
    if halving is None:
        return _scratch(context, None)
    assert context.recipe is not None  # trains networks
    assert context.journal is not None  # a search is going on
    return HalvingEvaluator(
        context.space,
        partial(_scratch, context),
        rungs(context.recipe.epochs, halving.eta, halving.least_epochs),
        halving.eta,
        context.journal,
    )


def _scratch(context: EvaluatorContext, epochs: int | None) -> ScratchEvaluator:
    """Return the evaluator that trains from scratch, for ``epochs`` if given."""
    recipe = context.recipe
    assert recipe is not None  # trains networks
    assert context.source is not None  # needs images
    if epochs is not None:
        warmup = min(recipe.warmup_epochs, epochs)
        recipe = replace(recipe, epochs=epochs, warmup_epochs=warmup)
    return ScratchEvaluator(
        context.space,
        context.source,
        recipe,
        seed=context.seed,
        torch_device=context.torch_device,
        workers=context.workers,
    )
