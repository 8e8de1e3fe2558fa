"""An operation: the Ghost module (Han et al., CVPR 2020, Fig. 2b) of ratio 2.

hwnas spaces show ghost_space.yaml --plugin operation.py
"""

from typing import Literal

import torch
from torch import Tensor, nn

from hwnas import plugins
from hwnas.plugins import OpSpec, Shape, Spec


def weights(spec: Spec) -> int:
    """Return the weights of the two convolutions, each used once per pixel of the output."""
    if spec.out_channels % 2:
        raise ValueError(f"ghost needs an even number of channels, got {spec.out_channels}")
    return int((spec.in_shape[0] + spec["kernel"] ** 2) * spec.out_channels // 2)


class GhostModule(nn.Module):
    """The torch module of an operation: (N, C, H, W) to (N, out_channels, H', W')."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        half = spec.out_channels // 2
        self.first = plugins.conv_bn_act(spec.in_shape[0], half, 1, spec["stride"], 1, "relu")
        self.cheap = plugins.conv_bn_act(half, half, spec["kernel"], 1, half, "relu")

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate both halves."""
        first = self.first(x)
        return torch.cat([first, self.cheap(first)], 1)


class Ghost(plugins.LayerSchema):
    """How a space's file spells it: ``{kind: ghost, kernel: 5}``."""

    kind: Literal["ghost"] = "ghost"
    kernel: Literal[3, 5] = 3

    def op(self, in_shape: Shape, out_channels: int, stride: int) -> OpSpec:
        """Return the operation of a layer."""
        return OpSpec.make("ghost", in_shape, out_channels, kernel=self.kernel, stride=stride)


plugins.register_operation(
    "ghost",
    "GhostNet's module: half of the channels by a 1x1, half by a depthwise convolution",
    attrs={"kernel": plugins.AttrRule(3, (3, 5)), "stride": plugins.AttrRule(1, (1, 2))},
    out_shape=plugins.spatial_out,
    macs=lambda spec: weights(spec) * spec.out_shape[1] * spec.out_shape[2],
    params=lambda spec: weights(spec) + 2 * spec.out_channels,
    module=GhostModule,
    check=weights,
    layer=Ghost,
)
