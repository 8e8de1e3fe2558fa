"""A supernet: every candidate operation of a chain space once, of which a step runs one path.

The networks of a space share the weights of the operations they have in common (Bender et al., ICML
2018; Guo et al., "Single path one-shot", ECCV 2020). A path is a plain chain of the modules of one
network, so it costs what that network costs: nothing is masked, multiplied or computed for
operations that are not on it.

Batch norm statistics of a supernet mean nothing, since they mix networks: the supernet keeps none,
and :func:`calibrate` gives each extracted network its own before anything is scored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.arch import Arch
from hwnas.data import Dataset
from hwnas.errors import UsageError
from hwnas.interfaces import SearchSpace
from hwnas.network import MODULES, build_layers, init_weights
from hwnas.ops import OpSpec
from hwnas.rng import derived_seed, stream

Path = tuple[int, ...]
"""One option's index per choice of the space."""

CALIBRATION_BATCH = 250


@dataclass(frozen=True)
class Slot:
    """A place of the chain: the choice that decides it (None: no choice) and its candidates.

    ``None`` among the candidates is an operation that does nothing.
    """

    choice: int | None
    ops: tuple[OpSpec | None, ...]


def slots_of(space: SearchSpace) -> tuple[Slot, ...]:
    """Return the places of a chain space in order of execution.

    Raises:
        UsageError: a part of the space is decided by several choices, or its parts are not a chain.
    """
    factors = space.factors()
    if any(len(factor.choices) > 1 for factor in factors):
        raise UsageError(f"space {space.name} has parts that several choices decide; a supernet "
                         "needs a chain of layers with a choice each, as tiny, macro-cifar and "
                         "proxyless are. Next: --evaluator scratch")
    slots = tuple(Slot(f.choices[0] if f.choices else None, tuple(np.atleast_1d(f.ops)))
                  for f in factors)
    first = space.decode(np.zeros((1, len(space.choices)), dtype=np.int16))[0]
    chain = tuple(op for op in (slot.ops[0] for slot in slots) if op is not None)
    if chain != space.layers(first):
        raise UsageError(f"space {space.name}: its parts are not executed one after the other")
    return slots


class Supernet(nn.Module):
    """All candidates of ``space``, with initial weights drawn from ``seed``."""

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        super().__init__()
        self.space = space
        self.slots = slots_of(space)
        # torch's constructors draw weights from the global generator; it must stay as it was
        with torch.random.fork_rng(devices=[]):
            made = [
                [nn.Identity() if op is None else MODULES[op.kind](op) for op in slot.ops]
                for slot in self.slots
            ]
        self.candidates = tuple(tuple(modules) for modules in made)
        # registered under slot and option, so that weights have names
        self.operations = nn.ModuleList(nn.ModuleList(modules) for modules in made)
        init_weights(self, seed)
        self._nest_weights(seed)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False  # in training no buffer is updated

    def _nest_weights(self, seed: int) -> None:
        """Give a slot's candidates the same initial values, up to scale, where weights overlap.

        A 3x3 kernel begins as the centre of the 5x5 one, a narrow block as the first channels of
        the wide one, as the elastic layers of Once-for-All (Cai et al., ICLR 2020, §3.3) share them
        for good. The candidates then compute similar features at first, so that the layers after
        them need not learn anew with every path; they part as they are trained.
        """
        for number, (slot, candidates) in enumerate(zip(self.slots, self.candidates, strict=True)):
            alike: dict[str, list[nn.Conv2d]] = {}
            for op, candidate in zip(slot.ops, candidates, strict=True):
                for name, module in candidate.named_modules():
                    if op is not None and isinstance(module, nn.Conv2d):
                        alike.setdefault(f"{op.kind}.{name}", []).append(module)
            for name, convolutions in alike.items():
                generator = torch.Generator().manual_seed(
                    derived_seed(seed, f"nested:{number}.{name}"))
                _nest(convolutions, generator)

    def macs(self, path: Path) -> int:
        """Return the MACs of one image along ``path``."""
        chosen = (slot.ops[0 if slot.choice is None else path[slot.choice]] for slot in self.slots)
        return sum(op.macs for op in chosen if op is not None)

    def modules_of(self, path: Path) -> list[nn.Module]:
        """Return the module that each slot runs on ``path``, ``nn.Identity`` where none."""
        return [
            candidates[0 if slot.choice is None else path[slot.choice]]
            for slot, candidates in zip(self.slots, self.candidates, strict=True)
        ]

    def network(self, path: Path) -> nn.Sequential:
        """Return the chain of the modules on ``path``; they are the supernet's own, shared."""
        return nn.Sequential(*(m for m in self.modules_of(path) if not isinstance(m, nn.Identity)))

    def path_of(self, arch: Arch) -> Path:
        """Return the options' indices of an architecture."""
        return tuple(int(index) for index in self.space.encode([arch])[0])

    def extract(self, arch: Arch) -> nn.Sequential:
        """Return a plain network of its own with copies of the shared weights of ``arch``.

        Its batch norms have no statistics yet: see :func:`calibrate`.
        """
        shared = self.network(self.path_of(arch))
        plain = build_layers(self.space.layers(arch))
        device = next(self.parameters()).device
        plain.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        plain.load_state_dict(shared.state_dict())
        return plain

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes) along ``path``."""
        for module in self.modules_of(path):
            x = module(x)
        return x


def _nest(convolutions: Sequence[nn.Conv2d], generator: torch.Generator) -> None:
    """Draw one weight as large as the largest and cut each convolution's from it."""
    shapes = [tuple(module.weight.shape) for module in convolutions]
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    drawn = torch.randn(largest, generator=generator)
    for module, (outputs, inputs, height, width) in zip(convolutions, shapes, strict=True):
        top, left = (largest[2] - height) // 2, (largest[3] - width) // 2
        part = drawn[:outputs, :inputs, top:top + height, left:left + width]
        fan_out = height * width * outputs // module.groups
        with torch.no_grad():
            module.weight.copy_(part * math.sqrt(2.0 / fan_out))


