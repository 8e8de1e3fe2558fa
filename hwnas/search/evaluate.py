"""ScratchEvaluator: the score of an architecture is that of its network, trained from scratch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from hwnas.arch import Arch
from hwnas.data import Dataset
from hwnas.errors import InputError
from hwnas.interfaces import Evaluation, Objective, SearchSpace
from hwnas.network import build
from hwnas.rng import derived_seed
from hwnas.train import DivergedError, Recipe, core_seconds, evaluate, fit

SOURCE = "scratch"


class ScratchEvaluator:
    """Trains every network on ``train`` and scores it on ``val``; it never sees ``test``.

    A network's seed derives from ``seed`` and its network_id: codes that build one network get one
    result, in whatever order they come, and it is trained once.

    Raises:
        InputError: classes or input size of the space and the data set differ.
    """

    def __init__(
        self,
        space: SearchSpace,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        torch_device: str | torch.device = "cpu",
    ) -> None:
        self.space = space
        self.dataset = dataset.without_test()
        self.recipe = recipe
        self.seed = seed
        self.torch_device = torch_device
        self._known: dict[str, Evaluation] = {}
        expected = (3, dataset.input_size, dataset.input_size)
        problems = []
        if space.num_classes != dataset.num_classes:
            problems.append(f"num_classes: the space has {space.num_classes}, the data set "
                            f"{dataset.num_classes}")
        if tuple(space.input_shape) != expected:
            problems.append(f"input shape: the space has {space.input_shape}, the data set "
                            f"{expected}")
        if problems:
            raise InputError(f"space {space.name} with data set {dataset.name}", problems,
                             "set num_classes and input_size of the space by the data set")

    def evaluate(self, archs: Sequence[Arch]) -> list[Evaluation]:
        """Return ``top1`` (fraction) and ``loss`` on ``val``, one evaluation per architecture.

        ``cost``: ``images_trained``, ``macs_images`` (forward MACs of one image x images trained),
        ``core_s``, ``wall_s``; all 0 for a network that was evaluated before.

        Raises:
            DivergedError: a training diverged; names the architecture, epoch and step.
        """
        return [self._evaluate(arch) for arch in archs]

    def _evaluate(self, arch: Arch) -> Evaluation:
        network_id = self.space.network_id(arch)
        known = self._known.get(network_id)
        if known is not None:
            return replace(known, arch=arch, cost=dict.fromkeys(known.cost, 0.0))
        evaluation = self._train(arch, derived_seed(self.seed, f"{SOURCE}:{network_id}"))
        self._known[network_id] = evaluation
        return evaluation

    def _train(self, arch: Arch, seed: int) -> Evaluation:
        wall, cores = time.perf_counter(), core_seconds()
        network = build(self.space, arch, seed=seed)
        try:
            trained = fit(network, self.dataset, ("train",), self.recipe, seed=seed,
                          torch_device=self.torch_device)
            score = evaluate(network, self.dataset, "val", torch_device=self.torch_device)
        except DivergedError as error:
            raise DivergedError(f"architecture {arch.arch_id}: {error}") from error
        macs = sum(op.macs for op in self.space.layers(arch))
        return Evaluation(
            arch=arch,
            objectives={
                "top1": Objective(score.top1, "fraction", "max", SOURCE),
                "loss": Objective(score.loss, "nats", "min", SOURCE),
            },
            cost={
                "images_trained": float(trained.images_trained),
                "macs_images": float(macs * trained.images_trained),
                "core_s": core_seconds() - cores,
                "wall_s": time.perf_counter() - wall,
            },
        )
