"""ScratchEvaluator: the score of an architecture is that of its network, trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from hwnas.arch import Arch
from hwnas.errors import InputError
from hwnas.executor.local import TaskError
from hwnas.protocols import Evaluation, Objective, SearchSpace
from hwnas.rng import derived_seed
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
        self._known: dict[str, Evaluation] = {}
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
        places: dict[str, list[int]] = {}
        for place, arch in enumerate(archs):
            places.setdefault(self.space.network_id(arch), []).append(place)
        tasks = {}
        for network_id, same in places.items():
            if network_id in self._known:
                yield from self._repeated(network_id, archs, same)
            else:
                tasks[network_id] = self._task(archs[same[0]], network_id)
        for network_id, outcome in self._outcomes(tasks):
            first, *others = places[network_id]
            self._known[network_id] = (
                Evaluation(archs[first], {}, {}, str(outcome))
                if isinstance(outcome, DivergedError)
                else _evaluation(archs[first], outcome)
            )
            yield first, self._known[network_id]
            yield from self._repeated(network_id, archs, others)

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
        for evaluation in evaluations:
            self._known.setdefault(self.space.network_id(evaluation.arch), evaluation)

    def _repeated(
        self, network_id: str, archs: Sequence[Arch], places: Sequence[int]
    ) -> Iterator[tuple[int, Evaluation]]:
        known = self._known[network_id]
        for place in places:
            yield place, replace(known, arch=archs[place], cost=dict.fromkeys(known.cost, 0.0))

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
