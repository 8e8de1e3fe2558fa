"""Supernets trained and scored in worker processes: everything a process needs, and what it brings.

On CPU, two trainings on a core each take about half the time of one after the other on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hwnas.executor.local import available_cores, run_tasks
from hwnas.nn.supernet import (
    PathSampler,
    Sampling,
    SharedWeights,
    Sharing,
    calibrate,
    supernet_of,
)
from hwnas.protocols import SearchSpace
from hwnas.train.checkpoint import load_weights
from hwnas.train.engine import Score, TrainResult, evaluate, fit
from hwnas.train.recipe import Recipe
from hwnas.train.task import DataSource

CHUNK = 4  # networks a task scores, so that progress is seen


@dataclass(frozen=True)
class SupernetTask:
    """Train a supernet of ``space`` on ``train`` by sampled paths; write its weights.

    ``initial`` is a file of the supernet's weights to begin with (None: drawn from ``seed``).

    ``checkpoint`` is continued where it is there; a task whose weights are there is repeated by
    reading it back.
    """

    space: SearchSpace
    source: DataSource
    recipe: Recipe
    seed: int
    sampling: Sampling
    sharing: Sharing
    torch_device: str
    weights: Path
    checkpoint: Path
    initial: Path | None = None


@dataclass(frozen=True)
class SupernetOutcome:
    """What a training did; ``macs`` of one image, summed over the paths it trained."""

    result: TrainResult
    macs: int


def train_supernet(task: SupernetTask, num_threads: int | None = None) -> SupernetOutcome:
    """Carry out one task in this process."""
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    supernet = supernet_of(task.space, seed=task.seed, sharing=task.sharing)
    if task.initial is not None:
        load_weights(supernet, task.initial)
    sampler = PathSampler(supernet, task.seed, sampling=task.sampling)
    result = fit(
        supernet,
        task.source.load().without_test(),
        ("train",),
        task.recipe,
        seed=task.seed,
        torch_device=task.torch_device,
        checkpoint=task.checkpoint,
        weights=task.weights,
        companion=sampler,
    )
    return SupernetOutcome(result, sampler.macs)


def train_supernets(
    tasks: Mapping[str, SupernetTask], *, workers: int | None = None
) -> Iterator[tuple[str, SupernetOutcome]]:
    """Yield ``(key, outcome)`` of many trainings as they finish, one a core on CPU."""
    on_cpu = all(torch.device(task.torch_device).type == "cpu" for task in tasks.values())
    cores = available_cores()
    workers = min(len(tasks), workers or (cores if on_cpu else 1))
    isolate = on_cpu and len(tasks) > 1
    num_threads = max(1, cores // workers) if isolate else None
    yield from run_tasks(
        train_supernet,
        {key: (task, num_threads) for key, task in tasks.items()},
        workers=workers,
        isolate=isolate,
    )


def load_supernet(
    space: SearchSpace, weights: Path, torch_device: str, sharing: Sharing = "own"
) -> SharedWeights:
    """Return a trained supernet.

    Raises:
        InputError: the file is missing, broken or of another space.
    """
    supernet = supernet_of(space, sharing=sharing)
    load_weights(supernet, weights)
    supernet.to(torch.device(torch_device))
    return supernet


@dataclass(frozen=True)
class ScoreTask:
    """Score some networks, given by their codes, with each of some supernets, on ``val``."""

    space: SearchSpace
    source: DataSource
    weights: tuple[Path, ...]
    codes: tuple[tuple[int, ...], ...]
    calibration_images: int
    torch_device: str
    sharings: tuple[Sharing, ...]  # of each of the supernets


def score_networks(task: ScoreTask, num_threads: int | None = None) -> list[list[Score]]:
    """Return for each network its score by each supernet.

    A sub-network gets batch norm statistics of its own before it is scored. ``num_threads`` hold
    during the call.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        return _score(task)
    finally:
        torch.set_num_threads(before)


def _score(task: ScoreTask) -> list[list[Score]]:
    supernets = [
        load_supernet(task.space, path, task.torch_device, sharing)
        for path, sharing in zip(task.weights, task.sharings, strict=True)
    ]
    found = []
    for arch in task.space.decode(np.array(task.codes, dtype=np.int16)):
        scores = []
        dataset = task.source.sized_for(task.space.layers(arch)).load().without_test()
        for supernet in supernets:
            network = supernet.extract(arch)
            calibrate(network, dataset, num_images=task.calibration_images)
            scores.append(evaluate(network, dataset, "val", torch_device=task.torch_device))
        found.append(scores)
    return found


def score_all(
    tasks: Sequence[ScoreTask], *, workers: int | None = None
) -> Iterator[tuple[int, list[list[Score]]]]:
    """Yield ``(position, scores)`` of each task, in their order; one a core on CPU."""
    on_cpu = all(torch.device(task.torch_device).type == "cpu" for task in tasks)
    workers = min(len(tasks), workers or (available_cores() if on_cpu else 1))
    named = {str(place): (task, 1 if on_cpu else None) for place, task in enumerate(tasks)}
    ready: dict[int, list[list[Score]]] = {}
    following = 0
    for key, scores in run_tasks(score_networks, named, workers=workers, isolate=on_cpu):
        ready[int(key)] = scores
        while following in ready:  # a journal should not depend on which worker was faster
            yield following, ready.pop(following)
            following += 1
