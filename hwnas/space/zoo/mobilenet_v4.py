"""MobileNetV4 (Qin et al., ECCV 2024, Appendix D) as chains of operations, as timm builds it.

Departures in spelling, not in function: what timm keeps as two plain convolutions (the first
stages of the small network) is one fused block here, as in the paper's tables; a universal
bottleneck with its second depthwise convolution alone is MobileNetV2's block; the last 1x1
convolution belongs to the head, whose 1280 features are normalised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hwnas.errors import InputError
from hwnas.ops import Attr, OpSpec, Shape, make_divisible

FEATURES = 1280  # of the head, at every width
HEAD_WIDTH = 960


@dataclass(frozen=True)
class Fused:
    """A fused block; ``hidden`` is a width, scaled as ``width`` is, or 0: ``expand`` x input."""

    kernel: int
    stride: int
    width: int
    expand: int = 0
    hidden: int = 0
    project_act: bool = False


@dataclass(frozen=True)
class Uib:
    """``repeats`` universal inverted bottlenecks, the first with ``stride``."""

    kernel_start: int
    kernel: int
    expand: int
    width: int
    stride: int = 1
    repeats: int = 1


@dataclass(frozen=True)
class Attention:
    """Mobile multi-query attention, heads of 64 numbers."""

    heads: int
    kv_stride: int


Row = Fused | Uib | Attention

CONV_SMALL: tuple[Row, ...] = (
    Fused(3, 2, 32, hidden=32, project_act=True),
    Fused(3, 2, 64, hidden=96, project_act=True),
    Uib(5, 5, 3, 96, stride=2),
    Uib(0, 3, 2, 96, repeats=4),
    Uib(3, 0, 4, 96),
    Uib(3, 3, 6, 128, stride=2),
    Uib(5, 5, 4, 128),
    Uib(0, 5, 4, 128),
    Uib(0, 5, 3, 128),
    Uib(0, 3, 4, 128, repeats=2),
)

HYBRID_MEDIUM: tuple[Row, ...] = (
    Fused(3, 2, 48, expand=4),
    Uib(3, 5, 4, 80, stride=2),
    Uib(3, 3, 2, 80),
    Uib(3, 5, 6, 160, stride=2),
    Uib(0, 0, 2, 160),
    Uib(3, 3, 4, 160),
    Uib(3, 5, 4, 160),
    Attention(4, 2),
    Uib(3, 3, 4, 160),
    Attention(4, 2),
    Uib(3, 0, 4, 160),
    Attention(4, 2),
    Uib(3, 3, 4, 160),
    Attention(4, 2),
    Uib(3, 0, 4, 160),
    Uib(5, 5, 6, 256, stride=2),
    Uib(5, 5, 4, 256),
    Uib(3, 5, 4, 256, repeats=2),
    Uib(0, 0, 2, 256),
    Uib(3, 5, 2, 256),
    Uib(0, 0, 2, 256),
    Uib(0, 0, 4, 256),
    Attention(4, 1),
    Uib(3, 0, 4, 256),
    Attention(4, 1),
    Uib(5, 5, 4, 256),
    Attention(4, 1),
    Uib(5, 0, 4, 256),
    Attention(4, 1),
    Uib(5, 0, 4, 256),
)


def mobilenetv4_conv_small(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MobileNetV4-Conv-S: 16 operations; the stem does not shrink at widths under 1.

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    return _chain(CONV_SMALL, width_mult, input_size, num_classes, layer_scale=False)


def mobilenetv4_hybrid_medium(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return MobileNetV4-Hybrid-M: 33 operations, outputs scaled after the first block.

    The paper trains it for images of 256 pixels.

    Raises:
        InputError: ``width_mult`` is not positive.
        ValueError: ``input_size`` or ``num_classes`` is below 1.
    """
    return _chain(HYBRID_MEDIUM, width_mult, input_size, num_classes, layer_scale=True)


def scaled(channels: int, width_mult: float) -> int:
    """Return a number of channels at a width, rounded.

    Raises:
        InputError: ``width_mult`` is not positive.
    """
    if not width_mult > 0:
        raise InputError(
            "human-designed network", [f"width_mult must be greater than 0, got {width_mult}"]
        )
    return make_divisible(channels * width_mult)


def _chain(
    rows: Sequence[Row], width_mult: float, input_size: int, num_classes: int, layer_scale: bool
) -> tuple[OpSpec, ...]:
    layers = [
        OpSpec.make(
            "conv",
            (3, input_size, input_size),
            scaled(32, max(1.0, width_mult)),
            kernel=3,
            stride=2,
            act="relu",
        )
    ]
    for row in rows:
        layers.extend(_ops(row, layers[-1].out_shape, width_mult, layer_scale))
    head = OpSpec.make(
        "head",
        layers[-1].out_shape,
        num_classes,
        hidden=scaled(HEAD_WIDTH, width_mult),
        features=FEATURES,
        features_norm=True,
        act="relu",
    )
    return (*layers, head)


def _ops(row: Row, shape: Shape, width_mult: float, layer_scale: bool) -> Iterator[OpSpec]:
    if isinstance(row, Attention):
        yield OpSpec.make(
            "mqa",
            shape,
            shape[0],
            heads=row.heads,
            key_dim=64,
            kv_stride=row.kv_stride,
            layer_scale=layer_scale,
        )
        return
    width = scaled(row.width, width_mult)
    if isinstance(row, Fused):
        wanted = row.hidden * width_mult if row.hidden else float(shape[0] * row.expand)
        yield OpSpec.make(
            "fused_mbconv",
            shape,
            width,
            kernel=row.kernel,
            stride=row.stride,
            hidden=make_divisible(wanted),
            act="relu",
            project_act=row.project_act,
            residual=row.stride == 1 and width == shape[0],
        )
        return
    for repeat in range(row.repeats):
        stride = row.stride if repeat == 0 else 1
        attrs: dict[str, Attr] = {
            "stride": stride,
            "hidden": make_divisible(shape[0] * row.expand),
            "act": "relu",
            "residual": stride == 1 and width == shape[0],
            "kernel": row.kernel,
        }
        if row.kernel and not row.kernel_start and not layer_scale:
            op = OpSpec.make("mbconv", shape, width, **attrs)
        else:
            op = OpSpec.make(
                "uib", shape, width, kernel_start=row.kernel_start, layer_scale=layer_scale, **attrs
            )
        yield op
        shape = op.out_shape
