"""OpSpecs to plain torch modules: every network hwnas trains, exports or times is built here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hwnas.arch import Arch
from hwnas.nn.cells import WiredNetwork, check_wiring
from hwnas.nn.layers import ACTIVATION_MODULES, SqueezeExcite, conv_bn_act
from hwnas.ops import OPS, OpSpec
from hwnas.plugins.registry import resolved
from hwnas.protocols import SearchSpace, Wiring
from hwnas.rng import derived_seed


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
            first = conv_bn_act(in_channels, hidden, 1, 1, groups, act)
            if spec["shuffle"]:
                first.append(ChannelShuffle(groups))
            parts.append(first)
        parts.append(conv_bn_act(hidden, hidden, spec["kernel"], spec["stride"], hidden, act))
        if spec["se_width"]:
            parts.append(SqueezeExcite(hidden, spec["se_width"], spec["se_gate"], spec["se_act"]))
        parts.append(conv_bn_act(hidden, spec.out_channels, 1, 1, groups, "none"))
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
            self.conv = conv_bn_act(channels, spec["hidden"], 1, 1, 1, act)
            channels = spec["hidden"]
        self.features: nn.Module = nn.Identity()
        linear: list[nn.Module] = []
        if spec["features_norm"]:
            # a convolution of one pixel: converters fold batch norms into convolutions
            self.features = conv_bn_act(channels, spec["features"], 1, 1, 1, act)
            channels = spec["features"]
        elif spec["features"]:
            linear.append(nn.Linear(channels, spec["features"], bias=spec["features_bias"]))
            if act != "none":
                linear.append(ACTIVATION_MODULES[act]())
            channels = spec["features"]
        self.classifier = nn.Sequential(*linear, nn.Linear(channels, spec.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, C, H, W) to logits (N, classes)."""
        pooled = self.conv(x).mean((2, 3), keepdim=True)
        out: Tensor = self.classifier(self.features(pooled).flatten(1))
        return out


def make_conv(spec: OpSpec) -> nn.Module:
    """Return a convolution with its batch norm and activation."""
    return conv_bn_act(
        spec.in_shape[0],
        spec.out_channels,
        spec["kernel"],
        spec["stride"],
        spec["groups"],
        spec["act"],
    )


def make_module(spec: OpSpec) -> nn.Module:
    """Return the module of an operation: (N, C, H, W) tensors to (N, C', H', W'), or logits."""
    module: nn.Module = resolved(OPS[spec.kind].module)(spec)
    return module


def build_layers(layers: Sequence[OpSpec], *, seed: int = 0) -> nn.Sequential:
    """Return the network that executes ``layers`` in order, weights drawn from ``seed``.

    Its children are the operations one by one, named by their position.
    """
    # torch's constructors draw weights from the global generator; it must stay as it was
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(*(make_module(spec) for spec in layers))
    init_weights(network, seed)
    return network


def build_network(layers: Sequence[OpSpec], wiring: Wiring | None, *, seed: int = 0) -> nn.Module:
    """Return the network of ``layers`` wired as said (None: a chain), weights drawn from ``seed``.

    Its children are the operations one by one, named by their position, in either case. A single
    operation that takes several tensors is a network of as many inputs.

    Raises:
        ValueError: the wiring does not fit the operations.
    """
    if wiring is not None:
        check_wiring(layers, wiring)
    elif len(layers) == 1 and layers[0].num_inputs > 1:
        wiring = (tuple(-1 - place for place in range(layers[0].num_inputs)),)
    else:
        return build_layers(layers, seed=seed)
    with torch.random.fork_rng(devices=[]):
        network = WiredNetwork([make_module(spec) for spec in layers], wiring)
    init_weights(network, seed)
    return network


def build(space: SearchSpace, arch: Arch, *, seed: int = 0) -> nn.Module:
    """Return the plain network of ``arch``: (N, 3, H, W) images to (N, num_classes) logits."""
    return build_network(space.layers(arch), space.wiring(arch), seed=seed)


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
