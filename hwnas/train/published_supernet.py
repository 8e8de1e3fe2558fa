"""Published weights as what an elastic supernet begins with: Once-for-All's, or a known model's.

A model of torchvision or timm is one network of a space, and fills the slices that this network has
of the shared weights; the rest keeps its initial values. Once-for-All's supernet of ``ofa-mbv3``
has the form of ours and fills it whole, its kernel transforms included. Where the weights have
other classes than the space, the classifier keeps its initial values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hwnas.errors import InputError, UsageError
from hwnas.nn.build import build_layers
from hwnas.nn.elastic_supernet import ElasticSupernet
from hwnas.nn.pretrained import reference_network
from hwnas.nn.weight_sharing import cut
from hwnas.space.catalogue import load_space, with_params
from hwnas.space.elastic import ElasticSpace
from hwnas.space.zoo.archs import known_archs
from hwnas.train.checkpoint import read_tensors
from hwnas.train.ofa_weights import (
    SHAPE_OF_TRANSFORM,
    largest,
    load_ofa_supernet,
    named,
    num_classes,
)


@dataclass(frozen=True)
class Covered:
    """What published weights filled: the shape filled of each tensor, and those left as drawn.

    ``share`` is the filled part of all values, batch norm statistics included.
    """

    filled: Mapping[str, tuple[int, ...]]
    drawn: tuple[str, ...]
    share: float


def begin_with(supernet: ElasticSupernet, path: Path, model: str | None) -> Covered:
    """Fill ``supernet`` in place from a file: the known ``model``'s, or Once-for-All's supernet.

    Raises:
        UsageError: the space has no such supernet, or the model is none of its networks.
        InputError: not a file of such weights; lists all differences.
    """
    if model is None:
        return _from_ofa(supernet, path)
    return _from_model(supernet, path, model)


def _from_ofa(supernet: ElasticSupernet, path: Path) -> Covered:
    space = supernet.space
    if not isinstance(space, ElasticSpace):
        raise UsageError(
            f"without --init-arch the file is Once-for-All's supernet, of ofa-mbv3; "
            f"{space.name} begins with a known model. Next: --init-arch "
            "mobilenet_v3_large, or another known network of the space"
        )
    theirs = load_space(with_params(space.name, num_classes=num_classes(path)))
    ofa = load_ofa_supernet(path, theirs)
    arch = largest(ofa.space)
    ops = dict(supernet.ops_of(supernet.path_of(largest(space))))
    filler = _Filler(supernet)
    for own, name in named(ofa.space, arch, build_layers(ofa.space.layers(arch))):
        number, _, place = own.partition(".")
        if place.endswith("num_batches_tracked"):
            continue
        op, value = ops[int(number)], ofa.tensors[name]
        whole = supernet.wholes(int(number), op)[place]
        if name.startswith("classifier") and whole.shape != value.shape:
            continue
        filler.fill(whole, value.flatten(1) if value.ndim == 4 and whole.ndim == 2 else value)
        layer = name.removesuffix("conv.weight")
        for matrix in SHAPE_OF_TRANSFORM:
            if name.endswith(".depth_conv.conv.conv.weight"):
                conv = supernet.branch(int(number), op, place.removesuffix(".weight"))
                filler.fill(getattr(conv, matrix), ofa.tensors[layer + matrix])
    return filler.covered()


def _from_model(supernet: ElasticSupernet, path: Path, model: str) -> Covered:
    archs = known_archs(supernet.space)
    if model not in archs:
        raise UsageError(
            f"{model} is no known network of {supernet.space.name}; known: "
            f"{', '.join(archs) or 'none'}"
        )
    layers, network = reference_network(model, read_tensors(path))
    state, filler = network.state_dict(), _Filler(supernet)
    ops = supernet.ops_of(supernet.path_of(archs[model]))
    problems = [
        f"operation {layer} is {theirs}, that of {supernet.space.name} {op}"
        for layer, ((_, op), theirs) in enumerate(zip(ops, layers, strict=True))
        if (op.kind, op.in_shape[0], op.attrs) != (theirs.kind, theirs.in_shape[0], theirs.attrs)
    ]
    if problems:
        raise InputError(f"weights of {model}", problems, "give a space of the model's width")
    classifier = list(state)[-2:] if layers[-1].out_channels != supernet.space.num_classes else []
    for layer, (number, op) in enumerate(ops):
        for place, whole in supernet.wholes(number, op).items():
            name = f"{layer}.{place}"
            if name in state and name not in classifier:
                filler.fill(whole, state[name])
    return filler.covered()


class _Filler:
    """Fills tensors of a supernet, and remembers how far."""

    def __init__(self, supernet: ElasticSupernet) -> None:
        self.state = {
            name: value
            for name, value in supernet.state_dict(keep_vars=True).items()
            if not name.endswith("num_batches_tracked")
        }
        self.names = {id(value): name for name, value in self.state.items()}
        self.filled: dict[str, tuple[int, ...]] = {}

    def fill(self, whole: Tensor, value: Tensor) -> None:
        """Put ``value`` into the first channels and the centre of the kernel of ``whole``."""
        with torch.no_grad():
            if value.ndim == 4:
                cut(whole, value.shape).copy_(value)
            else:
                whole[tuple(slice(size) for size in value.shape)].copy_(value)
        self.filled[self.names[id(whole)]] = tuple(value.shape)

    def covered(self) -> Covered:
        """Return what was filled."""
        values = sum(math.prod(shape) for shape in self.filled.values())
        drawn = tuple(name for name in self.state if name not in self.filled)
        return Covered(
            dict(self.filled), drawn, values / sum(value.numel() for value in self.state.values())
        )
