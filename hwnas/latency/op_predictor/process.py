"""A Gaussian process over operations, additive over their parts.

The residual of a row is the logarithm of its latency over its sum of costs. It is modelled as

    sum over the operation's parts of (share of the part in the cost x g(part)) + h(operation)
    + noise

with a function ``g`` for each class of parts (pointwise and depthwise convolutions, squeezes,
attention, ...) and ``h`` for each kind of operation, all smooth in ``costs.features``. To first
order, a block's log-residual is the cost-weighted mean of its parts' residuals, so a row of one
block informs every other block with a similar part (an additive Gaussian process, Duvenaud et al.,
NeurIPS 2011, over parts instead of dimensions). ``h`` is the residual of the whole beyond its
parts. Predictions are linear in the observed residuals. Notation as in ``stats/gp.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from hwnas.latency.op_predictor.costs import costs, costs_of_parts, features
from hwnas.ops import OpSpec
from hwnas.ops.split import part_class
from hwnas.stats.gp import condition, matern32, squared_exponential

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LINEAR = 0.1  # variance of the linear part of a function, over that of the smooth part


@dataclass(frozen=True)
class Hyperparameters:
    """Of the process: length scale in roots of the number of features, ``noise``: variance of a
    row's noise over that of the process, ``parts``: share of the variance that parts have.

    ``scale`` 0: the sum of costs alone.
    """

    scale: float
    noise: float
    parts: float

    def __str__(self) -> str:
        return "costs" if not self.scale else "costs and process"


@dataclass(frozen=True)
class CostModel:
    """``sum of factors x costs``, in ms, and no less than ``least_ms``; no factor is negative."""

    factors: Mapping[str, float]
    least_ms: float

    def predict_ms(self, table: Sequence[Mapping[str, float]]) -> Floats:
        """Return ``(num_ops,)`` ms of operations given by their costs."""
        names = list(self.factors)
        weights = np.array([self.factors[name] for name in names])
        return np.asarray(np.maximum(_matrix(table, names) @ weights, self.least_ms))


def _matrix(table: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats:
    return np.array([[row.get(name, 0.0) for name in names] for row in table])


def fit_costs(table: Sequence[Mapping[str, float]], times_ms: Floats) -> CostModel:
    """Return the factors of least squared relative errors.

    No operation is faster than half the fastest row.
    """
    names = sorted({name for row in table for name, cost in row.items() if cost > 0})
    x = _matrix(table, names) / times_ms[:, None]
    size = np.sqrt((x**2).mean(axis=0))
    solution, _ = nnls(x / size, np.ones(len(x)))
    factors = dict(zip(names, (solution / size).tolist(), strict=True))
    return CostModel(factors, float(times_ms.min()) / 2)


@dataclass(frozen=True)
class KernelInputs:
    """The inputs of operations to one function.

    ``points`` ``(num_points, num_features)`` are distinct; ``shares`` is the sparse
    ``(num_ops, num_points)`` matrix of how much of each an operation has.
    """

    points: Floats
    shares: csr_array


@dataclass(frozen=True)
class TrainingSet:
    """The operations fitted to, with the scaling of features that they determine."""

    base: CostModel
    ops: tuple[OpSpec, ...]

    @cached_property
    def _scaling(self) -> Mapping[str, tuple[Floats, Floats]]:
        found = {}
        for name, members, _ in _members(self.base, self.ops):
            x = features(members)
            spread = x.std(axis=0)
            found[name] = x.mean(axis=0), np.where(spread > 1e-9, spread, 1.0)
        return found

    @cached_property
    def places(self) -> Mapping[str, KernelInputs]:
        """The inputs of the training operations, by function."""
        return self.of(self.ops)

    def of(self, ops: Sequence[OpSpec]) -> dict[str, KernelInputs]:
        """Return the inputs of ``ops`` to the functions that the training operations have."""
        found = {}
        for name, members, shares in _members(self.base, ops):
            if name in self._scaling:
                mean, spread = self._scaling[name]
                found[name] = KernelInputs((features(members) - mean) / spread, shares)
        return found


def is_part(function: str) -> bool:
    """Whether a function is ``g`` of a class of parts, else ``h`` of a kind of operation."""
    return function.startswith("part ")


def _members(
    base: CostModel, ops: Sequence[OpSpec]
) -> Iterator[tuple[str, list[OpSpec], csr_array]]:
    """Yield every function with the distinct operations or parts it is of, and the shares."""
    entries: dict[str, list[tuple[float, int, OpSpec]]] = {}
    totals = base.predict_ms([costs(op) for op in ops])
    for row, (op, total_ms) in enumerate(zip(ops, totals.tolist(), strict=True)):
        entries.setdefault(f"kind {op.kind}", []).append((1.0, row, op))
        for part, some in costs_of_parts(op):
            cost_ms = sum(base.factors.get(name, 0.0) * cost for name, cost in some.items())
            entries.setdefault(f"part {part_class(part)}", []).append(
                (cost_ms / total_ms, row, part)
            )
    for name, listed in entries.items():
        place: dict[OpSpec, int] = {}
        columns = [place.setdefault(member, len(place)) for _, _, member in listed]
        shares, rows, _ = zip(*listed, strict=True)
        yield name, list(place), csr_array((shares, (rows, columns)), (len(ops), len(place)))


def covariances(training: TrainingSet, scale: float) -> tuple[Floats, Floats]:
    """Return ``(num_ops, num_ops)`` of the sum over parts, and of the functions of kinds."""
    num_ops = len(training.ops)
    found = np.zeros((2, num_ops, num_ops))
    for name, place in training.places.items():
        within = place.shares @ covariance(place.points, place.points, scale)
        found[0 if is_part(name) else 1] += place.shares @ within.T
    return found[0], found[1]


def covariance(a: Floats, b: Floats, scale: float) -> Floats:
    """Return ``(num_a, num_b)`` of one function between points."""
    distance = cdist(a, b) / (scale * math.sqrt(a.shape[1]))
    linear: Floats = LINEAR * (a @ b.T) / a.shape[1]
    return np.asarray((squared_exponential(distance) + matern32(distance)) / 2 + linear)


def combine(found: tuple[Floats, Floats], setting: Hyperparameters) -> Floats:
    """Return the covariance of a setting from those of its two sums."""
    return np.asarray(setting.parts * found[0] + (1 - setting.parts) * found[1])


@dataclass(frozen=True)
class Process:
    """The process fitted to a training set; ``weights`` ``(num_ops,)`` are K^-1 y."""

    training: TrainingSet
    setting: Hyperparameters
    weights: Floats

    def predict(self, ops: Sequence[OpSpec]) -> Floats:
        """Return ``(num_ops,)`` expected logs of latency over the sum of costs."""
        total = np.zeros(len(ops))
        known, setting = self.training.places, self.setting
        for name, place in self.training.of(ops).items():
            amount = setting.parts if is_part(name) else 1 - setting.parts
            if amount:
                between = covariance(place.points, known[name].points, setting.scale)
                total += amount * (place.shares @ (between @ (known[name].shares.T @ self.weights)))
        return total


def fit_process(training: TrainingSet, logs: Floats, setting: Hyperparameters) -> Process:
    """Return the process fitted to the log-residuals of the training operations."""
    matrix = combine(covariances(training, setting.scale), setting)
    return Process(training, setting, condition(matrix, setting.noise, logs).weights)