def calibrate(network: nn.Module, dataset: Dataset, *, num_images: int) -> None:
    """Give all batch norms the statistics of ``num_images`` training images, plainly averaged.

    The images are the first of ``train`` in hash order, the same for every network. Scoring
    sub-networks needs this (Guo et al., ECCV 2020, §3.4; Yu and Huang, ICCV 2019, §3.3).

    They come in batches of nearly equal size, whose statistics are averaged.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative average
    was_training = network.training
    network.train()
    device = next(network.parameters()).device
    with torch.no_grad():
        for images in dataset.head("train", num_images, CALIBRATION_BATCH, device):
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def num_options(space: SearchSpace) -> list[int]:
    """Return how many options each choice has."""
    return [len(choice.options) for choice in space.choices]


def uniform_path(space: SearchSpace, seed: int, step: int) -> Path:
    """Return the path of a step, every option of every choice equally likely (SPOS)."""
    rng = stream(seed, "path", step)
    return tuple(int(rng.integers(n)) for n in num_options(space))


def fair_paths(space: SearchSpace, seed: int, step: int) -> list[Path]:
    """Return the paths of a step in which each choice's options occur equally often.

    Strict fairness (Chu et al., "FairNAS", ICCV 2021, §3.3): as many paths as options, each choice
    permuted by itself, and one update from their summed gradients. Departure: where choices differ
    in their number of options, steps follow each other through a cycle of the least common multiple
    of the numbers, over which every option occurs equally often; a step has as many paths as the
    largest choice has options.
    """
    counts = num_options(space)
    paths = max(counts)
    cycle = math.lcm(*counts)
    columns = []
    for number, count in enumerate(counts):
        first = step * paths % cycle
        places = range(first, first + paths)
        rounds: dict[int, list[int]] = {}
        column = []
        for place in places:
            turn = (step * paths - first + place) // count
            if turn not in rounds:
                rounds[turn] = stream(seed, "fair", number, turn).permutation(count).tolist()
            column.append(rounds[turn][place % count])
        columns.append(column)
    return [tuple(path) for path in zip(*columns, strict=True)]


@dataclass
class PathSampler:
    """The companion of a supernet's training (``train.engine``): which paths each step trains.

    ``fair`` trains as many paths a step as the largest choice has options, otherwise one.
    """

    supernet: Supernet
    seed: int
    fair: bool = False
    macs: int = 0  # of one image, summed over all paths trained

    def identity(self) -> dict[str, bool | str]:
        """Return the kind of sampling."""
        return {"kind": "paths", "fair": self.fair}

    def networks(self, step: int) -> Sequence[nn.Module]:
        """Return the networks of a step."""
        space = self.supernet.space
        paths = (fair_paths(space, self.seed, step) if self.fair
                 else [uniform_path(space, self.seed, step)])
        self.macs += sum(self.supernet.macs(path) for path in paths)
        return [self.supernet.network(path) for path in paths]

    def after_step(self, step: int) -> None:
        """Do nothing."""

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Have nothing to say."""
        return {}

    def state(self) -> dict[str, int]:
        """Return the work done; paths derive from the seed and the step."""
        return {"macs": self.macs}

    def restore(self, state: Mapping[str, int]) -> None:
        """Take back what :meth:`state` returned."""
        self.macs = state["macs"]

