"""Physical costs of an operation, which add up, and features that correct their sum.

Costs are of the parts a runtime executes one after the other (``parts.split``): the work as asked
for and as executed in whole vectors, values read and written, weights, what exceeds a cache, and
one for the call. No torch. A sum of them with factors that are not negative is a roofline without
its roof (Williams et al., CACM 2009). Features are logarithms of sizes, attributes, and how much of
the last vector and tile is padding, on which a regression of the remaining factor stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.ops import OPS, OpSpec
from hwnas.ops.kind import Shape
from hwnas.ops.split import part_class, split

Floats = NDArray[np.float64]

VECTORS = (4, 8, 16)  # channels that a kernel works on at once: 128 bits of int32 to 512 of fp32
TILES = (4, 8)  # pixels of a row
CACHES = (2**15, 2**20)  # bytes: of one core, and of a cluster or core
BYTES = 4  # of a value


def padded(size: int, block: int) -> int:
    """Return ``size`` rounded up to whole blocks."""
    return -(-size // block) * block


def costs(op: OpSpec) -> dict[str, float]:
    """Return the named costs of an operation, each >= 0 and added up over its parts."""
    total = {"calls": 1.0}
    for _, some in costs_of_parts(op):
        for name, value in some.items():
            total[name] = total.get(name, 0.0) + value
    attrs = dict(op.attrs)
    for name in ("residual", "layer_scale"):
        if attrs.get(name):
            total[name] = float(math.prod(op.out_shape))
    return total


def costs_of_parts(op: OpSpec) -> tuple[tuple[OpSpec, Mapping[str, float]], ...]:
    """Return an operation's parts in order, each with its named costs."""
    return tuple((part, _part_costs(part)) for part in split(op))


@functools.lru_cache(1 << 14)  # far fewer parts than blocks
def _part_costs(part: OpSpec) -> Mapping[str, float]:
    kind = part_class(part)
    found = {"parts": 1.0, **_KERNELS.get(kind, _any)(part)}
    values_in = math.prod(part.in_shape) * part.num_inputs
    values_out = math.prod(part.out_shape)
    found |= {"in": float(values_in), "out": float(values_out), "weights": float(part.params)}
    for size in CACHES:
        over = max(0, (values_in + values_out + part.params) * BYTES - size)
        found[f"over {size}"] = float(over)
    act = dict(part.attrs).get("act", "none")
    if act not in ("none", "relu", "relu6"):
        found[f"act {act}"] = float(values_out)
    return {f"{kind} {name}": value for name, value in found.items()}


def _any(part: OpSpec) -> dict[str, float]:
    return {"macs": float(part.macs)}


def _pointwise(part: OpSpec) -> dict[str, float]:
    (channels, _, _), (out_channels, height, width) = part.in_shape, part.out_shape
    inputs = channels // part["groups"]
    return {"macs": float(part.macs)} | {
        f"macs {block}": float(inputs * padded(out_channels, block) * padded(height * width, 8))
        for block in VECTORS[1:]
    }


def _depthwise(part: OpSpec) -> dict[str, float]:
    channels, height, width = part.out_shape
    taps = part["kernel"] ** 2
    wide = padded(channels, VECTORS[-1])
    return {
        "macs": float(part.macs),
        "macs 16": float(wide * height * width * taps),
        "rows": float(wide * height * part["kernel"]),
        f"k{part['kernel']} s{part['stride']}": float(wide * height * width),
    }


def _squeeze(part: OpSpec) -> dict[str, float]:
    return {"macs": float(part.macs), "channels": float(part.in_shape[0])}


def _head(part: OpSpec) -> dict[str, float]:
    channels, height, width = part.in_shape
    conv = part["hidden"]
    return {
        "conv": float(channels * conv * height * width),
        "pixels": float((conv or channels) * height * width),
        "linear": float(part.macs - channels * conv * height * width),
    }


_KERNELS: dict[str, Callable[[OpSpec], dict[str, float]]] = {
    "pointwise": _pointwise,
    "depthwise": _depthwise,
    "squeeze_excite": _squeeze,
    "head": _head,
}


def features(ops: Sequence[OpSpec]) -> Floats:
    """Return ``(num_ops, num_features)`` of operations of one kind, all finite."""
    return np.array([_features(op) for op in ops])


def _features(op: OpSpec) -> list[float]:
    attrs = dict(op.attrs)
    widths = [op.in_shape[0], op.out_channels]
    numbers = [op.macs, op.params, math.prod(op.in_shape), math.prod(op.out_shape)]
    levels: list[float] = []
    for name, rule in OPS[op.kind].attrs.items():
        value = attrs[name]
        if isinstance(value, str):
            levels += [float(value == allowed) for allowed in rule.allowed]
        elif isinstance(value, bool):
            levels.append(float(value))
        else:
            numbers.append(value)
        if name in ("hidden", "features", "width", "se_width"):
            widths.append(int(value))
    hidden = int(attrs.get("hidden", 0))
    numbers += [
        hidden * op.in_shape[1] * op.in_shape[2],
        hidden * _pixels(op.out_shape),
        *op.in_shape,
        *op.out_shape,
    ]
    fill = [
        math.log2(padded(width, block) / width) if width else 0.0
        for width in widths
        for block in VECTORS
    ]
    fill += [
        math.log2(padded(size, block) / size)
        for size in (op.in_shape[2], op.out_shape[2])
        for block in TILES
    ]
    return [math.log2(1.0 + number) for number in numbers] + fill + levels


def _pixels(shape: Shape) -> int:
    return shape[1] * shape[2]
