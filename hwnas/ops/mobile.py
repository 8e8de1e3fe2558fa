"""Kinds of operations of newer mobile networks: fused blocks, universal bottlenecks, attention.

``fused_mbconv`` is EfficientNetV2's fused block (Tan and Le, ICML 2021, Fig. 2), with
``project_act`` the pair of convolutions that MobileNetV4's small networks begin with; ``uib`` and
``mqa`` are MobileNetV4's universal inverted bottleneck and mobile attention (Qin et al., ECCV
2024, §3 and §4). Each is one unit of timing, its residual addition included.
"""

from __future__ import annotations

from hwnas.ops.kind import (
    ACT,
    ACTIVATIONS,
    SE_GATES,
    AttrRule,
    OpKind,
    Shape,
    Spec,
    spatial_out,
    strided,
)

_YES_NO = (True, False)


def _check_residual(kind: str, spec: Spec) -> None:
    if spec["residual"] and spec.out_shape != spec.in_shape:
        raise ValueError(
            f"{kind}: a residual needs equal shapes, got {spec.in_shape} -> {spec.out_shape}"
        )


def _area(shape: Shape) -> int:
    return shape[1] * shape[2]


# fused_mbconv: a full convolution in place of the expansion and the depthwise one ----------------


def _fused_macs(spec: Spec) -> int:
    per_pixel = spec.in_shape[0] * spec["kernel"] ** 2 + spec.out_channels
    return int(spec["hidden"] * per_pixel * _area(spec.out_shape))


def _fused_params(spec: Spec) -> int:
    hidden = spec["hidden"]
    expand = hidden * (spec.in_shape[0] * spec["kernel"] ** 2 + 2)
    return int(expand + spec.out_channels * (hidden + 2))


def _fused_check(spec: Spec) -> None:
    _check_residual("fused_mbconv", spec)


# uib: optional depthwise convolutions before the expansion and in the middle --------------------


def _uib_start_area(spec: Spec) -> int:
    """Pixels after the first depthwise convolution, which strides if there is no second one."""
    stride = 1 if spec["kernel"] else spec["stride"]
    _, height, width = spec.in_shape
    return strided(height, stride) * strided(width, stride)


def _uib_macs(spec: Spec) -> int:
    channels, hidden = spec.in_shape[0], spec["hidden"]
    start = channels * (spec["kernel_start"] ** 2 + hidden) * _uib_start_area(spec)
    end = hidden * (spec["kernel"] ** 2 + spec.out_channels) * _area(spec.out_shape)
    return int(start + end)


def _uib_params(spec: Spec) -> int:
    channels, hidden, out_channels = spec.in_shape[0], spec["hidden"], spec.out_channels
    start = channels * (spec["kernel_start"] ** 2 + 2) if spec["kernel_start"] else 0
    middle = hidden * (spec["kernel"] ** 2 + 2) if spec["kernel"] else 0
    scale = out_channels if spec["layer_scale"] else 0
    return int(start + hidden * (channels + 2) + middle + out_channels * (hidden + 2) + scale)


def _uib_check(spec: Spec) -> None:
    _check_residual("uib", spec)
    if spec["stride"] == 2 and not (spec["kernel_start"] or spec["kernel"]):
        raise ValueError(
            "uib: stride=2 needs a depthwise convolution that strides: kernel_start "
            "or kernel above 0"
        )
    if spec["kernel"] and not spec["kernel_start"] and not spec["layer_scale"]:
        raise ValueError(
            "uib with the second depthwise convolution alone (kernel_start=0, "
            "layer_scale=False) is spelt mbconv, so that a table has one row for it"
        )


# mqa: attention whose heads share keys and values, on fewer pixels where kv_stride is 2 ----------


def _mqa_kv_area(spec: Spec) -> int:
    _, height, width = spec.in_shape
    return strided(height, spec["kv_stride"]) * strided(width, spec["kv_stride"])


def _mqa_macs(spec: Spec) -> int:
    channels, dim, queries = spec.in_shape[0], spec["key_dim"], _area(spec.in_shape)
    keys, inner = _mqa_kv_area(spec), spec["heads"] * spec["key_dim"]
    down = 9 * channels if spec["kv_stride"] == 2 else 0
    projections = 2 * channels * inner * queries + 2 * (channels * dim + down) * keys
    return int(projections + 2 * inner * queries * keys)


