"""Once-for-All's published MobileNetV3 supernet, read into plain networks of ``ofa-mbv3``.

Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment" (ICLR
2020), §3.3: a sub-network takes the first blocks of a stage (elastic depth), the first channels of
a layer (elastic width), and the centre of a kernel, transformed (elastic kernel size): the centre
5x5 of a 7x7 kernel, flattened, times the layer's ``7to5_matrix`` is the 5x5 kernel, whose centre
3x3 times ``5to3_matrix`` is the 3x3 one. The published supernet is sorted by importance, so "the
first" channels are the most important ones.

Batch norm statistics of the checkpoint are those of the largest network: before a sub-network is
scored or exported its own are needed (§3.4; ``hwnas.nn.supernet.calibrate``), or a fine-tuning,
which gathers them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.arch import Arch
from hwnas.errors import InputError, UsageError
from hwnas.nn.build import MBConv, build_layers
from hwnas.protocols import SearchSpace
from hwnas.space.elastic import ElasticSpace
from hwnas.train.checkpoint import read_tensors

SHAPE_OF_TRANSFORM = {"5to3_matrix": (9, 9), "7to5_matrix": (25, 25)}
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

Names = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class OfaSupernet:
    """The weights of a supernet of ``space``, by their names in the checkpoint, float32."""

    space: ElasticSpace
    tensors: Mapping[str, Tensor]

    def extract(self, arch: Arch) -> nn.Sequential:
        """Return the plain network of ``arch`` with its share of the weights, in eval mode.

        Its batch norm statistics are the first channels' of the checkpoint: see the file's head.
        """
        network = build_layers(self.space.layers(arch))
        state = network.state_dict()
        names = dict(named(self.space, arch, network))
        assert names.keys() == state.keys()
        network.load_state_dict(
            {own: self._part(theirs, state[own]) for own, theirs in names.items()}
        )
        return network.eval()

    def _part(self, name: str, like: Tensor) -> Tensor:
        """Return the part of tensor ``name`` that has the shape of ``like``."""
        whole = self.tensors[name]
        if name == "feature_mix_layer.conv.weight":
            whole = whole.flatten(1)
        if name.endswith(".depth_conv.conv.conv.weight"):
            whole = self._kernel(name, like.shape[-1])
        part = whole[tuple(slice(size) for size in like.shape)]
        return part.reshape(like.shape).to(like.dtype)

    def _kernel(self, name: str, size: int) -> Tensor:
        """Return the depthwise kernels ``name`` at ``size``, transformed step by step."""
        kernels = self.tensors[name]
        layer = name.removesuffix("conv.weight")
        for target in (5, 3):
            if target < size or kernels.shape[-1] <= target:
                continue
            matrix = self.tensors[f"{layer}{target + 2}to{target}_matrix"]
            centre = kernels[:, :, 1:-1, 1:-1]
            kernels = F.linear(centre.flatten(2), matrix).reshape(centre.shape)
        return kernels


def named(space: ElasticSpace, arch: Arch, network: nn.Sequential) -> Names:
    """Yield (name in the plain network, name in the checkpoint) of every tensor of ``arch``."""
    yield from _conv_norm("0", "first_conv.conv", "first_conv.bn")
    body = "blocks.0.conv"
    yield from _conv_norm("1.body.0", f"{body}.depth_conv.conv", f"{body}.depth_conv.bn")
    yield from _conv_norm("1.body.1", f"{body}.point_linear.conv", f"{body}.point_linear.bn")
    place = 2
    for stage in range(1, len(space.stages) + 1):
        for block in range(int(arch.choices[f"stage{stage}.depth"])):
            number = 1 + (stage - 1) * space.depths[-1] + block
            module = network[place]
            assert isinstance(module, MBConv)
            yield from _block(f"{place}.body", f"blocks.{number}.conv", len(module.body) == 4)
            place += 1
    yield from _conv_norm(f"{place}.conv", "final_expand_layer.conv", "final_expand_layer.bn")
    yield f"{place}.classifier.0.weight", "feature_mix_layer.conv.weight"
    yield f"{place}.classifier.2.weight", "classifier.linear.weight"
    yield f"{place}.classifier.2.bias", "classifier.linear.bias"


def _conv_norm(own: str, conv: str, norm: str) -> Names:
    yield f"{own}.0.weight", f"{conv}.weight"
    for kind in _NORM:
        yield f"{own}.1.{kind}", f"{norm}.{kind}"


def _block(own: str, theirs: str, squeezed: bool) -> Names:
    expand, depthwise, project = (
        f"{theirs}.{part}" for part in ("inverted_bottleneck", "depth_conv", "point_linear")
    )
    yield from _conv_norm(f"{own}.0", f"{expand}.conv.conv", f"{expand}.bn.bn")
    yield from _conv_norm(f"{own}.1", f"{depthwise}.conv.conv", f"{depthwise}.bn.bn")
    if squeezed:
        for part in ("reduce", "expand"):
            for kind in ("weight", "bias"):
                yield f"{own}.2.{part}.{kind}", f"{depthwise}.se.fc.{part}.{kind}"
    last = 3 if squeezed else 2
    yield from _conv_norm(f"{own}.{last}", f"{project}.conv.conv", f"{project}.bn.bn")


def largest(space: ElasticSpace) -> Arch:
    """Return the architecture with the last option of every choice."""
    return space.arch({choice.name: choice.options[-1] for choice in space.choices})


def expected_shapes(space: ElasticSpace) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors in a checkpoint of ``space``'s supernet."""
    arch = largest(space)
    with torch.device("meta"):
        network = build_layers(space.layers(arch))
    state = network.state_dict()
    shapes = {theirs: tuple(state[own].shape) for own, theirs in named(space, arch, network)}
    shapes["feature_mix_layer.conv.weight"] += (1, 1)
    for name in [name for name in shapes if name.endswith(".depth_conv.conv.conv.weight")]:
        layer = name.removesuffix("conv.weight")
        shapes.update({layer + matrix: shape for matrix, shape in SHAPE_OF_TRANSFORM.items()})
    return shapes


