"""Predictions against the sum over layers(), the one shape walk."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import MissingRowError
from hwnas.latency.lut.calibration import predicted_ms
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.schemas import Calibration
from hwnas.rng import stream
from hwnas.space.catalogue import SPACES, load_space


def _calibration(scale, per_op_ms, constant_ms):
    return Calibration(
        scale=scale,
        per_op_ms=per_op_ms,
        constant_ms=constant_ms,
        num_networks=8,
        mean_abs_rel_error=0.0,
        max_abs_rel_error=0.0,
    )


def _archs(space, count, seed=0):
    rng = stream(seed, "predictor test")
    sizes = [len(choice.options) for choice in space.choices]
    codes = rng.integers(sizes, size=(count, len(sizes))).astype(np.int16)
    return space.decode(space.repair(codes))


def _sums(space, table, archs):
    return np.array([sum(table.entries[op].latency_ms for op in space.layers(a)) for a in archs])


def _uncalibrated(space, table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return LutPredictor(space, table)


@pytest.fixture(params=SPACES)
def space(request):
    return load_space(request.param)


def test_without_a_calibration_it_is_the_plain_sum_and_says_so(space, random_table):
    table = random_table(space)
    with pytest.warns(UserWarning, match=r"not calibrated .*lut-uncalibrated.*--calibrate 16"):
        predictor = LutPredictor(space, table)
    archs = _archs(space, 200)
    assert predictor.source == "lut-uncalibrated"
    assert predictor.restricted == ()
    np.testing.assert_allclose(
        predictor.predict_ms(space.encode(archs)), _sums(space, table, archs), rtol=1e-12
    )


def test_a_calibration_scales_the_sum_and_counts_the_operations(space, random_table):
    table = random_table(space, calibration={space.name: _calibration(0.9, -0.004, 0.3)})
    predictor = LutPredictor(space, table)
    archs = _archs(space, 200)
    counts = np.array([len(space.layers(arch)) for arch in archs])
    expected = 0.9 * _sums(space, table, archs) - 0.004 * counts + 0.3
    assert predictor.source == "lut"
    np.testing.assert_allclose(predictor.predict_ms(space.encode(archs)), expected, rtol=1e-12)
    assert predictor.predict_arch_ms(archs[0]) == pytest.approx(expected[0], rel=1e-12)


def test_parameters_and_groups_correct_each_row(space, random_table):
    fit = Calibration(
        scale=0.9,
        per_op_ms=-0.004,
        constant_ms=0.3,
        per_mparam_ms=0.2,
        corrections={"kernel=5": 0.05, "se": -0.02, "kind=head": 0.1},
        num_networks=8,
        mean_abs_rel_error=0.0,
        max_abs_rel_error=0.0,
    )
    table = random_table(space, calibration={space.name: fit})
    archs = _archs(space, 50)
    expected = []
    for arch in archs:
        total_ms = 0.3
        for op in space.layers(arch):
            attrs = dict(op.attrs)
            factor = (
                0.9
                + 0.05 * (attrs.get("kernel") == 5)
                + 0.1 * (op.kind == "head")
                - 0.02 * (attrs.get("se_width", 0) > 0)
            )
            total_ms += factor * table.row_ms(op) - 0.004 + 0.2 * op.params / 1e6
        expected.append(total_ms)
    found = LutPredictor(space, table).predict_ms(space.encode(archs))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(predicted_ms(space, table, fit, archs), expected, rtol=1e-12)


def test_a_calibration_of_another_space_is_not_used(tiny, random_table):
    table = random_table(tiny, calibration={"tiny:num_classes=7": _calibration(5.0, 0.0, 0.0)})
    with pytest.warns(UserWarning, match="not calibrated for tiny"):
        assert LutPredictor(tiny, table).source == "lut-uncalibrated"


def test_options_without_a_row_are_nan_and_listed_and_nothing_else_changes(tiny, random_table):
    table = random_table(tiny)
    gone = {
        ("layer1", "mb6_k3"): tiny.factors()[1].ops[tiny.choices[0].options.index("mb6_k3")],
        ("layer4", "mb3_k5"): tiny.factors()[4].ops[tiny.choices[3].options.index("mb3_k5")],
    }
    rows = {op: row for op, row in table.entries.items() if op not in gone.values()}
    predictor = _uncalibrated(tiny, replace(table, entries=rows))
    assert {(r.choice, r.option): r.op for r in predictor.restricted} == gone
    assert "layer1=mb6_k3 (no row for mbconv 8x32x32->16" in str(predictor.restricted[0])
    archs = _archs(tiny, 400)
    predicted = predictor.predict_ms(tiny.encode(archs))
    uses = np.array([bool(set(gone.values()) & set(tiny.layers(arch))) for arch in archs])
    assert 0 < uses.sum() < len(archs)
    np.testing.assert_array_equal(np.isnan(predicted), uses)
    kept = [arch for arch, used in zip(archs, uses, strict=True) if not used]
    np.testing.assert_allclose(predicted[~uses], _sums(tiny, table, kept), rtol=1e-12)
    lost = archs[int(np.flatnonzero(uses)[0])]
    with pytest.raises(MissingRowError, match="has no row for"):
        predictor.predict_arch_ms(lost)


def test_a_missing_part_that_every_network_has_is_an_error(space, random_table):
    table = random_table(space)
    # the stem, the head: there whatever the options are
    always = [factor for factor in space.factors() if (factor.ops != np.array(None)).all()]
    for part in (always[0], always[-1]):
        gone = set(part.ops.ravel())
        rows = {op: row for op, row in table.entries.items() if op not in gone}
        with pytest.raises(MissingRowError) as caught:
            _uncalibrated(space, replace(table, entries=rows))
        assert str(part.ops.ravel()[0]) in str(caught.value)
        assert f"--space {space.name}" in str(caught.value)


def test_a_choice_with_no_option_left_is_an_error(tiny, random_table):
    table = random_table(tiny)
    rows = {op: row for op, row in table.entries.items() if op not in set(tiny.factors()[1].ops)}
    with pytest.raises(MissingRowError, match="has no row for 4 operation"):
        _uncalibrated(tiny, replace(table, entries=rows))


def test_100_000_encoded_networks_are_predicted_as_one_by_one(random_table):
    space = load_space("proxyless")
    table = random_table(space, calibration={"proxyless": _calibration(1.1, 0.002, -0.1)})
    predictor = LutPredictor(space, table)
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(1, "many").integers(sizes, size=(100_000, len(sizes))).astype(np.int16)
    before = codes.copy()
    predicted = predictor.predict_ms(codes)
    assert predicted.shape == (100_000,)
    np.testing.assert_array_equal(codes, before)
    # one column of milliseconds per choice and option, from networks that differ in one choice
    base = np.zeros((1, len(sizes)), dtype=np.int16)
    base_ms = predictor.predict_arch_ms(space.decode(base)[0])
    expected = np.full(100_000, base_ms)
    for choice, size in enumerate(sizes):
        single = np.repeat(base, size, axis=0)
        single[:, choice] = np.arange(size)
        single_ms = np.array(
            [
                1.1 * ms + 0.002 * len(space.layers(arch)) - 0.1
                for arch, ms in zip(
                    space.decode(single), _sums(space, table, space.decode(single)), strict=True
                )
            ]
        )
        expected += (single_ms - base_ms)[codes[:, choice]]
    np.testing.assert_allclose(predicted, expected, rtol=1e-9)
    assert len(np.unique(predicted)) > 99_000
