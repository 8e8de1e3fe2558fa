"""One training as a task that runs in any process: everything it needs, and what it brings back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from hwnas.data import Dataset, load_dataset
from hwnas.errors import InputError
from hwnas.executor.local import available_cores, run_tasks
from hwnas.nn.build import build_network
from hwnas.nn.supernet import calibrate
from hwnas.ops import OpSpec
from hwnas.protocols import Wiring
from hwnas.train.checkpoint import read_tensors, save_weights
from hwnas.train.engine import Score, core_seconds, evaluate, fit
from hwnas.train.recipe import Recipe


@dataclass(frozen=True)
class DataSource:
    """A data set by name, so that a worker process can load it for itself."""

    name: str
    root: Path | None
    input_size: int

    def sized_for(self, layers: Sequence[OpSpec]) -> DataSource:
        """Return the same data set at the input size of the network of ``layers``."""
        return replace(self, input_size=layers[0].in_shape[1])

    def load(self) -> Dataset:
        """Return the data set (the last one used is kept in a process)."""
        return _load(self)


@lru_cache(maxsize=1)
def _load(source: DataSource) -> Dataset:
    return load_dataset(source.name, input_size=source.input_size, root=source.root)


@dataclass(frozen=True)
class TrainTask:
    """Train the network of ``layers`` on ``splits`` and score it on ``val``.

    The images of ``source`` come at the input size of the network, whatever the source's own.
    ``wiring`` says whose outputs each operation takes, None: they are a chain.
    ``weights`` and ``checkpoint`` are files to write (None: not kept). ``seed`` decides initial
    weights, order and augmentation; ``initial`` is a safetensors file of weights to begin with
    instead, in which the classifier (the last linear layer) may be absent. With ``calibration``
    these weights stay as they are: nothing is trained, but the batch norms get the statistics of
    that many images of ``train``. With ``fold`` (number, count) ``train`` and ``val`` are those of
    a fold of a cross-validation.
    """

    layers: tuple[OpSpec, ...]
    source: DataSource
    splits: tuple[str, ...]
    recipe: Recipe
    seed: int
    torch_device: str = "cpu"
    weights: Path | None = None
    checkpoint: Path | None = None
    wiring: Wiring | None = None
    initial: Path | None = None
    calibration: int | None = None
    fold: tuple[int, int] | None = None


@dataclass(frozen=True)
class TrainOutcome:
    """Score on ``val`` and cost of one training; with ``folds``, of a cross-validation."""

    val: Score
    images_trained: int
    macs_images: float
    core_s: float
    wall_s: float
    folds: int | None = None

    @property
    def cost(self) -> dict[str, float]:
        """The cost ledger's entry: images, forward MACs x images, core and wall seconds."""
        return {
            "images_trained": float(self.images_trained),
            "macs_images": self.macs_images,
            "core_s": round(self.core_s, 3),
            "wall_s": round(self.wall_s, 3),
        }


def train(task: TrainTask, num_threads: int | None = None) -> TrainOutcome:
    """Carry out one task in this process; it never sees ``test``.

    Repeating it gives the same files and score, bit for bit at the same number of threads.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    wall, cores = time.perf_counter(), core_seconds()
    dataset = task.source.sized_for(task.layers).load().without_test()
    if task.fold is not None:
        dataset = dataset.fold(*task.fold)
    network = build_network(task.layers, task.wiring, seed=task.seed)
    if task.initial is not None:
        begin_with(network, task.initial)
    images_trained = 0
    if task.calibration is None:
        images_trained = fit(
            network,
            dataset,
            task.splits,
            task.recipe,
            seed=task.seed,
            torch_device=task.torch_device,
            checkpoint=task.checkpoint,
            weights=task.weights,
        ).images_trained
    else:
        network.to(torch.device(task.torch_device))
        calibrate(network, dataset, num_images=task.calibration)
        if task.weights is not None:
            save_weights(network, task.weights)
    score = evaluate(network, dataset, "val", torch_device=task.torch_device)
    return TrainOutcome(
        val=score,
        images_trained=images_trained,
        macs_images=float(sum(op.macs for op in task.layers) * images_trained),
        core_s=core_seconds() - cores,
        wall_s=time.perf_counter() - wall,
    )


def begin_with(network: nn.Module, initial: Path) -> None:
    """Put the weights of a safetensors file into a network; its classifier may be absent there.

    Raises:
        InputError: the file is broken, or its tensors are not this network's: all differences.
    """
    tensors, own = read_tensors(initial), network.state_dict()
    *_, last = (name for name, part in network.named_modules() if isinstance(part, nn.Linear))
    free = {f"{last}.weight", f"{last}.bias"} - set(tensors)
    problems = [f"{name}: missing" for name in own if name not in tensors and name not in free]
    problems += [f"{name}: unexpected" for name in tensors if name not in own]
    problems += [
        f"{name}: the network has {tuple(own[name].shape)}, the file {tuple(v.shape)}"
        for name, v in tensors.items()
        if name in own and own[name].shape != v.shape
    ]
    if problems:
        raise InputError(str(initial), problems, "give the weights of this network")
    network.load_state_dict({**own, **tensors})


def train_all(
    tasks: Mapping[str, TrainTask], *, workers: int | None = None
) -> Iterator[tuple[str, TrainOutcome]]:
    """Yield ``(key, outcome)`` of many trainings as they finish.

    On CPU each worker process trains on its share of the cores (two networks on one core each take
    less time than one after the other on both); on an accelerator there is one worker.
    """
    on_cpu = all(torch.device(task.torch_device).type == "cpu" for task in tasks.values())
    cores = available_cores()
    workers = workers or (cores if on_cpu else 1)
    num_threads = max(1, cores // workers) if on_cpu else None
    # the longest first, so that the workers end together
    order = sorted(tasks, key=lambda key: -_work(tasks[key]))
    yield from run_tasks(
        train, {key: (tasks[key], num_threads) for key in order}, workers=workers, isolate=on_cpu
    )


def _work(task: TrainTask) -> int:
    return sum(op.macs for op in task.layers) * task.recipe.epochs
