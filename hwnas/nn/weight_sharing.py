"""Convolutions of one place of a supernet as parts of one larger weight.

A 3x3 kernel is the centre of the 5x5 one, a narrow layer the first channels of the wide one: so
Once-for-All shares its elastic layers (Cai et al., ICLR 2020, §3.3, here without its kernel
transform), and AutoFormer calls it weight entanglement (Chen et al., ICCV 2021, §3.2). Every step
on one candidate then trains part of the others, which need fewer steps to mean something.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.nn.layers import StridedPointwise
from hwnas.ops import OpSpec

Sizes = tuple[int, ...]


class Whole(nn.Conv2d):
    """A weight (and bias) as large as the largest of its parts in each dimension; never run.

    It is a convolution so that what decays convolutions' weights decays this one.
    """

    def __init__(self, parts: Sequence[nn.Conv2d]) -> None:
        sizes = [max(axis) for axis in zip(*(part.weight.shape for part in parts), strict=True)]
        super().__init__(
            sizes[1],
            sizes[0],
            (sizes[2], sizes[3]),
            bias=any(part.bias is not None for part in parts),
        )
        self.std = math.sqrt(2.0 / max(fan_out(part) for part in parts))  # He's, of the largest

    def draw(self, generator: torch.Generator) -> None:
        """Draw the weight from N(0, std); the bias is 0."""
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape, generator=generator) * self.std)
            if self.bias is not None:
                self.bias.zero_()


class NestedConv2d(nn.Module):
    """The convolution ``part`` on a part of the weight of ``whole``, which it does not own.

    The weight is scaled so that its initial standard deviation is that of He's rule for ``part``.
    """

    def __init__(self, part: nn.Conv2d, whole: Whole) -> None:
        super().__init__()
        self.whole = (whole,)  # in a tuple, so that torch does not register it here as well
        self.sizes: Sizes = tuple(part.weight.shape)
        self.stride: Sizes = tuple(part.stride)
        self.padding: Sizes = tuple(int(size) for size in part.padding)
        self.groups = part.groups
        self.has_bias = part.bias is not None
        self.subsamples = isinstance(part, StridedPointwise)
        self.scale = math.sqrt(2.0 / fan_out(part)) / whole.std

    @property
    def weight(self) -> Tensor:
        """The weight (out, in per group, height, width), differentiable by the whole's."""
        return cut(self.whole[0].weight, self.sizes) * self.scale

    @property
    def bias(self) -> Tensor | None:
        """The bias (out,), or None."""
        whole = self.whole[0].bias
        return whole[: self.sizes[0]] if self.has_bias and whole is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) as the convolution would."""
        if self.subsamples and self.training:  # see StridedPointwise
            rows, columns = self.stride
            return F.conv2d(x[..., ::rows, ::columns], self.weight, self.bias, groups=self.groups)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


def cut(whole: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the first channels and the centre of the kernel, of these sizes."""
    outputs, inputs, height, width = sizes
    top, left = (whole.shape[2] - height) // 2, (whole.shape[3] - width) // 2
    return whole[:outputs, :inputs, top : top + height, left : left + width]


def fan_out(conv: nn.Conv2d) -> int:
    """Return the fan-out of He's rule, counted per group."""
    return conv.weight.shape[2] * conv.weight.shape[3] * conv.weight.shape[0] // conv.groups


def alike(
    ops: Sequence[OpSpec | None], candidates: Sequence[nn.Module]
) -> Mapping[str, list[tuple[nn.Module, str]]]:
    """Return the places of convolutions that do the same in the candidates of a slot, by name.

    A place is (candidate, name of the convolution in it). Convolutions are alike that have the same
    name in candidates of one kind and are all depthwise, or are cut into as many groups.
    """
    found: dict[str, list[tuple[nn.Module, str]]] = {}
    for op, candidate in zip(ops, candidates, strict=True):
        for name, module in candidate.named_modules():
            if op is not None and isinstance(module, nn.Conv2d):
                depthwise = module.groups == module.in_channels > 1
                kind = "depthwise" if depthwise else f"groups{module.groups}"
                found.setdefault(f"{op.kind}.{name}.{kind}", []).append((candidate, name))
    return found


def replace_module(parent: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` in the place of the one called ``name`` under ``parent``."""
    owner, _, last = name.rpartition(".")
    setattr(parent.get_submodule(owner), last, module)
