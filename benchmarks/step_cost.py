"""What a step of the search costs, in time and memory, beside a plain training step.

For `macro-cifar` at 32 px (batch 128) and `proxyless` at 96 px (batch 16) the same sampled networks
are taken through, in turn: a plain training step of the network alone, a weight step of the
supernet, an architecture step of each gradient form, and a step of a DARTS-style mixture of all
paths. Times are medians over rounds, each step's order in a round being random; memory is the peak
of what a step allocates beyond parameters, gradients and optimiser state, from torch's profiler.

Run:  python benchmarks/step_cost.py [--rounds 9] [--only cost]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from hwnas.data import Dataset, load_dataset
from hwnas.nn.build import build_layers
from hwnas.nn.supernet import Path, Supernet, uniform_path
from hwnas.search.gates.supernet_problem import SupernetProblem
from hwnas.space.catalogue import load_space
from hwnas.train import Recipe
from hwnas.train.engine import SingleNetwork, Training

CASES = (("macro-cifar", 128), ("proxyless:input_size=96,num_classes=10", 16))
RECIPE = Recipe(label_smoothing=0.1)


@dataclass
class OnePath:
    """A companion that trains one given path."""

    supernet: Supernet
    path: Path = ()

    def identity(self) -> dict[str, float]:
        """Have none."""
        return {}

    def networks(self, step: int) -> list[nn.Module]:
        """Return the network of the path."""
        return [self.supernet.network(self.path)]

    def after_step(self, step: int) -> None:
        """Do nothing."""

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Have nothing to say."""
        return {}

    def state(self) -> dict[str, float]:
        """Have nothing to keep."""
        return {}

    def restore(self, state: object) -> None:
        """Take nothing."""


class FixedImages(SupernetProblem):
    """The architecture step's problem on one batch that is there already."""

    images: Tensor
    labels: Tensor

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch, whatever the step."""
        return self.images.detach(), self.labels


def mixture_step(supernet: Supernet, images: Tensor, labels: Tensor) -> None:
    """An architecture step of a softmax mixture of all paths (DARTS, first order)."""
    alphas = [torch.zeros(len(slot.ops), requires_grad=True) for slot in supernet.slots]
    x = images
    for alpha, candidates in zip(alphas, supernet.candidates, strict=True):
        weights = alpha.softmax(0)
        x = sum(w * module(x) for w, module in zip(weights, candidates, strict=True))
    torch.autograd.grad(functional.cross_entropy(x, labels), alphas, allow_unused=True)


def peak_bytes(step: Callable[[], object]) -> int:
    """Return the most a step holds above what was held before it."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.maximum(np.cumsum([0, *sizes]).max(), 0))


class Case:
    """The steps to compare on one space."""

    def __init__(self, name: str, batch: int, dataset: Dataset) -> None:
        self.space = load_space(name)
        size = self.space.input_shape[1]
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(batch, 3, size, size, generator=generator).contiguous(
            memory_format=torch.channels_last
        )
        self.labels = torch.randint(0, self.space.num_classes, (batch,), generator=generator)
        self.dataset = dataset
        self.supernet = Supernet(self.space)
        self.supernet.to(memory_format=torch.channels_last)
        self.companion = OnePath(self.supernet)
        self.training = self._training(self.supernet, self.companion)
        self.problem = FixedImages(self.supernet, dataset, batch_size=batch, seed=0)
        self.problem.images, self.problem.labels = self.images, self.labels

    def _training(self, network: nn.Module, companion: object) -> Training:
        return Training(
            network, self.dataset, ("train",), RECIPE, 0, torch.device("cpu"), None, companion
        )

    def steps(self, number: int) -> dict[str, Callable[[], object]]:
        """Return the steps on the ``number``-th sampled network."""
        path = uniform_path(self.space, 0, number)
        arch = self.space.decode(np.array([path], dtype=np.int16))[0]
        plain = build_layers(self.space.layers(arch))
        plain.to(memory_format=torch.channels_last)
        alone = self._training(plain, SingleNetwork(plain))
        plain.train()
        self.supernet.train()
        self.companion.path = path
        sizes = [len(choice.options) for choice in self.space.choices]
        every = [list(range(size)) for size in sizes]
        two = [
            [chosen, (chosen + 1 + number % (size - 1)) % size]
            for chosen, size in zip(path, sizes, strict=True)
        ]
        return {
            "plain": lambda: alone.step(self.images, self.labels, 0),
            "weight": lambda: self.training.step(self.images, self.labels, 0),
            "two": lambda: self.problem.gate_gradients(path, two, 0),
            "full": lambda: self.problem.gate_gradients(path, every, 0),
            "mixture": lambda: mixture_step(self.supernet, self.images, self.labels),
        }


