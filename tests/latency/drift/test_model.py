"""The drift between two sessions, on synthetic sessions of known drift."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.drift.model import MIN_NOISE, PRIOR_STD, Anchor, fit_drift
from hwnas.rng import stream


def _anchors(scale, offset_ms, noise, count, seed=0, low=5.0, high=40.0):
    then = np.geomspace(low, high, count)
    now = (scale * then + offset_ms) * (1 + noise * stream(seed, "drift").standard_normal(count))
    return [
        Anchor(str(i), float(a), float(b), max(noise, MIN_NOISE))
        for i, (a, b) in enumerate(zip(then, now, strict=True))
    ]


@pytest.mark.parametrize("scale", [0.7, 0.97, 1.0, 1.08, 2.0])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_without_noise_the_scale_is_found(scale, count):
    drift = fit_drift(_anchors(scale, 0.0, 0.0, count))
    assert drift.scale == pytest.approx(scale, rel=1e-9)
    assert drift.offset_ms == 0.0
    assert drift.spread < 1e-9
    then = np.array([3.0, 30.0])
    np.testing.assert_allclose(drift.correct(then), drift.applied * then)
    np.testing.assert_allclose(drift.before(drift.correct(then)), then)


def test_the_uncertainty_is_that_of_repeated_sessions():
    middle, ratios, errors = np.sqrt(5.0 * 40.0), [], []
    for seed in range(300):
        drift = fit_drift(_anchors(1.05, 0.0, 0.01, 3, seed))
        ratios.append((drift.scale * middle + drift.offset_ms) / middle)
        errors.append(drift.uncertainty)
    assert np.mean(ratios) == pytest.approx(1.05, abs=0.002)
    assert np.std(ratios) == pytest.approx(0.01 / np.sqrt(3), rel=0.35)
    assert np.mean(errors) == pytest.approx(0.01 / np.sqrt(3), rel=0.4)


def test_one_disturbed_anchor_of_three_does_not_pass_for_the_device():
    anchors = [
        Anchor("a", 5.0, 5.1, 0.01),
        Anchor("b", 15.0, 15.3, 0.01),
        Anchor("c", 30.0, 39.0, 0.01),
    ]
    drift = fit_drift(anchors)
    assert drift.scale == pytest.approx(1.02, abs=0.015)
    assert drift.spread > 0.2
    assert drift.uncertainty > 0.03  # they disagree, and it says so


def test_a_drift_within_its_uncertainty_is_hardly_applied_and_a_sure_one_wholly():
    small = fit_drift([*_anchors(1.01, 0.0, 0.0, 1), Anchor("x", 10.0, 9.7, 0.03)])
    assert abs(np.log(small.applied)) < abs(np.log(small.scale))
    sure = fit_drift(_anchors(1.10, 0.0, 0.0, 3))
    trust = PRIOR_STD**2 / (PRIOR_STD**2 + sure.uncertainty**2)
    assert sure.applied == pytest.approx(1.10**trust)
    assert sure.applied > 1.09


def test_an_offset_is_found_as_far_as_anchors_tell_it():
    for count in (3, 8):
        drift = fit_drift(_anchors(1.03, 0.25, 0.002, count))
        then = np.array([5.0, 15.0, 40.0])
        np.testing.assert_allclose(drift.correct(then), 1.03 * then + 0.25, rtol=0.007)
        np.testing.assert_allclose(drift.before(drift.correct(then)), then)
    assert fit_drift(_anchors(1.03, 0.25, 0.0, 1)).offset_ms == 0.0
    alike = fit_drift(_anchors(1.0, 0.5, 0.002, 5, low=10, high=11))
    assert alike.correct(np.array([10.5]))[0] == pytest.approx(11.0, rel=0.003)
    assert abs(alike.offset_ms) < 0.25  # anchors of one latency do not tell it from a scale


def test_noise_is_hardly_taken_for_an_offset():
    """It costs a fast network's prediction little beside what three anchors leave open anyway."""
    fast = np.array([5.0])
    found = [fit_drift(_anchors(1.03, 0.0, 0.01, 3, seed)) for seed in range(200)]
    errors = [float(drift.correct(fast)[0]) / (1.03 * 5.0) - 1 for drift in found]
    assert np.std(errors) < 0.01
    assert abs(np.mean(errors)) < 0.002


def test_no_anchors_are_no_drift():
    with pytest.raises(ValueError, match="at least one"):
        fit_drift([])
