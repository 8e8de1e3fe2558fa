"""OpSpec, the unit that is timed, and OPS: what each kind of operation is. No torch here.

An OpSpec holds everything that decides an operation's time on a device, and nothing else, so that
one measured table serves every space in which the same operation occurs. A multiply-accumulate
counts as one MAC; BN and activations are folded or free by convention (as in fvcore's counters of
convolution and linear layers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hwnas.io.journal import canonical_json
from hwnas.ops.cells import CELL_OPS
from hwnas.ops.kind import (
    ACT,
    ACTIVATIONS,
    SE_GATES,
    Attr,
    AttrRule,
    OpKind,
    Shape,
    Spec,
    classes_out,
    spatial_out,
)
from hwnas.ops.mobile import MOBILE_OPS

__all__ = ["ACTIVATIONS", "OPS", "SE_GATES", "Attr", "OpSpec", "Shape", "make_divisible"]


MAX_SIZE = 2**20  # of a shape or an attribute in a file


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of ``divisor``, never below 90 % of ``value``.

    The rounding of MobileNetV2's published code, shared by torchvision, timm and Once-for-All.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class OpSpec:
    """One operation: its kind, input shape (C, H, W) at batch 1, output channels and attributes.

    ``attrs`` are sorted pairs, complete (defaults filled in) and checked by :meth:`make`.
    """

    kind: str
    in_shape: Shape
    out_channels: int
    attrs: tuple[tuple[str, Attr], ...]

    @staticmethod
    def make(kind: str, in_shape: Shape, out_channels: int, **attrs: Attr) -> OpSpec:
        """Return the operation, its attributes completed by the kind's defaults.

        Raises:
            ValueError: unknown kind, unknown or missing attribute, or a value not allowed.
        """
        if kind not in OPS:
            raise ValueError(f"unknown operation kind {kind!r}; known: {', '.join(OPS)}")
        declared = OPS[kind].attrs
        unknown = sorted(set(attrs) - set(declared))
        if unknown:
            raise ValueError(f"{kind} has no attribute {unknown}; it has {sorted(declared)}")
        full = {name: attrs.get(name, attr.default) for name, attr in declared.items()}
        for name, value in full.items():
            declared[name].check(kind, name, value)
        if min(in_shape) < 1 or out_channels < 1:
            raise ValueError(f"{kind}: empty shape {in_shape} -> {out_channels} channels")
        spec = OpSpec(kind, in_shape, out_channels, tuple(sorted(full.items())))  # type: ignore[arg-type]
        OPS[kind].check(spec)
        return spec

    def __getitem__(self, name: str) -> Any:
        """Return attribute ``name``."""
        return self._attrs[name]

    @cached_property
    def _attrs(self) -> dict[str, Attr]:
        return dict(self.attrs)

    @property
    def out_shape(self) -> Shape:
        """Output shape (C, H, W); a classifier's is (classes, 1, 1)."""
        return OPS[self.kind].out_shape(self)

    @property
    def num_inputs(self) -> int:
        """How many tensors of shape ``in_shape`` the operation takes; 1 for all but summations."""
        return OPS[self.kind].num_inputs(self)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions and linear layers, batch 1."""
        return OPS[self.kind].macs(self)

    @property
    def params(self) -> int:
        """Trainable parameters: weights, biases, BN scales and shifts."""
        return OPS[self.kind].params(self)

    @cached_property
    def key(self) -> str:
        """The one-line spelling used as a key in files; equal specs have equal keys."""
        return canonical_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the object a table holds for this operation.

        Attributes that a kind was given later are there only where they differ from the default,
        so that an operation older than they are keeps its key.
        """
        rules = OPS[self.kind].attrs
        return {
            "kind": self.kind,
            "in_shape": list(self.in_shape),
            "out_channels": self.out_channels,
            "attrs": {
                name: value
                for name, value in self.attrs
                if not (rules[name].added and value == rules[name].default)
            },
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> OpSpec:
        """Read :meth:`to_json`'s object back.

        Raises:
            ValueError: the object is not an operation; says what is wrong.
        """
        expected = {"kind", "in_shape", "out_channels", "attrs"}
        if not isinstance(value, Mapping) or set(value) != expected:
            raise ValueError(f"an operation has exactly the keys {sorted(expected)}, got {value}")
        shape, attrs = value["in_shape"], value["attrs"]
        is_shape = isinstance(shape, list) and len(shape) == 3
        if not is_shape or not all(type(size) is int for size in shape):
            raise ValueError(f"in_shape must be three integers (C, H, W), got {shape}")
        if not isinstance(attrs, Mapping) or type(value["out_channels"]) is not int:
            raise ValueError(f"attrs must be an object and out_channels an integer, got {value}")
        reserved = sorted(set(attrs) & {"kind", "in_shape", "out_channels"})
        if not isinstance(value["kind"], str) or reserved:
            raise ValueError(
                f"kind must be text, and no attribute may be called {reserved}, got {value}"
            )
        sizes = [*shape, value["out_channels"], *(v for v in attrs.values() if type(v) is int)]
        if max(sizes) > MAX_SIZE:
            raise ValueError(f"no size may be above {MAX_SIZE}, got {str(max(sizes))[:30]}")
        return OpSpec.make(value["kind"], tuple(shape), value["out_channels"], **attrs)

    def __str__(self) -> str:
        shape = "x".join(str(size) for size in self.in_shape)
        declared = OPS[self.kind].attrs
        shown = [f"{k}={v}" for k, v in self.attrs if v != declared[k].default]
        return f"{self.kind} {shape}->{self.out_channels} {' '.join(shown)}".strip()


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


OPS: Mapping[str, OpKind] = {
    "conv": OpKind(
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
    "mbconv": OpKind(
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
    "head": OpKind(
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
    **CELL_OPS,
    **MOBILE_OPS,
}
