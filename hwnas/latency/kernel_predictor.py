"""Latency of operations that no table holds, predicted from the rows of one that holds others.

One model a kind of operation, on the logarithm of the latency, as in nn-Meter (Zhang et al.,
MobiSys 2021, section 5), which fits random forests. Here a model is a product: a sum of physical
costs with factors that are not negative (``kernel_costs.costs``), fitted in relative least squares,
times the exponential of a Gaussian process over ``kernel_costs.features`` that knows where a kernel
is better or worse than its costs. Its length scale and noise, or the sum of costs alone, are chosen
by cross-validation a kind. Models are fitted from the rows when a table is loaded: no file holds
them.

Departures from nn-Meter: no forests; whole blocks instead of fused kernels are the unit; hundreds
of rows instead of thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls
from scipy.spatial.distance import cdist

from hwnas.latency.kernel_costs import costs, features
from hwnas.ops import OpSpec
from hwnas.rng import stream

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 5
LEAST_ROWS = 8  # of a kind, for a model with a cross-validated error
LEAST_GROUPS = FOLDS  # that are held out in turn
SCALES = (0.7, 1.5, 3.0)  # length of the process, in roots of the number of features
NOISES = (1e-3, 1e-2, 1e-1)  # variance of a row's noise over that of the process
LINEAR = 0.1  # share of the process that is linear in the features


@dataclass(frozen=True)
class Setting:
    """What cross-validation chose for a kind; ``scale`` 0: the sum of costs alone."""

    scale: float
    noise: float

    def __str__(self) -> str:
        return "costs" if not self.scale else "costs and process"


SETTINGS = (Setting(0.0, 0.0), *(Setting(s, n) for s in SCALES for n in NOISES))


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
class Process:
    """A Gaussian process with mean 0 on standardised features."""

    mean: Floats
    spread: Floats
    points: Floats
    weights: Floats
    scale: float

    def predict(self, x: Floats) -> Floats:
        """Return ``(num_ops,)`` means."""
        return _covariance((x - self.mean) / self.spread, self.points, self.scale) @ self.weights


def _covariance(a: Floats, b: Floats, scale: float) -> Floats:
    distance = cdist(a, b) / (scale * np.sqrt(a.shape[1]))
    smooth = np.exp(-(distance**2) / 2)
    rough = (1 + np.sqrt(3) * distance) * np.exp(-np.sqrt(3) * distance)  # Matern 3/2
    linear: Floats = LINEAR * (a @ b.T) / a.shape[1]
    return np.asarray((smooth + rough) / 2 + linear)


def _solve(covariance: Floats, noise: float, y: Floats) -> Floats:
    return np.asarray(cho_solve(cho_factor(covariance + noise * np.eye(len(y))), y))


def fit_process(x: Floats, y: Floats, setting: Setting) -> Process:
    """Return the process fitted to ``y``."""
    mean, spread = x.mean(axis=0), _spread(x)
    points = (x - mean) / spread
    weights = _solve(_covariance(points, points, setting.scale), setting.noise, y)
    return Process(mean, spread, points, weights, setting.scale)


def _spread(x: Floats) -> Floats:
    spread = x.std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)


@dataclass(frozen=True)
class KindModel:
    """The model of a kind and what is known of its error.

    ``held_out_ms`` ``(2, num_rows)`` holds predictions by models that have seen nothing of an
    operation's group (:func:`groupings`): of its channels, and of its shapes.
    """

    setting: Setting
    base: CostModel
    process: Process | None
    ops: tuple[OpSpec, ...]
    times_ms: Floats
    held_out_ms: Floats

    @property
    def cv_errors(self) -> Floats:
        """``(num_rows,)``: ``|predicted - measured| / measured`` of rows of unseen channels."""
        return np.asarray(np.abs(self.held_out_ms[0] / self.times_ms - 1))

    @property
    def shape_errors(self) -> Floats:
        """``(num_rows,)``: the same of rows of unseen shapes, their channels seen elsewhere."""
        return np.asarray(np.abs(self.held_out_ms[1] / self.times_ms - 1))

    def predict_ms(self, ops: Sequence[OpSpec]) -> Floats:
        """Return ``(num_ops,)`` ms."""
        predicted = self.base.predict_ms([costs(op) for op in ops])
        if self.process is not None:
            predicted = predicted * np.exp(self.process.predict(features(ops)))
        return predicted


def groupings(ops: Sequence[OpSpec]) -> tuple[Ints, Ints]:
    """Return two ``(num_ops,)`` group numbers that cross-validation keeps together.

    Operations of the same channels in and out, at any resolution, with any kernel and expansion,
    are near-identical: an error on one that has seen the others says nothing of new channels.
    The second grouping tells shapes apart, for new resolutions of channels that were measured.
    Where there are fewer than LEAST_GROUPS pairs of channels, shapes are the groups of both; where
    there are fewer shapes, every operation is one.
    """
    pairs = _groups([(op.in_shape[0], op.out_channels) for op in ops])
    shapes = _groups([(op.in_shape, op.out_channels) for op in ops])
    single = np.arange(len(ops))
    found = [groups for groups in (pairs, shapes, single) if groups.max() + 1 >= LEAST_GROUPS]
    found = found or [single]
    return found[0], shapes if shapes.max() + 1 >= LEAST_GROUPS else found[0]


def _groups(keys: Sequence[object]) -> Ints:
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return np.array([places[key] for key in keys])


def _folds(groups: Ints) -> Ints:
    """Return ``(num_ops,)`` fold numbers, the largest groups dealt first to the smallest fold."""
    names, sizes = np.unique(groups, return_counts=True)
    order = stream(0, "folds of operations").permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load, fold_of = np.zeros(min(FOLDS, len(names))), np.zeros(names.max() + 1, dtype=np.int64)
    for name in order:
        fold = int(np.argmin(load))
        fold_of[names[name]] = fold
        load[fold] += sizes[name]
    return fold_of[groups]


def fit_kind(ops: Sequence[OpSpec], times_ms: Floats) -> KindModel:
    """Return the model of operations of one kind, its setting chosen by cross-validation.

    The setting has the smallest product of the two groupings' root mean squared log errors.
    """
    table, x = [costs(op) for op in ops], features(ops)
    points = (x - x.mean(axis=0)) / _spread(x)
    covariances = {scale: _covariance(points, points, scale) for scale in SCALES}
    held_out = np.array([_held_out(table, times_ms, covariances, _folds(groups))
                         for groups in groupings(ops)])
    losses = np.sqrt((np.log(held_out / times_ms) ** 2).mean(axis=2)).prod(axis=0)
    best = int(np.argmin(losses))
    setting, base = SETTINGS[best], fit_costs(table, times_ms)
    rest = np.log(times_ms / base.predict_ms(table))
    process = fit_process(x, rest, setting) if setting.scale else None
    return KindModel(setting, base, process, tuple(ops), times_ms, held_out[:, best])


def _held_out(table: Sequence[Mapping[str, float]], times_ms: Floats,
              covariances: Mapping[float, Floats], folds: Ints) -> Floats:
    """Return ``(num_settings, num_ops)`` predictions of models that have not seen the fold."""
    found = np.zeros((len(SETTINGS), len(times_ms)))
    for fold in range(folds.max() + 1):
        new, old = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        sums = fit_costs([table[i] for i in old.tolist()], times_ms[old]).predict_ms(table)
        rest = np.log(times_ms[old] / sums[old])
        for number, setting in enumerate(SETTINGS):
            found[number, new] = sums[new]
            if setting.scale:
                covariance = covariances[setting.scale]
                weights = _solve(covariance[np.ix_(old, old)], setting.noise, rest)
                found[number, new] *= np.exp(covariance[np.ix_(new, old)] @ weights)
    return found


@dataclass(frozen=True)
class KernelModel:
    """A model for each kind of which there are rows enough; ``too_few`` counts the others' rows."""

    kinds: Mapping[str, KindModel]
    too_few: Mapping[str, int]

    def predict_ms(self, ops: Sequence[OpSpec]) -> dict[OpSpec, float]:
        """Return ms of the distinct operations whose kind has a model."""
        found: dict[OpSpec, float] = {}
        for kind, some in by_kind(ops).items():
            if kind in self.kinds:
                times = self.kinds[kind].predict_ms(some)
                found |= dict(zip(some, times.tolist(), strict=True))
        return found


def by_kind(ops: Sequence[OpSpec]) -> dict[str, list[OpSpec]]:
    """Return the distinct operations of each kind, in order."""
    kinds: dict[str, list[OpSpec]] = {}
    for op in dict.fromkeys(ops):
        kinds.setdefault(op.kind, []).append(op)
    return kinds


def fit_kernels(rows_ms: Mapping[OpSpec, float]) -> KernelModel:
    """Return the models of a table's rows; the same rows give the same models in any order.

    Raises:
        ValueError: a latency that is not positive.
    """
    if any(not ms > 0 for ms in rows_ms.values()):
        raise ValueError("latencies of operations must be above 0 ms")
    kinds, too_few = {}, {}
    for kind, ops in sorted(by_kind(list(rows_ms)).items()):
        ordered = sorted(ops, key=lambda op: op.key)
        if len(ordered) < LEAST_ROWS:
            too_few[kind] = len(ordered)
        else:
            kinds[kind] = fit_kind(ordered, np.array([rows_ms[op] for op in ordered]))
    return KernelModel(kinds, too_few)
