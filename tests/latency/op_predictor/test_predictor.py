"""Predicted rows: exact where the device is a sum of costs, held-out errors that do not leak."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.op_predictor.costs import costs, features
from hwnas.latency.op_predictor.predictor import (
    COSTS_ALONE,
    FOLDS,
    MIN_ROWS,
    _folds,
    fit_op_model,
    groupings,
)
from hwnas.latency.op_predictor.process import fit_costs
from hwnas.ops import OPS, OpSpec
from hwnas.rng import stream
from hwnas.space.catalogue import SPACES, load_space
from hwnas.space.codes import distinct_ops


@pytest.fixture(scope="module")
def blocks():
    """The blocks of Once-for-All's space, of which two stages are fewer rows."""
    return [op for op in distinct_ops(load_space("ofa-mbv3")) if op.kind == "mbconv"]


def _device_ms(op):
    """A device that is a sum of costs: 5 us a call, 2 ns a value written, 1/20 ns a MAC."""
    found = costs(op)
    macs = sum(value for name, value in found.items() if name.endswith(" macs"))
    out = sum(value for name, value in found.items() if name.endswith(" out"))
    return 5e-3 * found["calls"] + 2e-6 * out + 5e-8 * macs


def _fit(ops, law):
    return fit_op_model(dict(zip(ops, _times(ops, law).tolist(), strict=True)))


def _predicted(model, ops):
    found = model.predict_ms(ops)
    return np.array([found[op] for op in ops])


def _times(ops, law=_device_ms):
    return np.array([law(op) for op in ops])


def test_features_and_costs_of_every_kind_are_finite():
    seen = set()
    for name in SPACES:
        ops = distinct_ops(load_space(name))
        for kind in {op.kind for op in ops}:
            some = [op for op in ops if op.kind == kind][:40]
            seen.add(kind)
            x = features(some)
            assert x.ndim == 2
            assert np.isfinite(x).all()
            assert len(np.unique(x, axis=0)) == len(some)  # no two operations look alike
            values = [value for op in some for value in costs(op).values()]
            assert np.isfinite(values).all()
            assert min(values) >= 0
    assert seen >= set(OPS) - {"squeeze_excite"}  # a part, in no space


def test_macs_of_the_parts_are_the_operations(blocks):
    for op in blocks[::37]:
        total = sum(value for name, value in costs(op).items() if name.endswith(" macs"))
        assert total == op.macs


def test_a_device_that_is_a_sum_of_costs_is_recovered(blocks):
    known, new = blocks[::2], blocks[1::2]
    model = fit_costs([costs(op) for op in known], _times(known))
    np.testing.assert_allclose(model.predict_ms([costs(op) for op in new]), _times(new), rtol=1e-6)
    assert min(model.factors.values()) >= 0
    whole = _fit(known, _device_ms)
    np.testing.assert_allclose(_predicted(whole, new), _times(new), rtol=1e-4)
    assert whole.kinds["mbconv"].cv_errors.max() < 1e-3


def test_a_device_with_a_bend_is_learnt_where_costs_alone_are_wrong(blocks):
    def law(op):
        return _device_ms(op) * (1.3 if op["hidden"] % 16 else 1.0) * (1 + 0.2 * op["kernel"] / 7)

    known, new = blocks[::2], blocks[1::2]
    model = _fit(known, law)
    alone = np.abs(model.base.predict_ms([costs(op) for op in new]) / _times(new, law) - 1)
    error = np.abs(_predicted(model, new) / _times(new, law) - 1)
    assert model.kinds["mbconv"].setting != COSTS_ALONE
    assert error.mean() < 0.02 < alone.mean()


def test_folds_keep_operations_of_the_same_channels_together(blocks):
    for groups in groupings(blocks):
        folds = _folds(groups)
        assert set(folds) == set(range(FOLDS))
        for group in set(groups):
            assert len(set(folds[groups == group])) == 1
    pairs, shapes = groupings(blocks)
    for op, pair, shape in zip(blocks, pairs, shapes, strict=True):
        first = blocks[int(np.flatnonzero(pairs == pair)[0])]
        assert (first.in_shape[0], first.out_channels) == (op.in_shape[0], op.out_channels)
        assert blocks[int(np.flatnonzero(shapes == shape)[0])].in_shape == op.in_shape


def test_the_stated_error_is_of_channels_the_model_has_not_seen(blocks):
    """Each pair of channels has a speed of its own: within a pair it is known, beyond it is not."""

    def law(op):
        pair = stream(3, "pairs", op.in_shape[0], op.out_channels).uniform(0.5, 2.0)
        return float(_device_ms(op) * pair)

    some = blocks[::3]
    model = _fit(some, law)
    fitted = np.abs(_predicted(model, some) / _times(some, law) - 1)
    assert fitted.mean() < 0.02
    kind = model.kinds["mbconv"]
    assert kind.cv_errors.mean() > 0.15  # what the model would err on a new pair
    assert kind.shape_errors.mean() < kind.cv_errors.mean() / 2


def test_the_same_rows_in_any_order_give_the_same_model(blocks):
    rows = dict(zip(blocks[:120], _times(blocks[:120]).tolist(), strict=True))
    one = fit_op_model(rows).predict_ms(blocks[200:220])
    other = fit_op_model(dict(reversed(list(rows.items())))).predict_ms(blocks[200:220])
    assert one == other


def test_a_kind_with_too_few_rows_has_no_model_and_is_counted(blocks):
    conv = OpSpec.make("conv", (3, 224, 224), 16, kernel=3, stride=2)
    model = fit_op_model({**dict.fromkeys(blocks[:MIN_ROWS], 1.0), conv: 0.5})
    assert set(model.kinds) == {"mbconv"}
    assert model.too_few == {"conv": 1}
    assert model.predict_ms([OpSpec.make("conv", (3, 96, 96), 16, kernel=3, stride=2)]) == {}


@pytest.mark.parametrize("ms", [0.0, -1.0, float("nan")])
def test_a_latency_that_is_not_positive_is_refused(blocks, ms):
    with pytest.raises(ValueError, match="above 0 ms"):
        fit_op_model({blocks[0]: ms})
