"""A supernet whose networks are slices of one set of weights, for spaces of elastic sizes.

Every place of the networks (stem, each block, head) holds, for each family of operations it offers,
one set of weights as large as the largest candidate in each dimension. A candidate takes the first
channels, and the centre of the kernels, transformed: Cai et al., "Once-for-All" (ICLR 2020), §3.3,
whose published supernets have this form (``train.ofa_weights``). So blocks of different families
have a branch each, and widths, expansions, squeeze widths and kernels share. Departures:

- all networks are trained from the start, by sampled paths, not progressively (§3.2);
- a smaller resolution is the step's images made smaller, not a crop of its own;
- families whose operation is of one kind (with or without a depthwise convolution) share a branch.

Batch norm statistics of shared weights mean nothing, so training keeps none; those that came with
published weights stay until ``supernet.calibrate`` gives an extracted network its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from hwnas.arch import Arch
from hwnas.errors import UsageError
from hwnas.nn.build import build_layers, init_weights, make_module
from hwnas.nn.mobile import LAYER_SCALE_INIT
from hwnas.nn.pretrained import PARTS
from hwnas.nn.weight_sharing import cut
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace

Path = tuple[int, ...]
"""One option's index per choice of the space, -1 where a choice does not exist."""

Shapes = dict[str, tuple[int, ...]]
KEPT_MODULES = 1024


@dataclass(frozen=True)
class _Place:
    """A place of the networks: the choices that decide its operation, and the operations."""

    choices: tuple[int, ...]
    ops: NDArray[np.object_]

    def op(self, path: Path) -> OpSpec | None:
        """Return the operation on ``path``, None where the place is not there."""
        found: OpSpec | None = self.ops[tuple(path[choice] for choice in self.choices)]
        return found


def places_of(space: SearchSpace) -> tuple[_Place, ...]:
    """Return the places of a space in order of execution.

    Raises:
        UsageError: its networks are no chains, or have operations that are not cut into slices.
    """
    first = space.decode(space.repair(np.zeros((1, len(space.choices)), dtype=np.int16)))[0]
    if space.wiring(first) is not None:
        raise UsageError(
            f"space {space.name} has networks that are no chains, which a supernet "
            "cannot hold; those of ofa-mbv3, mobile, tiny, macro-cifar, proxyless, "
            "fbnet and of chains of your own are. Next: --evaluator scratch, "
            "table:FILE or predictor:FILE, or one of these spaces"
        )
    places = tuple(
        _Place(factor.choices, factor.ops)
        for factor in space.factors()
        if any(op is not None for op in factor.ops.ravel().tolist())
    )
    every = dict.fromkeys(op for place in places for op in _distinct(place.ops))
    uncut = sorted(
        {op.kind for op in every if op.kind not in PARTS}
        | {f"{op.kind} in groups" for op in every if dict(op.attrs).get("groups", 1) != 1}
    )
    if uncut:
        raise UsageError(
            f"space {space.name}: a supernet has no slices of {', '.join(uncut)}. "
            "Next: --evaluator scratch"
        )
    path = tuple(space.encode([first])[0].tolist())
    if tuple(op for place in places if (op := place.op(path)) is not None) != space.layers(first):
        raise UsageError(
            f"space {space.name}: its parts are not executed one after the other, as "
            "those of a supernet are. Next: --evaluator scratch"
        )
    return places


def _distinct(ops: NDArray[np.object_]) -> list[OpSpec]:
    objects = {id(op): op for op in ops.ravel().tolist()}
    return list(dict.fromkeys(op for op in objects.values() if op is not None))


def names_in(op: OpSpec) -> dict[str, str]:
    """Return of each module with weights in ``op``'s module: its place in it, and its role."""
    return {place: role for role, place in PARTS[op.kind](op)}


