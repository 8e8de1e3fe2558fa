"""Kinds of operations that most networks are made of: convolution, inverted residual, head."""

from __future__ import annotations

from hwnas.ops.kind import (
    ACT,
    ACTIVATIONS,
    SE_GATES,
    AttrRule,
    OpKind,
    Spec,
    classes_out,
    spatial_out,
)

# conv: convolution + BN + activation --------------------------------------------------------


def _conv_macs(spec: Spec) -> int:
    out_channels, height, width = spec.out_shape
    per_output: int = spec.in_shape[0] // spec["groups"] * spec["kernel"] ** 2
    return per_output * out_channels * height * width


def _conv_params(spec: Spec) -> int:
    per_output: int = spec.in_shape[0] // spec["groups"] * spec["kernel"] ** 2
    return spec.out_channels * (per_output + 2)


def _conv_check(spec: Spec) -> None:
    if spec.in_shape[0] % spec["groups"] or spec.out_channels % spec["groups"]:
        raise ValueError(
            f"groups={spec['groups']} must divide {spec.in_shape[0]} input and "
            f"{spec.out_channels} output channels"
        )


# mbconv: the inverted residual block of MobileNetV2 / V3, one fused unit -------------------------


def _mbconv_macs(spec: Spec) -> int:
    in_channels, height, width = spec.in_shape
    _, out_height, out_width = spec.out_shape
    hidden, area = spec["hidden"], out_height * out_width
    groups = spec["groups"]
    expand = in_channels * hidden // groups * height * width if spec["expand"] else 0
    depthwise = hidden * spec["kernel"] ** 2 * area
    squeeze = 2 * hidden * spec["se_width"]
    return int(expand + depthwise + squeeze + hidden * spec.out_channels // groups * area)


def _mbconv_params(spec: Spec) -> int:
    hidden, se_width, groups = spec["hidden"], spec["se_width"], spec["groups"]
    expand = hidden * (spec.in_shape[0] // groups + 2) if spec["expand"] else 0
    depthwise = hidden * (spec["kernel"] ** 2 + 2)
    squeeze = 2 * hidden * se_width + se_width + hidden if se_width else 0
    return int(expand + depthwise + squeeze + spec.out_channels * (hidden // groups + 2))


def _mbconv_check(spec: Spec) -> None:
    if not spec["expand"] and spec["hidden"] != spec.in_shape[0]:
        raise ValueError(
            f"mbconv without expansion needs hidden == {spec.in_shape[0]} input "
            f"channels, got {spec['hidden']}"
        )
    if spec["residual"] and spec.out_shape != spec.in_shape:
        raise ValueError(
            f"mbconv: a residual needs equal shapes, got {spec.in_shape} -> {spec.out_shape}"
        )
    widths = (spec.in_shape[0], spec["hidden"], spec.out_channels)
    if any(width % spec["groups"] for width in widths):
        raise ValueError(
            f"mbconv: groups={spec['groups']} must divide the {widths[0]} input, "
            f"{widths[1]} hidden and {widths[2]} output channels"
        )
    if spec["shuffle"] and (spec["groups"] == 1 or not spec["expand"]):
        raise ValueError(
            "mbconv: shuffle mixes the groups of the first 1x1 convolution, so it "
            f"needs groups > 1 and expand, got groups={spec['groups']} "
            f"expand={spec['expand']}"
        )


# head: everything after the last block, one unit: 1x1 conv + BN + act, pool, linear layers ------


def _head_macs(spec: Spec) -> int:
    channels, height, width = spec.in_shape
    conv, features = spec["hidden"], spec["features"]
    total = channels * conv * height * width
    last = conv or channels
    if features:
        total, last = total + last * features, features
    return int(total + last * spec.out_channels)


def _head_params(spec: Spec) -> int:
    channels, conv, features = spec.in_shape[0], spec["hidden"], spec["features"]
    total = conv * (channels + 2)
    last = conv or channels
    if features:
        per_feature = 2 if spec["features_norm"] else int(spec["features_bias"])
        total, last = total + (last + per_feature) * features, features
    return int(total + (last + 1) * spec.out_channels)


def _head_check(spec: Spec) -> None:
    if not spec["features_bias"] and not spec["features"]:
        raise ValueError("head: features_bias=False needs features, the layer that lacks the bias")
    if spec["features_norm"] and not (spec["features"] and spec["features_bias"]):
        raise ValueError(
            "head: features_norm=True needs features, the layer that is normalised, "
            "and features_bias left at True, as the norm is in the bias's place"
        )


KINDS = (
    OpKind(
        "conv",
        "convolution, batch norm, activation",
        module="hwnas.nn.build:make_conv",
        layer="hwnas.space.custom:ConvSchema",
        attrs={
            "kernel": AttrRule(None, allowed=(1, 3, 5, 7)),
            "stride": AttrRule(1, allowed=(1, 2)),
            "groups": AttrRule(1, minimum=1),
            "act": ACT,
        },
        out_shape=spatial_out,
        macs=_conv_macs,
        params=_conv_params,
        check=_conv_check,
    ),
    OpKind(
        "mbconv",
        "inverted residual block: expand, depthwise, project (MobileNetV2 and V3)",
        module="hwnas.nn.build:MBConv",
        parts="hwnas.ops.split:mbconv_parts",
        layer="hwnas.space.custom:BlockSchema",
        attrs={
            "kernel": AttrRule(None, allowed=(3, 5, 7)),
            "stride": AttrRule(1, allowed=(1, 2)),
            "hidden": AttrRule(None, minimum=1),  # channels of the depthwise convolution
            "expand": AttrRule(True, allowed=(True, False)),  # whether the first 1x1 conv exists
            "act": ACT,
            "residual": AttrRule(False, allowed=(True, False)),
            "se_width": AttrRule(0, minimum=0),  # squeeze-and-excite width, 0: none
            "se_gate": AttrRule("hsigmoid", allowed=SE_GATES),
            "groups": AttrRule(1, minimum=1, added=True),  # of the 1x1 convolutions
            # whether channels are shuffled between the first 1x1 and the depthwise convolution
            "shuffle": AttrRule(False, allowed=(True, False), added=True),
            "se_act": AttrRule("relu", allowed=ACTIVATIONS[1:], added=True),
        },
        out_shape=spatial_out,
        macs=_mbconv_macs,
        params=_mbconv_params,
        check=_mbconv_check,
    ),
    OpKind(
        "head",
        "all after the last block: 1x1 convolution, global average pooling, linear layers",
        module="hwnas.nn.build:Head",
        attrs={
            "hidden": AttrRule(0, minimum=0),  # channels of the 1x1 conv before pooling, 0: none
            "features": AttrRule(0, minimum=0),  # width of a linear layer after pooling, 0: none
            "features_bias": AttrRule(True, allowed=(True, False), added=True),
            # whether the features have a batch norm in place of the bias
            "features_norm": AttrRule(False, allowed=(True, False), added=True),
            "act": ACT,
        },
        out_shape=classes_out,
        macs=_head_macs,
        params=_head_params,
        check=_head_check,
    ),
)
"""The kinds of this file."""
