"""Latency of operations without a row, predicted from the rows of a table.

Regression of the logarithm of the latency, as in nn-Meter (Zhang et al., MobiSys 2021, section 5),
which fits a random forest a kernel. Here the model is a product: a sum of physical costs with
factors that are not negative (``costs.costs``), fitted in relative least squares on all
rows, times the exponential of a Gaussian process (``process.py``) that knows where an
operation, or a part of it, is better or worse than its costs. Its setting, or the sum of costs
alone, is chosen for each kind by cross-validation. Models are fitted from the rows when a table is
loaded: no file holds them.

Departures from nn-Meter: no forests; whole blocks are timed instead of fused kernels, and what
their rows say of a part is shared by all kinds; hundreds of rows instead of thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.op_predictor.costs import costs
from hwnas.latency.op_predictor.process import (
    CostModel,
    Hyperparameters,
    Process,
    TrainingSet,
    combine,
    covariances,
    fit_costs,
    fit_process,
)
from hwnas.ops import OpSpec
from hwnas.ops.split import part_class, split
from hwnas.rng import stream
from hwnas.stats.gp import condition

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 5
MIN_ROWS = 8  # of a kind, for a model with a cross-validated error
MIN_GROUPS = FOLDS  # that are held out in turn
COSTS_ALONE = Hyperparameters(0.0, 0.0, 0.0)
SETTINGS = (
    COSTS_ALONE,
    *(
        Hyperparameters(scale, noise, parts)
        for scale in (0.7, 1.5, 3.0)
        for noise in (1e-3, 1e-2, 1e-1)
        for parts in (0.0, 0.5, 0.9)
    ),
)


@dataclass(frozen=True)
class KindModel:
    """What was chosen for a kind and what is known of its error.

    ``held_out_ms`` ``(2, num_rows)`` holds predictions by models that have seen nothing of an
    operation's group (:func:`groupings`): of its channels, and of its shapes.
    """

    setting: Hyperparameters
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


def groupings(ops: Sequence[OpSpec]) -> tuple[Ints, Ints]:
    """Return two ``(num_ops,)`` group numbers that cross-validation keeps together.

    Operations of the same channels in and out, of any kind, at any resolution, with any kernel and
    expansion, are near-identical: an error on one that has seen the others says nothing of new
    channels. The second grouping tells shapes apart, for new resolutions of channels that were
    measured. Where a kind has fewer than MIN_GROUPS pairs of channels, shapes are its groups of
    both; where it has fewer shapes, each of its operations is one.
    """
    keys: tuple[list[object], list[object]] = ([None] * len(ops), [None] * len(ops))
    kinds: dict[str, list[int]] = {}
    for place, op in enumerate(ops):
        kinds.setdefault(op.kind, []).append(place)
    for kind, places in kinds.items():
        single: list[object] = [(kind, place) for place in places]
        shapes: list[object] = [(ops[i].in_shape, ops[i].out_channels) for i in places]
        pairs: list[object] = [(ops[i].in_shape[0], ops[i].out_channels) for i in places]
        narrow = shapes if len(set(shapes)) >= MIN_GROUPS else single
        wide = pairs if len(set(pairs)) >= MIN_GROUPS else narrow
        for place, one, other in zip(places, wide, narrow, strict=True):
            keys[0][place], keys[1][place] = one, other
    return _groups(keys[0]), _groups(keys[1])


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


@dataclass(frozen=True)
class OpModel:
    """The model of a table's rows.

    ``kinds`` says what was chosen for each kind of which there are rows enough, ``too_few`` counts
    the others' rows. ``processes`` holds the process of each setting that was chosen.
    """

    base: CostModel
    kinds: Mapping[str, KindModel]
    too_few: Mapping[str, int]
    processes: Mapping[Hyperparameters, Process]
    parts: frozenset[str]

    def predict_ms(self, ops: Sequence[OpSpec]) -> dict[OpSpec, float]:
        """Return ms of the distinct operations whose kind has a model.

        Those with a part of a class that no row has are left out.
        """
        found: dict[OpSpec, float] = {}
        for kind, every in by_kind(ops).items():
            some = [op for op in every if {*map(part_class, split(op))} <= self.parts]
            if kind in self.kinds and some:
                times = self.base.predict_ms([costs(op) for op in some])
                setting = self.kinds[kind].setting
                if setting != COSTS_ALONE:
                    times = times * np.exp(self.processes[setting].predict(some))
                found |= dict(zip(some, times.tolist(), strict=True))
        return found


NO_MODEL = OpModel(CostModel({}, 0.0), {}, {}, {}, frozenset())
"""Predicts nothing."""


def by_kind(ops: Sequence[OpSpec]) -> dict[str, list[OpSpec]]:
    """Return the distinct operations of each kind, in order."""
    kinds: dict[str, list[OpSpec]] = {}
    for op in dict.fromkeys(ops):
        kinds.setdefault(op.kind, []).append(op)
    return kinds


def fit_op_model(rows_ms: Mapping[OpSpec, float]) -> OpModel:
    """Return the model of a table's rows; the same rows give the same model in any order.

    A kind's setting has the smallest product of the two groupings' root mean squared log errors.

    Raises:
        ValueError: a latency that is not positive.
    """
    if any(not ms > 0 for ms in rows_ms.values()):
        raise ValueError("latencies of operations must be above 0 ms")
    kinds = by_kind(sorted(rows_ms, key=lambda op: op.key))
    too_few = {kind: len(some) for kind, some in sorted(kinds.items()) if len(some) < MIN_ROWS}
    ops = [op for kind, some in sorted(kinds.items()) if kind not in too_few for op in some]
    if not ops:
        return replace(NO_MODEL, too_few=too_few)
    times_ms = np.array([rows_ms[op] for op in ops])
    table = [costs(op) for op in ops]
    base = fit_costs(table, times_ms)
    training = TrainingSet(base, tuple(ops))
    held_out = _held_out(training, table, times_ms)
    logs = np.log(held_out / times_ms)
    models = {}
    for kind in kinds.keys() - too_few.keys():
        rows = np.array([place for place, op in enumerate(ops) if op.kind == kind])
        losses = np.sqrt((logs[:, :, rows] ** 2).mean(axis=2)).prod(axis=0)
        best = int(np.argmin(losses))
        models[kind] = KindModel(
            SETTINGS[best],
            tuple(ops[row] for row in rows),
            times_ms[rows],
            held_out[:, best][:, rows],
        )
    rest = np.log(times_ms / base.predict_ms(table))
    chosen = {model.setting for model in models.values()} - {COSTS_ALONE}
    return OpModel(
        base,
        dict(sorted(models.items())),
        too_few,
        {setting: fit_process(training, rest, setting) for setting in chosen},
        frozenset(part_class(part) for op in ops for part in split(op)),
    )


def _held_out(
    training: TrainingSet, table: Sequence[Mapping[str, float]], times_ms: Floats
) -> Floats:
    """Return ``(2, num_settings, num_ops)`` predictions of models that have not seen the fold.

    Sums of costs are fitted without it; what the parts' shares and the features' scales are is
    taken from all rows.
    """
    folds = [_folds(groups) for groups in groupings(training.ops)]
    found = np.zeros((len(folds), len(SETTINGS), len(times_ms)))
    splits = []
    for which, of in enumerate(folds):
        for fold in range(of.max() + 1):
            new, old = np.flatnonzero(of == fold), np.flatnonzero(of != fold)
            sums = fit_costs([table[i] for i in old.tolist()], times_ms[old]).predict_ms(table)
            found[which][:, new] = sums[new]
            splits.append((which, new, old, np.log(times_ms[old] / sums[old])))
    for scale in sorted({setting.scale for setting in SETTINGS} - {0.0}):
        two = covariances(training, scale)
        for number, setting in enumerate(SETTINGS):
            if setting.scale != scale:
                continue
            matrix = combine(two, setting)
            for which, new, old, rest in splits:
                weights = condition(matrix[np.ix_(old, old)], setting.noise, rest).weights
                found[which, number, new] *= np.exp(matrix[np.ix_(new, old)] @ weights)
    return found