def _mqa_params(spec: Spec) -> int:
    channels, dim = spec.in_shape[0], spec["key_dim"]
    down = (9 + 2) * channels if spec["kv_stride"] == 2 else 0
    projections = 2 * channels * spec["heads"] * dim + 2 * (channels * dim + down)
    scale = channels if spec["layer_scale"] else 0
    return int(2 * channels + projections + scale)


def _mqa_check(spec: Spec) -> None:
    if spec.out_channels != spec.in_shape[0]:
        raise ValueError(
            f"mqa keeps its channels, as its input is added to its output; got "
            f"{spec.in_shape[0]} -> {spec.out_channels}"
        )


def _same_shape(spec: Spec) -> Shape:
    return spec.in_shape


# squeeze_excite: a block's channel attention alone, to be timed as a part of it ------------------


def _squeeze_macs(spec: Spec) -> int:
    return int(2 * spec.in_shape[0] * spec["width"])


def _squeeze_params(spec: Spec) -> int:
    channels, width = spec.in_shape[0], spec["width"]
    return int(2 * channels * width + channels + width)


def _squeeze_check(spec: Spec) -> None:
    if spec.out_channels != spec.in_shape[0]:
        raise ValueError(
            f"squeeze_excite keeps its channels, got {spec.in_shape[0]} -> {spec.out_channels}"
        )


KINDS = (
    OpKind(
        "fused_mbconv",
        "fused inverted residual block: expanding convolution, project (EfficientNetV2)",
        module="hwnas.nn.mobile:FusedMBConv",
        parts="hwnas.ops.split:fused_mbconv_parts",
        attrs={
            "kernel": AttrRule(None, allowed=(3, 5, 7)),
            "stride": AttrRule(1, allowed=(1, 2)),
            "hidden": AttrRule(None, minimum=1),
            "act": ACT,
            "project_act": AttrRule(False, allowed=_YES_NO),  # the activation at the end, too
            "residual": AttrRule(False, allowed=_YES_NO),
        },
        out_shape=spatial_out,
        macs=_fused_macs,
        params=_fused_params,
        check=_fused_check,
    ),
    OpKind(
        "uib",
        "universal inverted bottleneck (MobileNetV4)",
        module="hwnas.nn.mobile:UIB",
        parts="hwnas.ops.split:uib_parts",
        attrs={
            "kernel_start": AttrRule(0, allowed=(0, 3, 5, 7)),  # 0: no depthwise convolution
            "kernel": AttrRule(0, allowed=(0, 3, 5, 7)),
            "stride": AttrRule(1, allowed=(1, 2)),
            "hidden": AttrRule(None, minimum=1),
            "act": ACT,
            "residual": AttrRule(False, allowed=_YES_NO),
            "layer_scale": AttrRule(False, allowed=_YES_NO),  # a factor per output channel
        },
        out_shape=spatial_out,
        macs=_uib_macs,
        params=_uib_params,
        check=_uib_check,
    ),
    OpKind(
        "mqa",
        "mobile multi-query attention with its residual (MobileNetV4)",
        module="hwnas.nn.mobile:MQA",
        attrs={
            "heads": AttrRule(None, minimum=1),
            "key_dim": AttrRule(64, minimum=1),  # of keys, values and each head's queries
            "kv_stride": AttrRule(1, allowed=(1, 2)),  # of a 3x3 depthwise conv before keys, values
            "layer_scale": AttrRule(False, allowed=_YES_NO),
        },
        out_shape=_same_shape,
        macs=_mqa_macs,
        params=_mqa_params,
        check=_mqa_check,
    ),
    OpKind(
        "squeeze_excite",
        "channel attention of a block, alone",
        module="hwnas.nn.mobile:make_squeeze_excite",
        attrs={
            "width": AttrRule(None, minimum=1),
            "gate": AttrRule("hsigmoid", allowed=SE_GATES),
            "act": AttrRule("relu", allowed=ACTIVATIONS[1:]),
        },
        out_shape=_same_shape,
        macs=_squeeze_macs,
        params=_squeeze_params,
        check=_squeeze_check,
    ),
)
"""The kinds of this file."""
