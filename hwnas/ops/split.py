"""Blocks as parts a runtime executes one by one.

A space like ``mobile`` has thousands of distinct blocks, but they are made of far fewer distinct
parts: convolutions, squeeze layers, attention, heads. What a few hundred measured blocks tell of
their parts (``process.py``) is known of all the others.

What a block has beyond its parts: the residual addition and the layer scale, which runtimes fold
into the convolution before them.
"""

from __future__ import annotations

import functools

from hwnas.ops import OPS, OpSpec, Shape
from hwnas.plugins.registry import resolved


def _conv(
    shape: Shape, out_channels: int, kernel: int, stride: int, act: str, groups: int = 1
) -> OpSpec:
    return OpSpec.make(
        "conv", shape, out_channels, kernel=kernel, stride=stride, act=act, groups=groups
    )


@functools.lru_cache(1 << 16)  # spaces of many blocks ask for them again and again
def split(op: OpSpec) -> tuple[OpSpec, ...]:
    """Return the parts of an operation, in order of execution; itself where it is one.

    Multiply-accumulates add up to the operation's. Blocks with grouped 1x1 convolutions and a
    shuffle are not split.
    """
    parts = OPS[op.kind].parts
    if parts is None:
        return (op,)
    divided: tuple[OpSpec, ...] = resolved(parts)(op)
    return divided


def mbconv_parts(op: OpSpec) -> tuple[OpSpec, ...]:
    """Return the convolutions of an inverted residual block, and its squeeze-and-excite."""
    if op["shuffle"]:
        return (op,)
    hidden, act, shape, parts = op["hidden"], op["act"], op.in_shape, []
    if op["expand"]:
        parts.append(_conv(shape, hidden, 1, 1, act, op["groups"]))
        shape = parts[-1].out_shape
    parts.append(_conv(shape, hidden, op["kernel"], op["stride"], act, hidden))
    shape = parts[-1].out_shape
    if op["se_width"]:
        parts.append(
            OpSpec.make(
                "squeeze_excite",
                shape,
                hidden,
                width=op["se_width"],
                gate=op["se_gate"],
                act=op["se_act"],
            )
        )
    return (*parts, _conv(shape, op.out_channels, 1, 1, "none", op["groups"]))


def fused_mbconv_parts(op: OpSpec) -> tuple[OpSpec, ...]:
    """Return the two convolutions of a fused inverted residual block."""
    first = _conv(op.in_shape, op["hidden"], op["kernel"], op["stride"], op["act"])
    last = op["act"] if op["project_act"] else "none"
    return first, _conv(first.out_shape, op.out_channels, 1, 1, last)


def uib_parts(op: OpSpec) -> tuple[OpSpec, ...]:
    """Return the convolutions of a universal inverted bottleneck."""
    hidden, act, shape, parts = op["hidden"], op["act"], op.in_shape, []
    if op["kernel_start"]:
        stride = 1 if op["kernel"] else op["stride"]
        parts.append(_conv(shape, shape[0], op["kernel_start"], stride, "none", shape[0]))
        shape = parts[-1].out_shape
    parts.append(_conv(shape, hidden, 1, 1, act))
    shape = parts[-1].out_shape
    if op["kernel"]:
        parts.append(_conv(shape, hidden, op["kernel"], op["stride"], act, hidden))
        shape = parts[-1].out_shape
    return (*parts, _conv(shape, op.out_channels, 1, 1, "none"))


def part_class(part: OpSpec) -> str:
    """Return the class of parts one model is fitted for."""
    if part.kind != "conv":
        return part.kind
    if part["groups"] == part.in_shape[0] > 1:
        return "depthwise"
    return "pointwise" if part["kernel"] == 1 else "convolution"
