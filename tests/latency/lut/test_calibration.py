"""The form of a calibration, chosen on data whose structure is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.latency.lut.calibration import (
    FORMS,
    MAX_CORRECTION,
    choose,
    describe,
    features,
    fit,
    fit_calibration,
    left_out_errors,
    predicted_ms,
    relative_fit,
)
from hwnas.latency.lut.op_groups import groups_of
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.networks import calibration_networks, macs_terms
from hwnas.ops import OpSpec
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

BY_NAME = {form.name: form for form in FORMS}
SPACE = load_space("proxyless")


@pytest.fixture(scope="module")
def archs():
    return calibration_networks(SPACE, macs_terms(SPACE), 16, seed=5)


@pytest.fixture(scope="module")
def table(random_table):
    return random_table(SPACE)


def _random(count, seed=0):
    sizes = [len(choice.options) for choice in SPACE.choices]
    codes = stream(seed, "composition test").integers(sizes, size=(count, len(sizes)))
    return SPACE.decode(codes.astype(np.int16))


def _noise(count, sigma, seed=0):
    return 1 + sigma * stream(seed, "composition noise").standard_normal(count)


def _measured(table, archs, known, groups=None):
    """Milliseconds of networks: the first coefficients of BASE (the others 0), group factors."""
    x = features(SPACE, table, archs)
    corrections = np.array([(groups or {}).get(name, 0.0) for name in x.names])
    return x.base[:, : len(known)] @ np.array(known) + x.groups @ corrections


STRUCTURES = {
    "sum": (1.0, 0.0, 0.0, 0.0),
    "scale": (0.85, 0.0, 0.0, 0.0),
    "affine": (0.9, 2.5, 0.0, 0.0),
    "affine+ops": (0.95, 0.3, -0.25, 0.0),
    "affine+params": (0.95, 0.3, 0.0, 1.0),
    "weight_traffic": (0.95, 0.0, 0.0, 0.0, 1.5, -0.4),
    "affine+ops+params": (0.95, 0.3, -0.25, 1.0),
    "weight_traffic+ops": (0.95, 0.0, 0.2, 0.0, 1.5, -0.4),
}


@pytest.mark.parametrize("form", STRUCTURES)
def test_without_noise_the_form_that_made_the_data_is_found_with_its_numbers(table, archs, form):
    known = STRUCTURES[form]
    fitted = fit_calibration(SPACE, table, archs, _measured(table, archs, known))
    assert fitted.form == form
    found = (
        fitted.scale,
        fitted.constant_ms,
        fitted.per_op_ms,
        fitted.per_mparam_ms,
        fitted.per_cold_mparam_ms,
        fitted.per_mvalue_ms,
    )
    np.testing.assert_allclose(found, (*known, 0.0, 0.0)[:6], rtol=1e-6, atol=1e-9)
    assert fitted.max_abs_rel_error < 1e-9
    assert fitted.corrections == {}


@pytest.mark.parametrize("form", STRUCTURES)
def test_with_noise_of_one_percent_nothing_needed_is_left_out(table, archs, form):
    others = _random(300, seed=9)
    truth = _measured(table, others, STRUCTURES[form])
    errors = []
    for seed in range(5):
        measured = _measured(table, archs, STRUCTURES[form]) * _noise(16, 0.01, seed)
        fitted = fit_calibration(SPACE, table, archs, measured)
        errors.append(np.abs(predicted_ms(SPACE, table, fitted, others) / truth - 1).mean())
    assert np.mean(errors) < 0.01
    assert max(errors) < 0.02


def test_a_bias_of_one_kind_of_operation_is_corrected_and_shrunk(table, archs):
    biased = {"kernel=7": 0.08, "kernel=3": -0.05}
    measured = _measured(table, archs, (0.9, 0.3, 0.0, 0.0), biased) * _noise(16, 0.002)
    fitted = fit_calibration(SPACE, table, archs, measured)
    assert "groups" in fitted.form
    others = _random(300, seed=9)
    truth = _measured(table, others, (0.9, 0.3, 0.0, 0.0), biased)
    plain = fit(BY_NAME["affine"], features(SPACE, table, archs), measured)[0]
    affine = np.abs(features(SPACE, table, others).base @ plain / truth - 1)
    errors = np.abs(predicted_ms(SPACE, table, fitted, others) / truth - 1)
    assert errors.mean() < 0.5 * affine.mean()
    difference = fitted.corrections["kernel=7"] - fitted.corrections["kernel=3"]
    assert 0.05 < difference < 0.15
    assert max(map(abs, fitted.corrections.values())) <= MAX_CORRECTION + 1e-9


def test_operations_that_need_no_correction_leave_those_that_do_to_their_groups(table, archs):
    # as where 7x7 convolutions have no fast code: their rows hold, the others' are 5 % too low
    biased = {"kernel=3": 0.05, "kernel=5": 0.05}
    measured = _measured(table, archs, (1.0, 0.0, 0.0, 0.0), biased) * _noise(16, 0.003)
    fitted = fit_calibration(SPACE, table, archs, measured)
    assert fitted.form in ("scale+groups 2 %", "scale+groups 5 %")
    assert (fitted.constant_ms, fitted.per_op_ms, fitted.per_mparam_ms) == (0.0, 0.0, 0.0)
    left_out = {name: error.rms_rel_error for name, error in fitted.left_out.items()}
    assert left_out[fitted.form] < 0.7 * left_out["scale"]
    others = _random(300, seed=9)
    truth = _measured(table, others, (1.0, 0.0, 0.0, 0.0), biased)
    assert np.abs(predicted_ms(SPACE, table, fitted, others) / truth - 1).mean() < 0.005


def test_noise_alone_does_not_buy_corrections(table, archs):
    complex_forms = 0
    for seed in range(10):
        measured = _measured(table, archs, (0.9, 0.0, 0.0, 0.0)) * _noise(16, 0.02, seed)
        form = fit_calibration(SPACE, table, archs, measured).form
        complex_forms += list(BY_NAME).index(form) > list(BY_NAME).index("affine")
    assert complex_forms <= 2


def test_the_prediction_stays_a_sum_over_factors_whatever_the_form(table, archs):
    measured = _measured(table, archs, (0.9, 0.3, -0.1, 0.5), {"kernel=7": 0.08}) * _noise(16, 0.01)
    x = features(SPACE, table, archs)
    coefficients, corrections = fit(BY_NAME["groups 5 %"], x, measured)
    fitted = fit_calibration(SPACE, table, archs, measured).model_copy(
        update={
            "scale": coefficients[0],
            "constant_ms": coefficients[1],
            "per_op_ms": coefficients[2],
            "per_mparam_ms": coefficients[3],
            "corrections": dict(zip(x.names, corrections, strict=True)),
        }
    )
    others = _random(100)
    predictor = LutPredictor(SPACE, replace(table, calibration={SPACE.name: fitted}))
    np.testing.assert_allclose(
        predictor.predict_ms(SPACE.encode(others)),
        predicted_ms(SPACE, table, fitted, others),
        rtol=1e-12,
    )


def test_leaving_one_out_is_a_fit_on_the_others(table, archs):
    measured = _measured(table, archs, (0.9, 0.3, 0.0, 0.0)) * _noise(16, 0.02)
    x = features(SPACE, table, archs)
    errors = left_out_errors(BY_NAME["affine"], x, measured)
    kept = [i for i in range(16) if i != 3]
    slope, constant = relative_fit(x.base[kept][:, :2], measured[kept])
    assert errors[3] == pytest.approx((slope * x.base[3, 0] + constant) / measured[3] - 1)


def test_the_simplest_form_whose_error_is_near_the_best():
    best = np.full(16, 0.010)
    assert choose([np.full(16, 0.0114), best]) == 0
    assert choose([np.full(16, 0.0116), np.full(16, 0.0114), best]) == 1
    assert choose([best, np.full(16, 0.02)]) == 0
    # one network that a simple form misses by far counts
    missed = best.copy()
    missed[0] = 0.04
    assert choose([missed, best]) == 1


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 4)])
def test_few_networks_fit_few_terms_whatever_they_say(table, archs, count, columns):
    some = archs[:: 16 // count][:count]
    fitted = fit_calibration(SPACE, table, some, _measured(table, some, (0.9, 0.3, -0.2, 0.8)))
    used = [
        fitted.scale,
        fitted.constant_ms,
        fitted.per_op_ms,
        fitted.per_mparam_ms,
        fitted.per_cold_mparam_ms,
        fitted.per_mvalue_ms,
    ]
    assert sum(value != 0 for value in used) <= columns
    assert fitted.corrections == {}
    assert fitted.num_networks == count
    if count < 3:
        assert (fitted.form, fitted.left_out) == ("scale", {})


def test_the_fits_own_errors_are_those_of_its_networks(table, archs):
    measured = _measured(table, archs, (0.9, 0.1, 0.0, 0.0)) * _noise(16, 0.05)
    fitted = fit_calibration(SPACE, table, archs, measured)
    errors = np.abs(predicted_ms(SPACE, table, fitted, archs) / measured - 1)
    assert fitted.mean_abs_rel_error == pytest.approx(errors.mean())
    assert fitted.max_abs_rel_error == pytest.approx(errors.max())


def test_it_says_what_was_chosen_and_by_how_much(table, archs):
    measured = _measured(table, archs, (0.9, 2.5, 0.0, 0.0)) * _noise(16, 0.01)
    fitted = fit_calibration(SPACE, table, archs, measured)
    assert set(fitted.left_out) == set(BY_NAME)
    others = [e.rms_rel_error for name, e in fitted.left_out.items() if name != fitted.form]
    assert fitted.margin == pytest.approx(min(others) - fitted.left_out[fitted.form].rms_rel_error)
    text = describe(fitted)
    assert f"form {fitted.form}, the simplest within 15% of the best" in text
    assert "next best" in text


def test_relative_fit_weighs_fast_and_slow_networks_alike():
    # one coefficient: minimising sum((c x / y - 1)^2) gives c = sum(x/y) / sum((x/y)^2)
    x, y = np.array([1.0, 100.0, 3.0]), np.array([1.1, 90.0, 3.0])
    ratio = x / y
    assert relative_fit(x[:, None], y) == pytest.approx([ratio.sum() / (ratio**2).sum()])


def test_groups_are_what_an_operation_has():
    block = OpSpec.make(
        "mbconv", (24, 56, 56), 40, kernel=5, stride=2, hidden=72, act="relu", se_width=24
    )
    assert groups_of(block) == ("kind=mbconv", "height=56", "kernel=5", "se")
    odd = OpSpec.make("mbconv", (24, 80, 80), 40, kernel=3, stride=1, hidden=72, act="relu")
    assert groups_of(odd) == ("kind=mbconv", "height=56", "kernel=3")
    head = OpSpec.make("head", (320, 4, 4), 10, hidden=1280)
    assert groups_of(head) == ("kind=head", "height=4")
