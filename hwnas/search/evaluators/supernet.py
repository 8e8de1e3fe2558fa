"""SupernetEvaluator: the score of an architecture is its sub-network's, with its own statistics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import mean

import torch

from hwnas.arch import Arch
from hwnas.nn.supernet import Sharing
from hwnas.protocols import Evaluation, Objective, SearchSpace
from hwnas.search.evaluators.memo import Memo
from hwnas.search.evaluators.registry import EvaluatorContext
from hwnas.search.evaluators.supernet_tasks import CHUNK, ScoreTask, score_all, score_networks
from hwnas.train.engine import Score
from hwnas.train.task import DataSource

SOURCE = "supernet"
CALIBRATION_IMAGES = 2000
PAYING_MACS = 3e11  # some ten seconds of work on a core: from here on workers pay for their start


class SupernetEvaluator:
    """Scores sub-networks of trained supernets on ``val``, all on the same images.

    With several supernets of one space a score is the mean of theirs; ``sharings`` says how each
    shares weights (none given: ``own``). Each sub-network is extracted
    and gets batch norm statistics of the first ``calibration_images`` of ``train``; then it is a
    plain network in evaluation mode. It never sees ``test``.
    """

    def __init__(
        self,
        space: SearchSpace,
        source: DataSource,
        weights: Sequence[Path],
        *,
        torch_device: str = "cpu",
        calibration_images: int = CALIBRATION_IMAGES,
        workers: int | None = None,
        sharings: Sequence[Sharing] = (),
    ) -> None:
        self.space = space
        self.source = source
        self.weights = tuple(weights)
        self.torch_device = torch_device
        self.calibration_images = calibration_images
        self.workers = workers
        self.sharings: tuple[Sharing, ...] = tuple(sharings or ["own"] * len(weights))
        self._memo = Memo(lambda arch: arch.arch_id)

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)`` as they are ready: ``top1`` (fraction), ``loss`` on val.

        ``cost``: ``images_trained`` (0), ``macs_images`` (forward MACs x images), ``wall_s``; all 0
        for an architecture that was evaluated before.

        Raises:
            InputError: a supernet's weights are missing, broken or of another space.
        """
        return self._memo.evaluate(archs, self._new)

    def _new(self, new: Mapping[str, Arch]) -> Iterator[tuple[str, Evaluation]]:
        # images are held at one size at a time
        archs = sorted(new.values(), key=lambda arch: self.space.layers(arch)[0].in_shape[1])
        for arch, scores, seconds in self._scored(archs):
            yield arch.arch_id, self._evaluation(arch, scores, seconds)

    def recall(self, evaluations: Iterable[Evaluation]) -> None:
        """Take evaluations of an earlier session as known."""
        self._memo.recall(evaluations)

    def _scored(self, archs: Sequence[Arch]) -> Iterator[tuple[Arch, list[Score], float]]:
        """Yield each architecture with its scores and the seconds it took."""
        start = time.perf_counter()
        # the same number here and in workers, so that a resumed search ends with the same scores
        threads = 1 if torch.device(self.torch_device).type == "cpu" else None
        if sum(self._macs_images(arch) for arch in archs) < PAYING_MACS:
            for arch in archs:
                scores = score_networks(self._task([arch]), threads)[0]
                now = time.perf_counter()
                yield arch, scores, now - start
                start = now
            return
        chunks = [archs[first : first + CHUNK] for first in range(0, len(archs), CHUNK)]
        tasks = [self._task(chunk) for chunk in chunks]
        for place, found in score_all(tasks, workers=self.workers):
            now = time.perf_counter()
            for arch, scores in zip(chunks[place], found, strict=True):
                yield arch, scores, (now - start) / len(found)
            start = now

    def _task(self, archs: Sequence[Arch]) -> ScoreTask:
        codes = tuple(tuple(int(i) for i in code) for code in self.space.encode(archs))
        return ScoreTask(
            self.space,
            self.source,
            self.weights,
            codes,
            self.calibration_images,
            self.torch_device,
            self.sharings,
        )

    @cached_property
    def _num_images(self) -> dict[str, int]:
        return self.source.load().sizes

    def _macs_images(self, arch: Arch) -> float:
        """Return the forward MACs of scoring an architecture with all supernets."""
        sizes = self._num_images
        images = min(self.calibration_images, sizes["train"]) + sizes["val"]
        macs = sum(op.macs for op in self.space.layers(arch))
        return float(macs * images * len(self.weights))

    def _evaluation(self, arch: Arch, scores: Sequence[Score], seconds: float) -> Evaluation:
        return Evaluation(
            arch=arch,
            objectives={
                "top1": Objective(mean(s.top1 for s in scores), "fraction", "max", SOURCE),
                "loss": Objective(mean(s.loss for s in scores), "nats", "min", SOURCE),
            },
            cost={
                "images_trained": 0.0,
                "macs_images": self._macs_images(arch),
                "wall_s": round(seconds, 3),
            },
        )


def build(context: EvaluatorContext) -> SupernetEvaluator:
    """Return the evaluator of a run by its trained supernets."""
    assert context.source is not None  # needs_images
    return SupernetEvaluator(
        context.space,
        context.source,
        context.supernets,
        torch_device=context.torch_device,
        calibration_images=context.calibration_images,
        workers=context.workers,
        sharings=context.sharings,
    )