def num_classes(path: Path) -> int:
    """Return the classes of a supernet's checkpoint; InputError where it has no classifier."""
    bias = read_tensors(path).get("classifier.linear.bias")
    if bias is None or bias.ndim != 1 or len(bias) < 2:
        raise InputError(
            str(path),
            ["classifier.linear.bias: missing, or not one value a class"],
            "give a checkpoint of Once-for-All's MobileNetV3 supernet",
        )
    return len(bias)


def load_ofa_supernet(path: Path, space: SearchSpace) -> OfaSupernet:
    """Read a checkpoint of Once-for-All's supernet of ``space``.

    Raises:
        UsageError: ``space`` is not of the published supernets' kind.
        InputError: not a file of tensors, or not of this supernet: every missing and unexpected
            tensor, wrong shape and tensor with NaN is listed.
    """
    if not isinstance(space, ElasticSpace):
        raise UsageError(
            f"a Once-for-All supernet holds the networks of ofa-mbv3, not of "
            f"{space.name}. Next: --space ofa-mbv3"
        )
    # the files of 2019 call the blocks' convolutions mobile_inverted_conv
    tensors = {
        name.replace(".mobile_inverted_conv.", ".conv."): value
        for name, value in read_tensors(path).items()
    }
    expected = expected_shapes(space)
    problems = [f"{name}: missing" for name in expected if name not in tensors]
    problems += [f"{name}: unexpected" for name in tensors if name not in expected]
    for name, shape in expected.items():
        if name not in tensors:
            continue
        found = tuple(tensors[name].shape)
        if found != shape:
            problems.append(f"{name}: the space has {shape}, the file {found}")
        elif not tensors[name].isfinite().all():
            problems.append(f"{name}: holds values that are NaN or infinite")
    if problems:
        raise InputError(
            str(path),
            problems,
            f"give the supernet of {space.name} (its width_mult and num_classes)",
        )
    return OfaSupernet(
        space,
        {
            name: value.float() if value.is_floating_point() else value
            for name, value in tensors.items()
        },
    )
