"""Parts that the modules of several kinds of operations are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATION_MODULES: Mapping[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "hswish": lambda: nn.Hardswish(inplace=True),
    "swish": lambda: nn.SiLU(inplace=True),
    "gelu": nn.GELU,
}
GATE_MODULES: Mapping[str, Callable[[], nn.Module]] = {
    "hsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
}


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride; while training it subsamples first, which is the same.

    oneDNN in torch 2.14 crashes in the strided one's weight gradient on CPU (channels last, odd
    batch, several threads). In evaluation, and so in exported models, it is the plain operation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', ceil(H / stride), ceil(W / stride))."""
        if not self.training:
            return super().forward(x)
        rows, columns = self.stride
        return F.conv2d(x[..., ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def conv_bn_act(
    in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, act: str
) -> nn.Sequential:
    """Return a 'same'-padded convolution, its batch norm and activation (``none``: no module)."""
    kind = StridedPointwise if kernel == 1 and stride > 1 else nn.Conv2d
    parts: list[nn.Module] = [
        kind(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    if act != "none":
        parts.append(ACTIVATION_MODULES[act]())
    return nn.Sequential(*parts)


class SqueezeExcite(nn.Module):
    """Channel attention of a block (Hu et al., CVPR 2018, §3), gate and activation as asked for."""

    def __init__(self, channels: int, width: int, gate: str, act: str = "relu") -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, width, 1)
        self.act = ACTIVATION_MODULES[act]()
        self.expand = nn.Conv2d(width, channels, 1)
        self.gate = GATE_MODULES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``x`` (N, C, H, W)."""
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(self._pooled(x)))))
        return x * scale

    def _pooled(self, x: Tensor) -> Tensor:
        """Return (N, C, 1, 1) means of the channels: one operation in training and exports.

        Evaluated eagerly, rows are averaged before columns, as Once-for-All's implementation does:
        its outputs for badly conditioned weights are then reproduced to the last digits of float32.
        """
        if self.training or torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling():
            return x.mean((2, 3), keepdim=True)
        return x.mean(3, keepdim=True).mean(2, keepdim=True)
