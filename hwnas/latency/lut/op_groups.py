"""Features of operations that are known without a device.

The profiler chooses networks that differ in these features, and a calibration may correct rows by
them. Everything here is a sum over operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term
from hwnas.arch import Arch
from hwnas.ops import OPS, OpSpec
from hwnas.protocols import Factor, SearchSpace


def groups_of(op: OpSpec) -> tuple[str, ...]:
    """Return the groups ``op`` is in: its kind, kernel, squeeze-and-excite, and height in octaves.

    Names are what calibrations are written with: ``kind=mbconv kernel=5 se height=28``, the height
    of the input rounded down to 7 times a power of two (or a power of two below 7).
    """
    attrs = OPS[op.kind].attrs
    groups = [f"kind={op.kind}", f"height={_octave(op.in_shape[1])}"]
    if "kernel" in attrs:
        groups.append(f"kernel={op['kernel']}")
    if "se_width" in attrs and op["se_width"]:
        groups.append("se")
    return tuple(groups)


def _octave(height: int) -> int:
    base = 7 if height >= 7 else 1
    while base * 2 <= height:
        base *= 2
    return base


def terms_of(factors: Sequence[Factor], value: Callable[[OpSpec], float]) -> list[Term]:
    """Return the sum of ``value`` over a network's operations as additive terms."""

    def of(op: OpSpec | None) -> float:
        return 0.0 if op is None else value(op)

    return [Term(factor.choices, factor.values(of)) for factor in factors]


def design_matrix(space: SearchSpace, archs: Sequence[Arch]) -> NDArray[np.float64]:
    """Return ``(num_archs, num_features)`` features that networks should differ in.

    Number of operations and parameters, and the share of the multiply-accumulates in each group;
    each feature with mean 0 and deviation 1 over ``archs`` (constant ones are left out).
    """
    layers = [space.layers(arch) for arch in archs]
    groups = sorted({group for ops in layers for op in ops for group in groups_of(op)})
    rows = []
    for ops in layers:
        macs = dict.fromkeys(groups, 0.0)
        for op in ops:
            for group in groups_of(op):
                macs[group] += op.macs
        total = max(sum(op.macs for op in ops), 1)
        rows.append([len(ops), sum(op.params for op in ops), *(m / total for m in macs.values())])
    x = np.array(rows, dtype=np.float64)
    deviation = x.std(axis=0)
    varying = deviation > 1e-12 * np.maximum(np.abs(x).max(axis=0), 1e-300)
    standardised: NDArray[np.float64] = (x[:, varying] - x[:, varying].mean(axis=0)) / deviation[
        varying
    ]
    return standardised
