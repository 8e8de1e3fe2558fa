"""Human-designed mobile networks as chains of operations, to be timed and compared with.

Structure and rounding are those of torchvision's models, so that published weights fit, with two
departures: dropout is left out, as it does nothing when a network runs; and batch normalisation
has hwnas' epsilon, which an operation does not carry (torchvision's MobileNetV3 uses 1e-3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from hwnas.errors import InputError
from hwnas.ops import OpSpec, make_divisible
from hwnas.space.chain import Block


class KnownNetwork(Protocol):
    """Makes the operations of one human-designed network, in order of execution."""

    def __call__(
        self, *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
    ) -> tuple[OpSpec, ...]:
        """Return the network at this width, for (3, input_size, input_size) images."""


@dataclass(frozen=True)
class _Bneck:
    """One row of MobileNetV3's Table 2; channel counts are those at width 1."""

    kernel: int
    hidden: int
    out_channels: int
    se: bool
    act: str
    stride: int


_V2_STAGES = (
    # expansion t, channels c, repeats n, stride s: Table 2 of the MobileNetV2 paper
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

_V3_SMALL_BLOCKS = (
    _Bneck(3, 16, 16, True, "relu", 2),
    _Bneck(3, 72, 24, False, "relu", 2),
    _Bneck(3, 88, 24, False, "relu", 1),
    _Bneck(5, 96, 40, True, "hswish", 2),
    _Bneck(5, 240, 40, True, "hswish", 1),
    _Bneck(5, 240, 40, True, "hswish", 1),
    _Bneck(5, 120, 48, True, "hswish", 1),
    _Bneck(5, 144, 48, True, "hswish", 1),
    _Bneck(5, 288, 96, True, "hswish", 2),
    _Bneck(5, 576, 96, True, "hswish", 1),
    _Bneck(5, 576, 96, True, "hswish", 1),
)


def _scaled(channels: int, width_mult: float) -> int:
    if not width_mult > 0:
        raise InputError("human-designed network",
                         [f"width_mult must be greater than 0, got {width_mult}"])
    return make_divisible(channels * width_mult)


def mobilenet_v2(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MobileNetV2 (Sandler et al., CVPR 2018, Table 2): 19 operations.

    The head's convolution does not shrink below 1280 channels at widths under 1 (§6.1).

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    layers = [OpSpec.make("conv", (3, input_size, input_size), _scaled(32, width_mult), kernel=3,
                          stride=2, act="relu6")]
    for expand, channels, repeats, first_stride in _V2_STAGES:
        block = Block(kernel=3, expand=expand, act="relu6")
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            layers.append(block.op(layers[-1].out_shape, _scaled(channels, width_mult), stride))
    head = OpSpec.make("head", layers[-1].out_shape, num_classes,
                       hidden=_scaled(1280, max(1.0, width_mult)), act="relu6")
    return (*layers, head)


def mobilenet_v3_small(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MobileNetV3-Small (Howard et al., ICCV 2019, Table 2): 13 operations.

    Squeeze-and-excite is a quarter of the hidden width, gated by h-sigmoid (§5.3). As in
    torchvision, the head's convolution has six times the last block's channels, and the expansion
    is absent where it would not change the channels.

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    layers = [OpSpec.make("conv", (3, input_size, input_size), _scaled(16, width_mult), kernel=3,
                          stride=2, act="hswish")]
    for row in _V3_SMALL_BLOCKS:
        in_shape = layers[-1].out_shape
        hidden = _scaled(row.hidden, width_mult)
        out_channels = _scaled(row.out_channels, width_mult)
        layers.append(
            OpSpec.make(
                "mbconv",
                in_shape,
                out_channels,
                kernel=row.kernel,
                stride=row.stride,
                hidden=hidden,
                expand=hidden != in_shape[0],
                act=row.act,
                residual=row.stride == 1 and out_channels == in_shape[0],
                se_width=make_divisible(hidden // 4) if row.se else 0,
                se_gate="hsigmoid",
            )
        )
    shape = layers[-1].out_shape
    head = OpSpec.make("head", shape, num_classes, hidden=6 * shape[0],
                       features=_scaled(1024, width_mult), act="hswish")
    return (*layers, head)


KNOWN: Mapping[str, KnownNetwork] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
}
