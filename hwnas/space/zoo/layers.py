"""Human-designed mobile networks as chains of operations, to be timed and compared with.

Structure and rounding are those of torchvision's and timm's models, so that published weights fit
(``hwnas.nn.pretrained`` loads them), with two departures: dropout is left out, as it does nothing
when a network runs; and batch normalisation has hwnas' epsilon, which an operation does not carry.
MobileNetV4 is in ``mobilenet_v4.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hwnas.ops import OpSpec, Shape, make_divisible
from hwnas.space.chain import Block
from hwnas.space.zoo.mobilenet_v4 import mobilenetv4_conv_small, mobilenetv4_hybrid_medium, scaled


class KnownNetwork(Protocol):
    """Makes the operations of one human-designed network, in order of execution."""

    def __call__(
        self, *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
    ) -> tuple[OpSpec, ...]:
        """Return the network at this width, for (3, input_size, input_size) images."""


@dataclass(frozen=True)
class _Bneck:
    """One row of MobileNetV3's Tables 1 and 2; channel counts are those at width 1."""

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

_V3_LARGE_BLOCKS = (
    _Bneck(3, 16, 16, False, "relu", 1),
    _Bneck(3, 64, 24, False, "relu", 2),
    _Bneck(3, 72, 24, False, "relu", 1),
    _Bneck(5, 72, 40, True, "relu", 2),
    _Bneck(5, 120, 40, True, "relu", 1),
    _Bneck(5, 120, 40, True, "relu", 1),
    _Bneck(3, 240, 80, False, "hswish", 2),
    _Bneck(3, 200, 80, False, "hswish", 1),
    _Bneck(3, 184, 80, False, "hswish", 1),
    _Bneck(3, 184, 80, False, "hswish", 1),
    _Bneck(3, 480, 112, True, "hswish", 1),
    _Bneck(3, 672, 112, True, "hswish", 1),
    _Bneck(5, 672, 160, True, "hswish", 2),
    _Bneck(5, 960, 160, True, "hswish", 1),
    _Bneck(5, 960, 160, True, "hswish", 1),
)

