"""Modules of the operations of cells, and networks that are not chains.

Operations as in the published code of NAS-Bench-201 (Dong and Yang, ICLR 2020, §2.1) and DARTS
(Liu et al., ICLR 2019, §3.1.1), with two departures that change nothing at even image sizes: where
a size is odd, the shifted half of a factorized reduction sees a row and a column of zeros, and the
shortcut of a residual reduction averages over what there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.ops import OpSpec
from hwnas.protocols import Wiring


def _relu_conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Sequential:
    # the input may be read by others, so the ReLU is not in place
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _separable(
    in_channels: int, out_channels: int, kernel: int, stride: int, dilation: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(
            in_channels,
            in_channels,
            kernel,
            stride,
            dilation * (kernel // 2),
            dilation,
            groups=in_channels,
            bias=False,
        ),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


class PreactResidual(nn.Module):
    """Two ReLU-conv-BN 3x3, the first with stride 2, beside 2x2 average pooling and a 1x1 conv."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        in_channels, height, width = spec.in_shape
        out_channels = spec.out_channels
        self.body = nn.Sequential(
            _relu_conv_bn(in_channels, out_channels, 3, spec["stride"]),
            _relu_conv_bn(out_channels, out_channels, 3, 1),
        )
        has_border = bool(height % 2 or width % 2)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=has_border, count_include_pad=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ceil(H / 2), ceil(W / 2))."""
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class FactorizedReduce(nn.Module):
    """Halve the image by two 1x1 convolutions of stride 2 that look one pixel apart."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        in_channels, height, width = spec.in_shape
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, spec.out_channels // 2, 1, 2, bias=False)
        self.shifted = nn.Conv2d(in_channels, spec.out_channels // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(spec.out_channels)
        self.border = (0, width % 2, 0, height % 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ceil(H / 2), ceil(W / 2))."""
        x = self.relu(x)
        whole = F.pad(x, self.border) if any(self.border) else x
        parts = [self.conv(x), self.shifted(whole[:, :, 1:, 1:])]
        out: Tensor = self.norm(torch.cat(parts, dim=1))
        return out


class Add(nn.Module):
    """The sum of tensors of one shape."""

    def forward(self, *parts: Tensor) -> Tensor:
        """Add tensors (N, C, H, W), from the first to the last."""
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


class Concat(nn.Module):
    """Tensors of one shape behind each other in the channels, which are axis ``dim``."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *parts: Tensor) -> Tensor:
        """Map n tensors (N, C, H, W) to (N, n * C, H, W)."""
        return torch.cat(parts, dim=self.dim)


class Zero(nn.Module):
    """Zeros of the input's shape, written so that no converter evaluates it beforehand.

    Else all before it would vanish from an exported network, but not from the network itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Clip (N, C, H, W) to [0, 0]."""
        return torch.clamp(x, 0.0, 0.0)


class PreactHead(nn.Module):
    """BN, ReLU, global average pooling, linear layer."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(spec.in_shape[0])
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(spec.in_shape[1:])
        self.classifier = nn.Linear(spec.in_shape[0], spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to logits (N, classes)."""
        out: Tensor = self.classifier(self.pool(self.relu(self.norm(x))).flatten(1))
        return out


def make_pool(spec: OpSpec) -> nn.Module:
    """Return a 3x3 pool of the same size; an average does not count the border."""
    if spec["pool"] == "avg":
        return nn.AvgPool2d(3, spec["stride"], 1, count_include_pad=False)
    return nn.MaxPool2d(3, spec["stride"], 1)


def make_preact_conv(spec: OpSpec) -> nn.Module:
    """Return ReLU, convolution, batch norm."""
    return _relu_conv_bn(spec.in_shape[0], spec.out_channels, spec["kernel"], spec["stride"])


def make_sep_conv(spec: OpSpec) -> nn.Module:
    """Return two separable convolutions, the first with the stride."""
    channels, kernel = spec.in_shape[0], spec["kernel"]
    return nn.Sequential(
        _separable(channels, channels, kernel, spec["stride"]),
        _separable(channels, spec.out_channels, kernel, 1),
    )


def make_dil_conv(spec: OpSpec) -> nn.Module:
    """Return one dilated separable convolution."""
    return _separable(
        spec.in_shape[0], spec.out_channels, spec["kernel"], spec["stride"], spec["dilation"]
    )


def make_add(spec: OpSpec) -> nn.Module:
    """Return the sum of the inputs."""
    return Add()


def make_concat(spec: OpSpec) -> nn.Module:
    """Return the concatenation of the inputs along the channels."""
    return Concat()


def make_zero(spec: OpSpec) -> nn.Module:
    """Return zeros of the input's shape."""
    return Zero()


class WiredNetwork(nn.Module):
    """Operations that take the outputs of any before them; children are named by position.

    The image is -1 in ``wiring``; a network of several inputs has them at -1, -2, and so on.
    """

    def __init__(self, operations: Sequence[nn.Module], wiring: Wiring) -> None:
        super().__init__()
        for number, operation in enumerate(operations):
            self.add_module(str(number), operation)
        self.wiring = wiring
        last_use = {source: number for number, sources in enumerate(wiring) for source in sources}
        # what no later operation takes is let go
        self.spent = tuple(
            tuple(source for source in set(sources) if last_use[source] == number)
            for number, sources in enumerate(wiring)
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to the last operation's output."""
        held = {-1 - place: value for place, value in enumerate(inputs)}
        out = inputs[0]
        for number, operation in enumerate(self.children()):
            out = operation(*(held[source] for source in self.wiring[number]))
            for source in self.spent[number]:
                del held[source]
            held[number] = out
        return out


def check_wiring(layers: Sequence[OpSpec], wiring: Wiring) -> None:
    """Do nothing if ``layers`` can be executed as ``wiring`` says, each one's output being used.

    Raises:
        ValueError: names the first operation with a wrong number, position or shape of inputs, or
            whose output nobody takes.
    """
    if len(layers) != len(wiring):
        raise ValueError(f"a wiring has an entry per operation: {len(layers)}, got {len(wiring)}")
    for number, (op, sources) in enumerate(zip(layers, wiring, strict=True)):
        if len(sources) != op.num_inputs:
            raise ValueError(
                f"operation {number}, {op}, takes {op.num_inputs} inputs, got {len(sources)}"
            )
        for source in sources:
            if not -1 <= source < number:
                raise ValueError(
                    f"operation {number}, {op}, can take outputs from -1 (the image) "
                    f"to {number - 1}, got {source}"
                )
            shape = layers[0].in_shape if source < 0 else layers[source].out_shape
            if shape != op.in_shape:
                raise ValueError(
                    f"operation {number}, {op}, takes {op.in_shape}, but {source} gives {shape}"
                )
    used = {source for sources in wiring for source in sources}
    unused = sorted(set(range(len(layers) - 1)) - used)
    if unused:
        raise ValueError(f"nobody takes the output of operation {unused[0]}, {layers[unused[0]]}")
