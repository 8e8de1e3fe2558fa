"""Kinds of operations of networks made of cells: NAS-Bench-201 and DARTS. No torch here.

Their convolutions follow their activation ("pre-activation"): ReLU, convolution, BN. A node of a
cell is a sum (``add``) or a concatenation of tensors of one shape.
"""

from __future__ import annotations

from hwnas.ops.kind import AttrRule, OpKind, Shape, Spec, classes_out, spatial_out

POOLS = ("avg", "max")

_STRIDE = AttrRule(1, allowed=(1, 2))
_SUMMANDS = AttrRule(None, minimum=2)


def _same_out(spec: Spec) -> Shape:
    return spec.out_channels, *spec.in_shape[1:]


def _nothing(spec: Spec) -> int:
    return 0


def _keeps_channels(spec: Spec) -> None:
    if spec.out_channels != spec.in_shape[0]:
        raise ValueError(
            f"the output has the input's {spec.in_shape[0]} channels, got {spec.out_channels}"
        )


def _concat_check(spec: Spec) -> None:
    if spec.out_channels != spec.in_shape[0] * spec["summands"]:
        raise ValueError(
            f"concat of summands={spec['summands']} tensors of {spec.in_shape[0]} "
            f"channels has {spec.in_shape[0] * spec['summands']}, got "
            f"{spec.out_channels}"
        )


def _area(spec: Spec) -> int:
    _, height, width = spec.out_shape
    return height * width


# preact_conv: ReLU, convolution, BN --------------------------------------------------------------


def _preact_conv_weights(spec: Spec) -> int:
    return int(spec.in_shape[0] * spec.out_channels * spec["kernel"] ** 2)


# preact_residual: two preact_conv 3x3, the first with the stride, beside pool 2x2 and 1x1 conv ----


def _preact_residual_weights(spec: Spec) -> int:
    return spec.out_channels * (9 * spec.in_shape[0] + 9 * spec.out_channels + spec.in_shape[0])


# sep_conv: twice ReLU, depthwise, 1x1 convolution, BN; dil_conv: once, the depthwise one dilated --


def _sep_conv_weights(spec: Spec) -> int:
    channels = spec.in_shape[0]
    return int(channels * (2 * spec["kernel"] ** 2 + channels + spec.out_channels))


def _dil_conv_weights(spec: Spec) -> int:
    return int(spec.in_shape[0] * (spec["kernel"] ** 2 + spec.out_channels))


# factorized_reduce: ReLU, two 1x1 convolutions of stride 2 one pixel apart, concatenation, BN -----


def _factorized_reduce_out(spec: Spec) -> Shape:
    _, height, width = spec.in_shape
    return spec.out_channels, (height + 1) // 2, (width + 1) // 2


def _factorized_reduce_weights(spec: Spec) -> int:
    return spec.in_shape[0] * spec.out_channels


def _factorized_reduce_check(spec: Spec) -> None:
    if spec.out_channels % 2:
        raise ValueError(
            f"factorized_reduce needs an even number of output channels, got {spec.out_channels}"
        )


KINDS = (
    OpKind(
        "preact_conv",
        "ReLU, convolution, batch norm",
        module="hwnas.nn.cells:make_preact_conv",
        attrs={"kernel": AttrRule(None, allowed=(1, 3, 5, 7)), "stride": _STRIDE},
        out_shape=spatial_out,
        macs=lambda spec: _preact_conv_weights(spec) * _area(spec),
        params=lambda spec: _preact_conv_weights(spec) + 2 * spec.out_channels,
    ),
    OpKind(  # the reduction of NAS-Bench-201
        "preact_residual",
        "the reduction of NAS-Bench-201: a residual block with stride 2",
        module="hwnas.nn.cells:PreactResidual",
        attrs={"stride": AttrRule(None, allowed=(2,))},
        out_shape=spatial_out,
        macs=lambda spec: _preact_residual_weights(spec) * _area(spec),
        params=lambda spec: _preact_residual_weights(spec) + 4 * spec.out_channels,
    ),
    OpKind(
        "sep_conv",
        "twice ReLU, depthwise and 1x1 convolution, batch norm (DARTS)",
        module="hwnas.nn.cells:make_sep_conv",
        attrs={"kernel": AttrRule(None, allowed=(3, 5, 7)), "stride": _STRIDE},
        out_shape=spatial_out,
        macs=lambda spec: _sep_conv_weights(spec) * _area(spec),
        params=lambda spec: _sep_conv_weights(spec) + 2 * spec.in_shape[0] + 2 * spec.out_channels,
    ),
    OpKind(
        "dil_conv",
        "ReLU, dilated depthwise and 1x1 convolution, batch norm (DARTS)",
        module="hwnas.nn.cells:make_dil_conv",
        attrs={
            "kernel": AttrRule(None, allowed=(3, 5, 7)),
            "stride": _STRIDE,
            "dilation": AttrRule(2, minimum=2),
        },
        out_shape=spatial_out,
        macs=lambda spec: _dil_conv_weights(spec) * _area(spec),
        params=lambda spec: _dil_conv_weights(spec) + 2 * spec.out_channels,
    ),
    OpKind(
        "factorized_reduce",
        "two 1x1 convolutions of stride 2, one pixel apart, concatenated (DARTS)",
        module="hwnas.nn.cells:FactorizedReduce",
        attrs={},
        out_shape=_factorized_reduce_out,
        macs=lambda spec: _factorized_reduce_weights(spec) * _area(spec),
        params=lambda spec: _factorized_reduce_weights(spec) + 2 * spec.out_channels,
        check=_factorized_reduce_check,
    ),
    OpKind(  # 3x3, 'same'; an average does not count the border
        "pool",
        "3x3 average or max pooling",
        module="hwnas.nn.cells:make_pool",
        attrs={"pool": AttrRule(None, allowed=POOLS), "stride": _STRIDE},
        out_shape=spatial_out,
        macs=_nothing,
        params=_nothing,
        check=_keeps_channels,
    ),
    OpKind(
        "add",
        "sum of several tensors of one shape",
        module="hwnas.nn.cells:make_add",
        attrs={"summands": _SUMMANDS},
        out_shape=_same_out,
        macs=_nothing,
        params=_nothing,
        check=_keeps_channels,
        num_inputs=lambda spec: int(spec["summands"]),
    ),
    OpKind(
        "concat",
        "concatenation of several tensors of one shape along the channels",
        module="hwnas.nn.cells:make_concat",
        attrs={"summands": _SUMMANDS},
        out_shape=_same_out,
        macs=_nothing,
        params=_nothing,
        check=_concat_check,
        num_inputs=lambda spec: int(spec["summands"]),
    ),
    OpKind(  # zeros of the input's shape: a cell whose output no live edge reaches
        "zero",
        "zeros of the input's shape",
        module="hwnas.nn.cells:make_zero",
        attrs={},
        out_shape=_same_out,
        macs=_nothing,
        params=_nothing,
        check=_keeps_channels,
    ),
    OpKind(  # BN, ReLU, global average pooling, linear layer
        "preact_head",
        "batch norm, ReLU, global average pooling, linear layer",
        module="hwnas.nn.cells:PreactHead",
        attrs={},
        out_shape=classes_out,
        macs=lambda spec: spec.in_shape[0] * spec.out_channels,
        params=lambda spec: 2 * spec.in_shape[0] + (spec.in_shape[0] + 1) * spec.out_channels,
    ),
)
"""The kinds of this file."""
