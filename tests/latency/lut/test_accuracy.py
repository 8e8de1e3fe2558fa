"""Errors against hand figures, Kendall's tau against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwnas.latency.lut.accuracy import errors, line_errors, validation_report
from hwnas.rng import stream


def _tau_b(x, y):
    """Kendall's tau-b by comparing all pairs."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in pairs]
    untied_x, untied_y = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / np.sqrt(untied_x * untied_y)


def _archs(space, count):
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(0, "accuracy test").integers(sizes, size=(count, len(sizes)))
    return space.decode(codes.astype(np.int16))


def test_errors_by_hand():
    found = errors(np.array([1.1, 1.92, 4.0, 10.4]), np.array([1.0, 2.0, 4.0, 10.0]))
    assert found == pytest.approx(
        {
            "mean_abs_rel_error": (0.1 + 0.04 + 0.0 + 0.04) / 4,
            "max_abs_rel_error": 0.1,
            "within_5_percent": 0.75,
            "within_10_percent": 0.75,  # 1.1 / 1.0 is beyond 10 % by rounding
            "bias": (0.1 - 0.04 + 0.0 + 0.04) / 4,
            "kendall_tau": 1.0,
        }
    )
    assert errors(np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0]))["kendall_tau"] == -1.0


@pytest.mark.parametrize("seed", range(5))
def test_kendalls_tau_counts_ties(seed):
    rng = stream(seed, "tau")
    predicted, measured = rng.integers(1, 9, 30) / 4, rng.integers(1, 9, 30) / 4
    assert errors(predicted, measured)["kendall_tau"] == pytest.approx(_tau_b(predicted, measured))


def test_tau_is_zero_where_it_is_not_defined():
    assert errors(np.array([1.0]), np.array([1.2]))["kendall_tau"] == 0.0
    assert errors(np.array([1.0, 1.0]), np.array([1.0, 2.0]))["kendall_tau"] == 0.0


def test_a_line_is_fitted_in_relative_errors_on_the_networks_given():
    feature = np.array([1.0, 2.0, 5.0, 9.0])
    exact = 0.7 * feature + 0.2
    assert line_errors(feature, exact, None)["max_abs_rel_error"] < 1e-12
    other = np.array([3.0, 4.0])
    judged = line_errors(feature, 2 * exact, (other, 0.7 * other + 0.2))
    assert judged["mean_abs_rel_error"] == pytest.approx(0.5)
    assert judged["bias"] == pytest.approx(-0.5)


def test_a_line_of_its_own_networks_is_the_best_there_is(tiny):
    rng = stream(0, "line")
    feature = rng.uniform(1, 10, 50)
    measured = (0.7 * feature + 0.2) * rng.uniform(0.9, 1.1, 50)

    def squares(slope, constant):
        return float((((slope * feature + constant) / measured - 1) ** 2).sum())

    slope, constant = np.polyfit(feature, measured, 1, w=1 / measured)
    best = (slope * feature + constant) / measured - 1
    assert line_errors(feature, measured, None)["mean_abs_rel_error"] == pytest.approx(
        np.abs(best).mean()
    )
    assert all(
        squares(slope * a, constant * b) > squares(slope, constant)
        for a, b in ((1.01, 1), (0.99, 1), (1, 1.05), (1, 0.95))
    )


@pytest.mark.parametrize("calibrated", [True, False])
def test_the_validation_block_stands_beside_noise_macs_and_op_count(tiny, calibrated):
    archs = _archs(tiny, 20)
    macs = np.array([float(sum(op.macs for op in tiny.layers(a))) for a in archs])
    counts = np.array([float(len(tiny.layers(a))) for a in archs])
    measured = 3e-7 * macs + 0.01 * counts
    repeatability = np.linspace(0.0, 0.04, 20)
    known = (archs[:8], 2 * measured[:8]) if calibrated else None
    block = validation_report(
        tiny,
        archs,
        measured * 1.02,
        measured,
        repeatability,
        known,
        [False] * (len(archs) - 2) + [True] * 2,
    )
    assert block["winners"]["num_networks"] == 2
    assert block["winners"]["bias"] == pytest.approx(0.02)
    assert block["num_networks"] == 20
    assert (block["fastest_ms"], block["slowest_ms"]) == (measured.min(), measured.max())
    assert block["bias"] == pytest.approx(0.02)
    assert block["within_5_percent"] == 1.0
    assert block["repeatability_mean"] == pytest.approx(0.02)
    assert block["repeatability_max"] == 0.04
    assert block["lines_fitted_on"] == ("calibration networks" if calibrated else "these networks")
    for name, feature in (("macs_line", macs), ("op_count_line", counts)):
        fit_on = (feature[:8], 2 * measured[:8]) if calibrated else None
        assert block[name] == line_errors(feature, measured, fit_on)
        assert (block[name]["bias"] > 0.5) == calibrated  # fitted on networks twice as slow
