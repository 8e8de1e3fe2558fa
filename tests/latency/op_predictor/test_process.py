"""The process: shares are of the costs, and what blocks tell of their parts is shared by kinds."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.op_predictor.costs import costs
from hwnas.latency.op_predictor.process import (
    CostModel,
    Hyperparameters,
    TrainingSet,
    combine,
    covariances,
    fit_costs,
    fit_process,
    is_part,
)
from hwnas.ops import OpSpec
from hwnas.ops.split import part_class, split
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops

SETTING = Hyperparameters(1.5, 1e-3, 0.9)


@pytest.fixture(scope="module")
def ops() -> list[OpSpec]:
    """Blocks of two kinds of ``mobile``."""
    every = [op for op in distinct_ops(load_space("mobile")) if op.kind in ("mbconv", "uib")]
    rows = stream(0, "kernel process").choice(len(every), 500, replace=False)
    return [every[row] for row in sorted(rows)]


def _part_ms(part: OpSpec) -> float:
    """A device whose kernels have speeds that no sum of costs knows: by size, and by taps."""
    quirk = 1 + 0.3 * np.sin(1.5 * np.log2(part.in_shape[0]))
    if part_class(part) == "depthwise":
        quirk *= 1 + part["kernel"] / 5
    return float(quirk * (part.macs / 1e8 + np.prod(part.out_shape) / 1e7 + 1e-3))


def _times(ops: list[OpSpec]) -> np.ndarray:
    return np.array([sum(map(_part_ms, split(op))) for op in ops])


def _fitted(ops: list[OpSpec]) -> tuple[CostModel, TrainingSet, np.ndarray]:
    table = [costs(op) for op in ops]
    base = fit_costs(table, _times(ops))
    return base, TrainingSet(base, tuple(ops)), np.log(_times(ops) / base.predict_ms(table))


def test_shares_are_what_the_parts_cost_of_the_whole(ops):
    _, frame, _ = _fitted(ops)
    of_parts = sum(
        place.shares.sum(axis=1) for name, place in frame.places.items() if is_part(name)
    )
    assert of_parts.max() <= 1 + 1e-9  # the call, the residual and the layer scale are the rest
    assert np.median(of_parts) > 0.8
    of_kinds = sum(
        place.shares.sum(axis=1) for name, place in frame.places.items() if not is_part(name)
    )
    np.testing.assert_array_equal(of_kinds, 1.0)


def test_covariances_are_positive_and_predictions_interpolate(ops):
    _, frame, logs = _fitted(ops[:120])
    matrix = combine(covariances(frame, SETTING.scale), SETTING)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9
    process = fit_process(frame, logs, SETTING)
    assert np.sqrt(np.mean((process.predict(ops[:120]) - logs) ** 2)) < 0.02


def test_rows_of_one_kind_tell_of_the_parts_of_another(ops):
    """Few blocks of one kind, many of another that is made of the same parts."""
    few = [op for op in ops if op.kind == "uib"]
    known, new = [*(op for op in ops if op.kind == "mbconv"), *few[:12]], few[12:]
    base, frame, logs = _fitted(known)

    def error(parts: float) -> float:
        process = fit_process(frame, logs, Hyperparameters(1.5, 1e-3, parts))
        predicted = base.predict_ms([costs(op) for op in new]) * np.exp(process.predict(new))
        return float(np.abs(predicted / _times(new) - 1).mean())

    assert error(0.9) < 0.8 * error(0.0)
