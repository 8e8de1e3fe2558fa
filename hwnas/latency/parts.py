"""Blocks as parts a runtime executes one by one, and a latency model fitted from some of them.

A space like ``mobile`` has thousands of distinct blocks, but they are made of far fewer distinct
parts: convolutions, squeeze layers, attention, heads. Even those need not all be measured. A
Gaussian process a class of parts, on logarithms of sizes and work and of the latency (kernel
regression of latency by operator class as in nn-Meter, Zhang et al., MobiSys 2021, §5, with another
regressor), is fitted from parts that are chosen to lie as far from each other as they can.

What a block costs beyond its parts is left to calibration on whole networks: the residual addition
and the layer scale, which runtimes fold into the convolution before them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.ops import ACTIVATIONS, OpSpec, Shape

Floats = NDArray[np.float64]

FOLDS = 5
LEAST_PARTS = 2 * FOLDS  # of a class, to fit and cross-validate it; with fewer all are measured
CHANNEL_BLOCK = 16  # kernels work on blocks of channels, at most as wide as this on CPUs
ACT_COLUMNS = tuple(act for act in ACTIVATIONS if act not in ("none", "relu6"))  # relu6 as relu


def _conv(shape: Shape, out_channels: int, kernel: int, stride: int, act: str,
          groups: int = 1) -> OpSpec:
    return OpSpec.make("conv", shape, out_channels, kernel=kernel, stride=stride, act=act,
                       groups=groups)


def split(op: OpSpec) -> tuple[OpSpec, ...]:
    """Return the parts of an operation, in order of execution; itself where it is one.

    Multiply-accumulates add up to the operation's. Blocks with grouped 1x1 convolutions and a
    shuffle are not split.
    """
    if op.kind == "mbconv" and not op["shuffle"]:
        return _split_mbconv(op)
    if op.kind == "fused_mbconv":
        first = _conv(op.in_shape, op["hidden"], op["kernel"], op["stride"], op["act"])
        last = op["act"] if op["project_act"] else "none"
        return first, _conv(first.out_shape, op.out_channels, 1, 1, last)
    if op.kind == "uib":
        return _split_uib(op)
    return (op,)


def _split_mbconv(op: OpSpec) -> tuple[OpSpec, ...]:
    hidden, act, shape, parts = op["hidden"], op["act"], op.in_shape, []
    if op["expand"]:
        parts.append(_conv(shape, hidden, 1, 1, act, op["groups"]))
        shape = parts[-1].out_shape
    parts.append(_conv(shape, hidden, op["kernel"], op["stride"], act, hidden))
    shape = parts[-1].out_shape
    if op["se_width"]:
        parts.append(OpSpec.make("squeeze_excite", shape, hidden, width=op["se_width"],
                                 gate=op["se_gate"], act=op["se_act"]))
    return (*parts, _conv(shape, op.out_channels, 1, 1, "none", op["groups"]))


def _split_uib(op: OpSpec) -> tuple[OpSpec, ...]:
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


def features(parts: Sequence[OpSpec]) -> Floats:
    """Return ``(num_parts, num_features)``: logarithms of sizes and work, activations as 0, 1.

    With them how much of a kernel's last block of channels is filled.
    """
    return np.array([_features(part) for part in parts])


def _features(part: OpSpec) -> list[float]:
    attrs = dict(part.attrs)
    out_channels, height, width = part.out_shape
    sizes = [part.in_shape[0], out_channels, part.in_shape[1] * part.in_shape[2],
             height * width, part.macs, part.params]
    named = [attrs.get(name, 1) for name in ("kernel", "stride", "width", "hidden", "features",
                                             "kv_stride")]
    logs = [float(np.log1p(float(value))) for value in (*sizes, *named)]
    filled = [math.log(-(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK / channels)
              for channels in (part.in_shape[0], out_channels)]
    return logs + filled + [float(attrs.get("act") == act) for act in ACT_COLUMNS]


def by_class(parts: Sequence[OpSpec]) -> dict[str, list[OpSpec]]:
    """Return the distinct parts of each class, in order."""
    classes: dict[str, list[OpSpec]] = {}
    for part in dict.fromkeys(parts):
        classes.setdefault(part_class(part), []).append(part)
    return classes


def choose(parts: Sequence[OpSpec], most: int) -> list[OpSpec]:
    """Return at most ``most`` parts to measure, so that what is left is near a measured one.

    Small classes are taken whole; the others share the rest in proportion to the root of their
    number. Within a class each part taken is the one farthest from those before (Gonzalez, 1985).

    Raises:
        ValueError: ``most`` is too small for LEAST_PARTS of each class.
    """
    classes = by_class(parts)
    wanted = {name: min(len(found), LEAST_PARTS) for name, found in classes.items()}
    if sum(wanted.values()) > most:
        raise ValueError(f"{most} parts are too few for the classes "
                         f"{', '.join(classes)}: at least {sum(wanted.values())} are needed")
    while (left := most - sum(wanted.values())) > 0:
        growing = [name for name, found in classes.items() if wanted[name] < len(found)]
        if not growing:
            break
        weights = {name: len(classes[name]) ** 0.5 for name in growing}
        for name in growing:
            share = max(1, int(left * weights[name] / sum(weights.values())))
            wanted[name] += min(share, len(classes[name]) - wanted[name],
                                most - sum(wanted.values()))
    return [part for name, found in classes.items() for part in _spread(found, wanted[name])]


def _spread(parts: Sequence[OpSpec], count: int) -> list[OpSpec]:
    x = features(parts)
    x = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    taken = [int(np.argmin((x**2).sum(axis=1)))]
    distance = ((x - x[taken[0]]) ** 2).sum(axis=1)
    while len(taken) < count:
        taken.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((x - x[taken[-1]]) ** 2).sum(axis=1))
    return [parts[index] for index in taken]


@dataclass(frozen=True)
class PartModel:
    """Latencies of parts: measured ones as they are, others by the model of their class.

    ``cv_errors`` holds for each fitted class the mean of ``|predicted - measured| / measured``
    over measured parts, each predicted by a model that has not seen it.
    """

    measured_ms: Mapping[OpSpec, float]
    models: Mapping[str, Any]
    cv_errors: Mapping[str, float]

    def predict_ms(self, ops: Sequence[OpSpec]) -> Floats:
        """Return ``(num_ops,)`` milliseconds, sums over the operations' parts.

        Raises:
            ValueError: a part was not measured and its class has no model; names it.
        """
        every = [split(op) for op in ops]
        known = dict(self.measured_ms)
        missing = [part for parts in every for part in parts if part not in known]
        for name, parts in by_class(missing).items():
            if name not in self.models:
                raise ValueError(f"{parts[0]} was not measured, and there are too few measured "
                                 f"parts of class {name} for a model")
            known |= dict(zip(parts, np.exp(self.models[name].predict(features(parts))).tolist(),
                              strict=True))
        return np.array([sum(known[part] for part in parts) for parts in every])


def fit_parts(measured_ms: Mapping[OpSpec, float]) -> PartModel:
    """Return the model of measured parts; classes of fewer than LEAST_PARTS get none.

    Raises:
        ValueError: a latency that is not positive.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import KFold, cross_val_predict

    if min(measured_ms.values()) <= 0:
        raise ValueError("latencies of parts must be above 0 ms")
    models, cv_errors = {}, {}
    for name, parts in by_class(list(measured_ms)).items():
        if len(parts) < LEAST_PARTS:
            continue
        x, times = features(parts), np.array([measured_ms[part] for part in parts])
        with warnings.catch_warnings():  # a length scale at its bound: a feature without effect
            warnings.simplefilter("ignore", ConvergenceWarning)
            folds = KFold(FOLDS, shuffle=True, random_state=0)
            held_out = np.exp(cross_val_predict(_regressor(x), x, np.log(times), cv=folds))
            models[name] = _regressor(x).fit(x, np.log(times))
        cv_errors[name] = float(np.mean(np.abs(held_out - times) / times))
    return PartModel(dict(measured_ms), models, cv_errors)


def _regressor(x: Floats) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, DotProduct, WhiteKernel
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scales = np.full(x.shape[1], 3.0)
    kernel = (DotProduct(1.0) + 1.0 * RBF(scales, (0.3, 100.0)) + WhiteKernel(1e-3, (1e-5, 0.1)))
    return make_pipeline(
        StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=0))
