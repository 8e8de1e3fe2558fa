"""SupernetEvaluator: the score of an architecture is its sub-network's, with its own statistics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import mean

from hwnas.arch import Arch
from hwnas.data import Dataset
from hwnas.interfaces import Evaluation, Objective
from hwnas.supernet import Supernet, calibrate
from hwnas.train.engine import Score, core_seconds, evaluate

SOURCE = "supernet"
CALIBRATION_IMAGES = 2000


class SupernetEvaluator:
    """Scores sub-networks of trained supernets on ``val``, all on the same images.

    With several supernets of one space a score is the mean of theirs. Each sub-network is extracted
    and gets batch norm statistics of the first ``calibration_images`` of ``train``; then it is a
    plain network in evaluation mode. It never sees ``test``.
    """

    def __init__(
        self,
        supernets: Sequence[Supernet],
        dataset: Dataset,
        *,
        torch_device: str = "cpu",
        calibration_images: int = CALIBRATION_IMAGES,
    ) -> None:
        self.supernets = tuple(supernets)
        self.space = supernets[0].space
        self.dataset = dataset.without_test()
        self.torch_device = torch_device
        self.calibration_images = calibration_images
        self._known: dict[str, Evaluation] = {}

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position, evaluation)`` in order: ``top1`` (fraction) and ``loss`` on val.

        ``cost``: ``images_trained`` (0), ``macs_images`` (forward MACs x images), ``core_s``,
        ``wall_s``; all 0 for an architecture that was evaluated before.
        """
        for place, arch in enumerate(archs):
            known = self._known.get(arch.arch_id)
            if known is None:
                self._known[arch.arch_id] = known = self._evaluate(arch)
                yield place, known
            else:
                yield place, replace(known, cost=dict.fromkeys(known.cost, 0.0))

    def recall(self, evaluations: Iterable[Evaluation]) -> None:
        """Take evaluations of an earlier session as known."""
        for evaluation in evaluations:
            self._known.setdefault(evaluation.arch.arch_id, evaluation)

    def score(self, supernet: Supernet, arch: Arch) -> Score:
        """Return the score of one supernet's sub-network."""
        network = supernet.extract(arch)
        calibrate(network, self.dataset, num_images=self.calibration_images)
        return evaluate(network, self.dataset, "val", torch_device=self.torch_device)

    def _evaluate(self, arch: Arch) -> Evaluation:
        wall, cores = time.perf_counter(), core_seconds()
        scores = [self.score(supernet, arch) for supernet in self.supernets]
        images = len(scores) * (self.calibration_images + scores[0].num_images)
        macs = sum(op.macs for op in self.space.layers(arch))
        top1, loss = mean(s.top1 for s in scores), mean(s.loss for s in scores)
        return Evaluation(
            arch=arch,
            objectives={
                "top1": Objective(top1, "fraction", "max", SOURCE),
                "loss": Objective(loss, "nats", "min", SOURCE),
            },
            cost={
                "images_trained": 0.0,
                "macs_images": float(macs * images),
                "core_s": round(core_seconds() - cores, 3),
                "wall_s": round(time.perf_counter() - wall, 3),
            },
        )
