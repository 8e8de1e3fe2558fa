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
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.arch import Arch
from hwnas.data import Dataset
from hwnas.nn.build import build_layers, init_weights, make_module
from hwnas.nn.elastic_supernet import ElasticSupernet, places_of
from hwnas.nn.weight_sharing import NestedConv2d, Whole, alike, replace_module
from hwnas.protocols import SearchSpace
from hwnas.rng import derived_seed, stream
from hwnas.space.slots import slots_of

Path = tuple[int, ...]
"""One option's index per choice of the space."""

Sharing = Literal["own", "nested"]

CALIBRATION_BATCH = 250


class Supernet(nn.Module):
    """All candidates of ``space``, with initial weights drawn from ``seed``.

    ``sharing`` is ``own`` (every candidate its own weights, as in ProxylessNAS) or ``nested``: the
    convolutions of a slot's candidates are parts of one weight (see ``nested``). The rest of a
    nested weight gets a zero gradient where a step does not use it: momentum and decay act on it.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0, sharing: Sharing = "own") -> None:
        super().__init__()
        self.space = space
        self.sharing = sharing
        self.slots = slots_of(space)
        # torch's constructors draw weights from the global generator; it must stay as it was
        with torch.random.fork_rng(devices=[]):
            made = [
                [nn.Identity() if op is None else make_module(op) for op in slot.ops]
                for slot in self.slots
            ]
        self.candidates = tuple(tuple(modules) for modules in made)
        # registered under slot and option, so that weights have names
        self.operations = nn.ModuleList(nn.ModuleList(modules) for modules in made)
        init_weights(self, seed)
        with torch.random.fork_rng(devices=[]):
            self._tie_weights(seed)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats = False  # in training no buffer is updated

    def _tie_weights(self, seed: int) -> None:
        """Give a slot's candidates the same initial values, up to scale, where weights overlap.

        The candidates then compute similar features at first, so that the layers after them need
        not learn anew with every path. Their own weights part as they are trained; ``nested`` ones
        stay parts of one.
        """
        self.wholes = nn.ModuleDict()
        for number, (slot, candidates) in enumerate(zip(self.slots, self.candidates, strict=True)):
            for name, places in alike(slot.ops, candidates).items():
                parts = [cast(nn.Conv2d, owner.get_submodule(part)) for owner, part in places]
                whole = Whole(parts)
                whole.draw(
                    torch.Generator().manual_seed(derived_seed(seed, f"nested:{number}.{name}"))
                )
                nested = [NestedConv2d(part, whole) for part in parts]
                if self.sharing == "nested" and len(parts) > 1:
                    self.wholes[f"{number}-{name.replace('.', '-')}"] = whole
                    for (owner, place), module in zip(places, nested, strict=True):
                        replace_module(owner, place, module)
                    continue
                for part, module in zip(parts, nested, strict=True):
                    with torch.no_grad():
                        part.weight.copy_(module.weight)

    def option_macs(self) -> list[NDArray[np.float64]]:
        """Return the MACs that each option of each choice brings."""
        work = [np.zeros(n) for n in num_options(self.space)]
        for slot in self.slots:
            if slot.choice is not None:
                work[slot.choice] += [0 if op is None else op.macs for op in slot.ops]
        return work

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
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                owner, _, last = name.rpartition(".")
                parameter.copy_(getattr(shared.get_submodule(owner), last))
        return plain

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes) along ``path``."""
        for module in self.modules_of(path):
            x = module(x)
        return x


SharedWeights = Supernet | ElasticSupernet
"""What is trained by sampled paths: candidates of their own weights, or slices of one."""


def supernet_of(space: SearchSpace, *, seed: int = 0, sharing: Sharing = "own") -> SharedWeights:
    """Return the supernet of a space: an elastic one where several choices decide a part.

    ``sharing`` is of the other kind; elastic ones share slices.

    Raises:
        UsageError: the space can have neither.
    """
    if any(len(factor.choices) > 1 for factor in space.factors()):
        return ElasticSupernet(space, seed=seed)
    return Supernet(space, seed=seed, sharing=sharing)


def check_supernet(space: SearchSpace, *, by_gates: bool) -> None:
    """Raise UsageError, naming spaces that can, unless the space's networks can share weights.

    ``by_gates``: in a supernet whose paths gates choose.
    """
    if by_gates or all(len(factor.choices) < 2 for factor in space.factors()):
        slots_of(space)
    else:
        places_of(space)


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


def sandwich_probabilities(supernet: SharedWeights) -> list[NDArray[np.float64]]:
    """Return the probability of each option of each choice under ``sandwich`` sampling.

    The options of a choice with the least and the most work are drawn twice as often as those
    between them, after the sandwich rule (Yu and Huang, ICCV 2019, §3.2), which trains the smallest
    and the largest network in every step: drawn equally often, what is small learns faster than
    what is large, and middling options end up overrated. Departure: by choice, one path a step.
    """
    weights = [
        np.where((macs == macs.min()) | (macs == macs.max()), 2.0, 1.0)
        for macs in supernet.option_macs()
    ]
    return [weight / weight.sum() for weight in weights]


Sampling = Literal["uniform", "fair", "sandwich"]


@dataclass
class PathSampler:
    """The companion of a supernet's training (``train.engine``): which paths each step trains.

    ``fair`` trains as many paths a step as the largest choice has options, otherwise one.
    """

    supernet: SharedWeights
    seed: int
    sampling: Sampling = "uniform"
    macs: int = 0  # of one image, summed over all paths trained

    def __post_init__(self) -> None:
        self._thresholds = [p.cumsum()[:-1] for p in sandwich_probabilities(self.supernet)]

    def identity(self) -> dict[str, str]:
        """Return the kind of sampling."""
        return {"kind": "paths", "sampling": self.sampling}

    def paths(self, step: int) -> list[Path]:
        """Return the paths of a step; choices that do not exist on them are -1."""
        space = self.supernet.space
        drawn = np.array(self._drawn(step), dtype=np.int16)
        return [tuple(path) for path in space.repair(drawn).tolist()]

    def _drawn(self, step: int) -> list[Path]:
        """Return an option of every choice, whether or not the others' options leave it one."""
        if self.sampling == "fair":
            return fair_paths(self.supernet.space, self.seed, step)
        if self.sampling == "uniform":
            return [uniform_path(self.supernet.space, self.seed, step)]
        drawn = stream(self.seed, "sandwich", step).random(len(self._thresholds))
        return [
            tuple(
                int(np.searchsorted(thresholds, number, side="right"))
                for thresholds, number in zip(self._thresholds, drawn, strict=True)
            )
        ]

    def networks(self, step: int) -> Sequence[nn.Module]:
        """Return the networks of a step."""
        paths = self.paths(step)
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