def compare(case: Case, rounds: int) -> None:
    """Print one table: time and memory of each step over the plain one's."""
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {}
    for number in range(rounds):
        steps = case.steps(number)
        for name in steps:
            steps[name]()  # first touch of this path's memory
        order = [name for name in steps for _ in range(2)]
        found: dict[str, list[float]] = {}
        for index in rng.permutation(len(order)):
            start = time.perf_counter()
            steps[order[index]]()
            found.setdefault(order[index], []).append(time.perf_counter() - start)
        for name, taken in found.items():
            times.setdefault(name, []).append(min(taken))
    memory = {name: [] for name in times}
    for number in range(min(3, rounds)):
        for name, step in case.steps(number).items():
            memory[name].append(peak_bytes(step))
    candidates = statistics.mean(len(choice.options) for choice in case.space.choices)
    limit = {"weight": 1.08, "two": 1.45, "full": 1 + 0.4 * (candidates - 1)}
    print(
        f"\n{case.space.name}, batch {len(case.labels)}, {candidates:.2f} candidates a layer, "
        f"{rounds} networks"
    )
    print(f"{'step':8} {'ms':>8} {'x plain':>8} {'at most':>8} {'peak MB':>8} {'x plain':>8}")
    for name in times:
        ratios = [t / p for t, p in zip(times[name], times["plain"], strict=True)]
        peaks = [m / p for m, p in zip(memory[name], memory["plain"], strict=True)]
        allowed = f"{limit[name]:.2f}" if name in limit else "-"
        print(
            f"{name:8} {1e3 * statistics.median(times[name]):8.1f} "
            f"{statistics.median(ratios):8.3f} {allowed:>8} "
            f"{statistics.median(memory[name]) / 1e6:8.1f} {statistics.median(peaks):8.3f}"
        )


def flatness(dataset: Dataset) -> None:
    """Print the peak memory of architecture steps from 3 to 9 candidates a layer."""
    import tempfile
    from pathlib import Path as File

    import yaml

    print("\npeak MB of architecture steps by candidates a layer (8 layers, 32 px, batch 16)")
    for count in (3, 5, 7, 9):
        names = [f"b{number}" for number in range(count)]
        description = {
            "schema": 1,
            "name": "flat",
            "input_size": 32,
            "num_classes": 10,
            "stem": {"width": 32, "stride": 1, "act": "relu"},
            # the largest first, so that the active path is the same for all counts
            "options": {
                name: {
                    "kind": "mbconv",
                    "kernel": 3,
                    "expand": 6 if number < 3 else 3,
                    "act": ["relu", "relu6", "hswish"][number % 3],
                }
                for number, name in enumerate(names)
            },
            "stages": [{"width": 64, "layers": 8, "stride": 2, "options": names}],
            "head": {"hidden": 256},
        }
        with tempfile.TemporaryDirectory() as folder:
            file = File(folder) / "flat.yaml"
            file.write_text(yaml.safe_dump(description))
            case = Case(str(file), 16, dataset)
        two, full, mixed = _peaks(case, count)
        print(
            f"{count} candidates: two {two / 1e6:7.1f}   full {full / 1e6:7.1f}   "
            f"mixture {mixed / 1e6:7.1f}"
        )


def _peaks(case: Case, count: int) -> tuple[int, int, int]:
    path = (0,) * 8
    pairs, every = [[0, 1]] * 8, [list(range(count))] * 8
    return (
        peak_bytes(lambda: case.problem.gate_gradients(path, pairs, 0)),
        peak_bytes(lambda: case.problem.gate_gradients(path, every, 0)),
        peak_bytes(lambda: mixture_step(case.supernet, case.images, case.labels)),
    )


def throughput(dataset: Dataset, rounds: int) -> None:
    """Print images/s of weight steps of `macro-cifar`, data and augmentation included."""
    for name in ("macro-cifar", "macro-cifar:stem_channels=8"):
        space = load_space(name)
        supernet = Supernet(space)
        supernet.to(memory_format=torch.channels_last)
        companion = OnePath(supernet)
        recipe = Recipe(batch_size=128)
        training = Training(
            supernet, dataset, ("train",), recipe, 0, torch.device("cpu"), None, companion
        )
        supernet.train()
        ours, plain = [], []
        for number in range(rounds):
            path = uniform_path(space, 1, number)
            companion.path = path
            arch = space.decode(np.array([path], dtype=np.int16))[0]
            network = build_layers(space.layers(arch)).to(memory_format=torch.channels_last)
            network.train()
            optimiser = torch.optim.SGD(network.parameters(), 0.1, 0.9, nesterov=True)
            for is_ours in ((True, False), (False, True))[number % 2]:
                batches = dataset.batches(
                    ("train",), batch_size=128, seed=0, epoch=number, augment=True, shuffle=True
                )
                next(batches)
                start = time.perf_counter()
                for step in range(3):
                    images, labels = next(batches)
                    if is_ours:
                        training.step(images, labels, step)
                    else:
                        optimiser.zero_grad()
                        functional.cross_entropy(network(images), labels).backward()
                        optimiser.step()
                (ours if is_ours else plain).append((time.perf_counter() - start) / 3)
        print(
            f"{name}: weight step {128 / statistics.mean(ours):.0f} images/s, plain loop "
            f"{128 / statistics.mean(plain):.0f} images/s ({rounds} random paths)"
        )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data", default="digits", help="a data set of 32 px for the throughput")
    parser.add_argument("--only", choices=("cost", "flat", "throughput"))
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    dataset = load_dataset(arguments.data, input_size=32)
    if arguments.only in (None, "cost"):
        for name, batch in CASES:
            compare(Case(name, batch, dataset), arguments.rounds)
    if arguments.only in (None, "flat"):
        flatness(dataset)
    if arguments.only in (None, "throughput"):
        throughput(dataset, 4 * arguments.rounds)


if __name__ == "__main__":
    main()