class ElasticSupernet(nn.Module):
    """The shared weights of all networks of ``space``, initial values drawn from ``seed``.

    ``branches`` are named ``place-family-role``; each is as large as the largest candidate in each
    dimension. Images of any size are brought to the resolution of the path's network.

    Raises:
        UsageError: see :func:`places_of`.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        super().__init__()
        self.space = space
        self.places = places_of(space)
        self.branches = nn.ModuleDict()
        self.modules_by_op = _Modules()
        known: dict[int, dict[str, _Branch]] = {}  # many places have one array of operations
        with torch.random.fork_rng(devices=[]):
            for number, place in enumerate(self.places):
                if id(place.ops) not in known:
                    known[id(place.ops)] = _branches(_distinct(place.ops))
                for name, branch in known[id(place.ops)].items():
                    self.branches[f"{number}-{name}"] = branch.module()
        init_weights(self, seed)

    def option_macs(self) -> list[NDArray[np.float64]]:
        """Return the mean MACs of each option of each choice, over the others' options."""
        found = [np.zeros(len(choice.options)) for choice in self.space.choices]
        for factor in self.space.factors():
            macs = factor.values(lambda op: 0.0 if op is None else float(op.macs))
            for axis, choice in enumerate(factor.choices):
                others = tuple(other for other in range(macs.ndim) if other != axis)
                found[choice] += np.nanmean(macs, axis=others)[: len(found[choice])]
        return found

    def macs(self, path: Path) -> int:
        """Return the MACs of one image along ``path``."""
        return sum(op.macs for _, op in self.ops_of(path))

    def ops_of(self, path: Path) -> list[tuple[int, OpSpec]]:
        """Return the places that exist on ``path``, with their operations."""
        return [
            (number, op)
            for number, place in enumerate(self.places)
            if (op := place.op(path)) is not None
        ]

    def path_of(self, arch: Arch) -> Path:
        """Return the options' indices of an architecture."""
        return tuple(int(index) for index in self.space.encode([arch])[0])

    def network(self, path: Path) -> PathNetwork:
        """Return the network on ``path``; its weights are slices of the supernet's own."""
        return PathNetwork(self, path)

    def extract(self, arch: Arch) -> nn.Sequential:
        """Return a plain network of its own with copies of the slices of ``arch``.

        Its batch norms have the statistics of published weights, or none: see
        ``supernet.calibrate``.
        """
        plain = build_layers(self.space.layers(arch))
        plain.to(next(self.parameters()).device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        state = plain.state_dict()
        with torch.no_grad():
            for layer, (number, op) in enumerate(self.ops_of(self.path_of(arch))):
                for name, value in self.slices(number, op).items():
                    state[f"{layer}.{name}"].copy_(value)
        return plain

    def wholes(self, number: int, op: OpSpec) -> dict[str, Tensor]:
        """Return the whole tensors that those of ``op`` at a place are slices of, by its names."""
        found: dict[str, Tensor] = {}
        for module in names_in(op):
            branch = self.branch(number, op, module)
            if isinstance(branch, _Scale):
                found[module] = branch.weight
                continue
            found |= {
                f"{module}.{name}": value
                for name, value in (*branch.named_parameters(), *branch.named_buffers())
                if not name.endswith(("_matrix", "num_batches_tracked"))
            }
        return found

    def branch(self, number: int, op: OpSpec, module: str) -> nn.Module:
        """Return the shared weights of a part of ``op``'s module at a place."""
        return self.branches[f"{number}-{_family(op)}-{_spelt(names_in(op)[module])}"]

    def slices(self, number: int, op: OpSpec) -> dict[str, Tensor]:
        """Return the tensors of ``op`` at a place, by their names in its module, differentiable."""
        shapes = _shapes(_sizeless(op))
        found = {}
        for name, whole in self.wholes(number, op).items():
            if name not in shapes:  # a bias that only other candidates have
                continue
            found[name] = self._slice(number, op, name, whole, shapes[name])
        return found

    def _slice(
        self, number: int, op: OpSpec, name: str, whole: Tensor, shape: tuple[int, ...]
    ) -> Tensor:
        if len(shape) == 4 and whole.shape[-1] > shape[-1]:
            branch = self.branch(number, op, name.removesuffix(".weight"))
            whole = _transformed(branch, whole[: shape[0]], shape[-1])
        if len(shape) == 4:
            return cut(whole, shape)
        return whole[tuple(slice(size) for size in shape)]

    def forward(self, x: Tensor, path: Path) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes) along ``path``."""
        out: Tensor = self.network(path).train(self.training)(x)
        return out


def _transformed(conv: nn.Module, kernels: Tensor, size: int) -> Tensor:
    """Return the kernels at ``size``: centre by centre, each times its matrix where it has one."""
    while kernels.shape[-1] > size:
        smaller = kernels.shape[-1] - 2
        kernels = kernels[:, :, 1:-1, 1:-1]
        name = f"{smaller + 2}to{smaller}_matrix"
        if hasattr(conv, name):
            matrix = cast(Tensor, getattr(conv, name))
            kernels = functional.linear(kernels.flatten(2), matrix).reshape(kernels.shape)
    return kernels


class PathNetwork(nn.Module):
    """The network of one path: modules of the operations, run with slices of the supernet."""

    def __init__(self, supernet: ElasticSupernet, path: Path) -> None:
        super().__init__()
        self.supernet = (supernet,)  # in a tuple, so that torch does not register it here as well
        self.ops = supernet.ops_of(path)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to logits (N, num_classes); other sizes are made to fit."""
        _, *size = self.ops[0][1].in_shape
        if list(x.shape[2:]) != size:
            x = functional.interpolate(x, size=size, mode="bilinear", antialias=True)
            x = x.contiguous(memory_format=torch.channels_last)
        for number, op in self.ops:
            module = self.supernet[0].modules_by_op.of(_sizeless(op))
            if module.training != self.training:
                module.train(self.training)
            x = functional_call(module, self.supernet[0].slices(number, op), (x,))
        return x


def _sizeless(op: OpSpec) -> OpSpec:
    """Return the operation on one pixel: what decides its weights."""
    return OpSpec(op.kind, (op.in_shape[0], 1, 1), op.out_channels, op.attrs)