_MNASNET_STAGES = (
    # kernel, expansion, channels, repeats, stride: Fig. 7 of the MnasNet paper without squeezes
    (3, 3, 24, 3, 2),
    (5, 3, 40, 3, 2),
    (5, 6, 80, 3, 2),
    (3, 6, 96, 2, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)

_EFFICIENTNET_STAGES = (
    # expansion, kernel, channels, repeats, stride: Table 1 of the EfficientNet paper
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


def _stem(width: int, input_size: int, act: str) -> OpSpec:
    return OpSpec.make("conv", (3, input_size, input_size), width, kernel=3, stride=2, act=act)


def mobilenet_v2(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MobileNetV2 (Sandler et al., CVPR 2018, Table 2): 19 operations.

    The head's convolution does not shrink below 1280 channels at widths under 1 (§6.1).

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    layers = [_stem(scaled(32, width_mult), input_size, "relu6")]
    for expand, channels, repeats, first_stride in _V2_STAGES:
        block = Block(kernel=3, expand=expand, act="relu6")
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            layers.append(block.op(layers[-1].out_shape, scaled(channels, width_mult), stride))
    head = OpSpec.make(
        "head",
        layers[-1].out_shape,
        num_classes,
        hidden=scaled(1280, max(1.0, width_mult)),
        act="relu6",
    )
    return (*layers, head)


def mobilenet_v3_small(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MobileNetV3-Small (Howard et al., ICCV 2019, Table 2): 13 operations.

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    return _mobilenet_v3(_V3_SMALL_BLOCKS, 1024, width_mult, input_size, num_classes)


def mobilenet_v3_large(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MobileNetV3-Large (Howard et al., ICCV 2019, Table 1): 17 operations.

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    return _mobilenet_v3(_V3_LARGE_BLOCKS, 1280, width_mult, input_size, num_classes)


def _mobilenet_v3(
    rows: Sequence[_Bneck], features: int, width_mult: float, input_size: int, num_classes: int
) -> tuple[OpSpec, ...]:
    """Return a MobileNetV3, whose squeeze is a quarter of the hidden width, gated by h-sigmoid.

    As in torchvision, the head's convolution has six times the last block's channels, and the
    expansion is absent where it would not change the channels.
    """
    layers = [_stem(scaled(16, width_mult), input_size, "hswish")]
    for row in rows:
        hidden = scaled(row.hidden, width_mult)
        squeeze = {"se_width": make_divisible(hidden // 4)} if row.se else {}
        layers.append(
            _mbconv(
                layers[-1].out_shape,
                scaled(row.out_channels, width_mult),
                row.kernel,
                row.stride,
                hidden,
                row.act,
                **squeeze,
            )
        )
    shape = layers[-1].out_shape
    head = OpSpec.make(
        "head",
        shape,
        num_classes,
        hidden=6 * shape[0],
        features=scaled(features, width_mult),
        act="hswish",
    )
    return (*layers, head)


def mnasnet1_0(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MnasNet-B1 (Tan et al., CVPR 2019, Fig. 7 without squeezes): 19 operations.

    The head's convolution has 1280 channels at every width.

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    layers = [_stem(scaled(32, width_mult), input_size, "relu")]
    first = layers[-1].out_shape
    layers.append(
        _mbconv(first, scaled(16, width_mult), 3, 1, first[0], "relu", residual=False)
    )  # torchvision's has none, whatever the widths
    for kernel, expand, channels, repeats, first_stride in _MNASNET_STAGES:
        for repeat in range(repeats):
            shape = layers[-1].out_shape
            layers.append(
                _mbconv(
                    shape,
                    scaled(channels, width_mult),
                    kernel,
                    first_stride if repeat == 0 else 1,
                    shape[0] * expand,
                    "relu",
                )
            )
    head = OpSpec.make("head", layers[-1].out_shape, num_classes, hidden=1280, act="relu")
    return (*layers, head)


def efficientnet_b0(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return EfficientNet-B0 (Tan and Le, ICML 2019, Table 1): 18 operations.

    The squeeze is a quarter of the block's input width; the head's convolution has four times the
    last block's channels.

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    layers = [_stem(scaled(32, width_mult), input_size, "swish")]
    for expand, kernel, channels, repeats, first_stride in _EFFICIENTNET_STAGES:
        for repeat in range(repeats):
            shape = layers[-1].out_shape
            layers.append(
                _mbconv(
                    shape,
                    scaled(channels, width_mult),
                    kernel,
                    first_stride if repeat == 0 else 1,
                    make_divisible(shape[0] * expand),
                    "swish",
                    se_width=max(1, shape[0] // 4),
                    se_gate="sigmoid",
                    se_act="swish",
                )
            )
    shape = layers[-1].out_shape
    head = OpSpec.make("head", shape, num_classes, hidden=4 * shape[0], act="swish")
    return (*layers, head)


def _mbconv(
    in_shape: Shape,
    out_channels: int,
    kernel: int,
    stride: int,
    hidden: int,
    act: str,
    **attrs: int | str | bool,
) -> OpSpec:
    """Return a block with a residual where shapes match, an expansion where widths differ."""
    full = {"residual": stride == 1 and in_shape[0] == out_channels, **attrs}
    return OpSpec.make(
        "mbconv",
        in_shape,
        out_channels,
        kernel=kernel,
        stride=stride,
        hidden=hidden,
        expand=hidden != in_shape[0],
        act=act,
        **full,
    )


KNOWN: Mapping[str, KnownNetwork] = {
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_small": mobilenet_v3_small,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mnasnet1_0": mnasnet1_0,
    "efficientnet_b0": efficientnet_b0,
    "mobilenetv4_conv_small": mobilenetv4_conv_small,
    "mobilenetv4_hybrid_medium": mobilenetv4_hybrid_medium,
}
