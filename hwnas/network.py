"""OpSpecs to plain torch modules: every network hwnas trains, exports or times is built here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.arch import Arch
from hwnas.interfaces import SearchSpace
from hwnas.ops import OpSpec
from hwnas.rng import derived_seed

ACTIVATION_MODULES: Mapping[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "hswish": lambda: nn.Hardswish(inplace=True),
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


def _conv_bn_act(
    in_channels: int, out_channels: int, kernel: int, stride: int, groups: int, act: str
) -> nn.Sequential:
    kind = StridedPointwise if kernel == 1 and stride > 1 else nn.Conv2d
    parts: list[nn.Module] = [
        kind(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    if act != "none":
        parts.append(ACTIVATION_MODULES[act]())
    return nn.Sequential(*parts)


class SqueezeExcite(nn.Module):
    """Channel attention of a block (Hu et al., CVPR 2018, §3), gate as in MobileNetV3."""

    def __init__(self, channels: int, width: int, gate: str) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, width, 1)
        self.act = nn.ReLU(inplace=True)
        self.expand = nn.Conv2d(width, channels, 1)
        self.gate = GATE_MODULES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``x`` (N, C, H, W)."""
        pooled = x.mean((2, 3), keepdim=True)
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(pooled))))
        return x * scale


class ChannelShuffle(nn.Module):
    """Interleaves the channels of ``groups`` groups (Zhang et al., ShuffleNet, CVPR 2018, §3.1)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same channels, those of one place in every group together."""
        batch, channels, *sizes = x.shape
        grouped = x.reshape(batch, self.groups, channels // self.groups, *sizes)
        return grouped.transpose(1, 2).reshape(batch, channels, *sizes)


class MBConv(nn.Module):
    """Inverted residual block (Sandler et al., CVPR 2018, Fig. 3): expand, depthwise, project.

    With ``groups`` both 1x1 convolutions are grouped, as in FBNet (Wu et al., CVPR 2019, Fig. 3).
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        in_channels, hidden, act = spec.in_shape[0], spec["hidden"], spec["act"]
        groups = spec["groups"]
        parts: list[nn.Module] = []
        if spec["expand"]:
            first = _conv_bn_act(in_channels, hidden, 1, 1, groups, act)
            if spec["shuffle"]:
                first.append(ChannelShuffle(groups))
            parts.append(first)
        parts.append(_conv_bn_act(hidden, hidden, spec["kernel"], spec["stride"], hidden, act))
        if spec["se_width"]:
            parts.append(SqueezeExcite(hidden, spec["se_width"], spec["se_gate"]))
        parts.append(_conv_bn_act(hidden, spec.out_channels, 1, 1, groups, "none"))
        self.body = nn.Sequential(*parts)
        self.residual: bool = spec["residual"]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        out: Tensor = self.body(x)
        return x + out if self.residual else out


class Head(nn.Module):
    """All after the last block: 1x1 convolution, pooling, linear layers."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        channels, act = spec.in_shape[0], spec["act"]
        self.conv: nn.Module = nn.Identity()
        if spec["hidden"]:
            self.conv = _conv_bn_act(channels, spec["hidden"], 1, 1, 1, act)
            channels = spec["hidden"]
        linear: list[nn.Module] = []
        if spec["features"]:
            linear.append(nn.Linear(channels, spec["features"], bias=spec["features_bias"]))
            if act != "none":
                linear.append(ACTIVATION_MODULES[act]())
            channels = spec["features"]
        self.classifier = nn.Sequential(*linear, nn.Linear(channels, spec.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to logits (N, classes)."""
        out: Tensor = self.classifier(self.conv(x).mean((2, 3), keepdim=True).flatten(1))
        return out


MODULES: Mapping[str, Callable[[OpSpec], nn.Module]] = {
    "conv": lambda spec: _conv_bn_act(
        spec.in_shape[0], spec.out_channels, spec["kernel"], spec["stride"], spec["groups"],
        spec["act"],
    ),
    "mbconv": MBConv,
    "head": Head,
}
"""The module of each operation kind; the keys are those of ``hwnas.ops.OPS``."""


def build_layers(layers: Sequence[OpSpec], *, seed: int = 0) -> nn.Sequential:
    """Return the network that executes ``layers`` in order, weights drawn from ``seed``.

    Its children are the operations one by one, named by their position.
    """
    # torch's constructors draw weights from the global generator; it must stay as it was
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(*(MODULES[spec.kind](spec) for spec in layers))
    init_weights(network, seed)
    return network


def build(space: SearchSpace, arch: Arch, *, seed: int = 0) -> nn.Sequential:
    """Return the plain network of ``arch``: (N, 3, H, W) images to (N, num_classes) logits."""
    return build_layers(space.layers(arch), seed=seed)


def init_weights(network: nn.Module, seed: int) -> None:
    """Draw all weights from ``seed``: He fan-out for convolutions, N(0, 0.01) for linear layers.

    As in torchvision's MobileNetV2, but a depthwise convolution's fan-out is counted per group.
    The draw of a layer depends on its name only.
    """
    for name, module in network.named_modules():
        generator = torch.Generator().manual_seed(derived_seed(seed, f"init:{name}"))
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] ** 2 * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