class _Modules:
    """The modules that a supernet runs with slices of its weights, made once for each operation.

    They hold no values, and are one supernet's alone: their mode is set in each forward pass. The
    KEPT_MODULES that were used last are kept.
    """

    def __init__(self) -> None:
        self._kept: dict[OpSpec, nn.Module] = {}  # in the order of their last use

    def of(self, op: OpSpec) -> nn.Module:
        """Return the module of ``op``."""
        module = self._kept.pop(op, None)
        self._kept[op] = found = _bare(op) if module is None else module
        if len(self._kept) > KEPT_MODULES:
            del self._kept[next(iter(self._kept))]
        return found


def _bare(op: OpSpec) -> nn.Module:
    """Return a new module of ``op`` without values, whose batch norms keep no statistics."""
    with torch.device("meta"):
        module = make_module(op)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.track_running_stats = False  # in training no buffer is updated
    return module


@lru_cache(maxsize=4 * KEPT_MODULES)
def _shapes(op: OpSpec) -> Shapes:
    return {
        name: tuple(value.shape)
        for name, value in _bare(op).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


class _Scale(nn.Module):
    """A layer scale: a factor per channel, no weight of a convolution (nothing decays it)."""

    def __init__(self, initial: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(initial)


@dataclass(frozen=True)
class _Branch:
    """The largest shape of a role's tensors at a place, and the smallest of its kernels."""

    shapes: Shapes
    least_kernel: int
    is_norm: bool
    scale: float

    def module(self) -> nn.Module:
        """Return a module of these weights; it is never run."""
        weight = self.shapes["weight"]
        if self.is_norm:
            return nn.BatchNorm2d(weight[0])
        if len(weight) == 3:
            return _Scale(torch.full(weight, self.scale))
        has_bias = "bias" in self.shapes
        if len(weight) == 2:
            return nn.Linear(weight[1], weight[0], bias=has_bias)
        depthwise = weight[1] == 1
        inputs, groups = (weight[0], weight[0]) if depthwise else (weight[1], 1)
        conv = nn.Conv2d(inputs, weight[0], weight[2], groups=groups, bias=has_bias)
        if depthwise:
            for size in range(weight[2], self.least_kernel, -2):
                area = (size - 2) ** 2
                conv.register_parameter(f"{size}to{size - 2}_matrix", nn.Parameter(torch.eye(area)))
        return conv


def _family(op: OpSpec) -> str:
    """Return the branch that an operation belongs to: its kind; heads by what they classify."""
    if op.kind != "head" or not op["features"]:
        return op.kind
    return "head_normed" if op["features_norm"] else "head_features"


def _spelt(role: str) -> str:
    return role.replace(".", "_")  # module names hold no dots


def _branches(ops: Sequence[OpSpec]) -> dict[str, _Branch]:
    """Return the branches, named ``family-role``, that hold every one of these operations."""
    groups: dict[tuple[object, ...], list[OpSpec]] = {}
    for op in ops:
        groups.setdefault((op.kind, *names_in(op).items()), []).append(op)
    found: dict[str, _Branch] = {}
    for alike in groups.values():
        large, small = _bare(_hull(alike, max)), _bare(_hull(alike, min))
        for module, role in names_in(alike[0]).items():
            shapes = dict(_tensors(large, module))
            least = dict(_tensors(small, module))["weight"][-1]
            owner = large.get_submodule(module) if module != "scale" else None
            name = f"{_family(alike[0])}-{_spelt(role)}"
            branch = _Branch(shapes, least, isinstance(owner, nn.BatchNorm2d), LAYER_SCALE_INIT)
            found[name] = _larger(found[name], branch) if name in found else branch
    return found


def _tensors(module: nn.Module, place: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (name, shape) of the tensors of the part at ``place``; a scale is one itself."""
    for name, value in module.state_dict().items():
        if name == place:
            yield "weight", tuple(value.shape)
        elif name.startswith(f"{place}.") and not name.endswith("num_batches_tracked"):
            yield name.removeprefix(f"{place}."), tuple(value.shape)


def _larger(one: _Branch, other: _Branch) -> _Branch:
    shapes = {
        name: tuple(map(max, shape, other.shapes.get(name, shape)))
        for name, shape in {**other.shapes, **one.shapes}.items()
    }
    return _Branch(shapes, min(one.least_kernel, other.least_kernel), one.is_norm, one.scale)


def _hull(ops: Sequence[OpSpec], pick: Callable[[Iterable[int]], int]) -> OpSpec:
    """Return the operation as large (or small) as the largest (smallest) in each dimension."""
    attrs = tuple(
        (name, pick(int(dict(op.attrs)[name]) for op in ops) if type(value) is int else value)
        for name, value in ops[0].attrs
    )
    channels = pick(op.in_shape[0] for op in ops)
    return OpSpec(ops[0].kind, (channels, 1, 1), pick(op.out_channels for op in ops), attrs)
