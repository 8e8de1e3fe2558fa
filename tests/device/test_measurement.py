"""The statistics of a measurement, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.device.measurement import (
    Measurement,
    disturbance,
    halves_of_rounds,
    latency_of_rounds,
    reload_of_round,
    summarise,
)

MS = st.floats(min_value=1e-3, max_value=1e3)
ROUNDS = st.lists(st.lists(MS, min_size=1, max_size=6), min_size=2, max_size=9)


def percentile(values, share):
    """The value at ``share`` of the way through the sorted values, between neighbours linearly."""
    return between(values, share * (len(values) - 1))


def lower_quartile(values):
    """Hyndman and Fan's definition 8: at ``n p + (p + 1) / 3`` of the sorted, counted from 1."""
    place = len(values) / 4 + (0.25 + 1) / 3 - 1
    return between(values, min(max(place, 0.0), len(values) - 1))


def between(values, place):
    ordered = sorted(values)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@given(rounds_ms=ROUNDS)
def test_a_summary_is_the_percentiles_of_medians_and_of_runs(rounds_ms):
    summary = summarise(rounds_ms)
    medians = [percentile(runs, 0.5) for runs in rounds_ms]
    runs = [ms for one in rounds_ms for ms in one]
    assert summary.latency_ms == pytest.approx(lower_quartile(medians))
    for name, share in (("p5_ms", 0.05), ("p50_ms", 0.5), ("p90_ms", 0.9), ("p95_ms", 0.95)):
        assert getattr(summary, name) == pytest.approx(percentile(runs, share))
    assert (summary.num_rounds, summary.num_runs) == (len(rounds_ms), len(runs))


def test_repeatability_compares_odd_and_even_rounds():
    # of three, the first quartile is a sixth of the way from the first to the second
    odd, even = 1 + 2 / 6, 2 + 2 / 6
    summary = summarise([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    assert summary.repeatability == pytest.approx((even - odd) / ((odd + even) / 2))
    assert summarise([[2.0], [2.0]]).repeatability == 0.0


def test_rounds_that_other_work_disturbed_do_not_move_the_latency():
    quiet = [1.0] * 5
    assert latency_of_rounds([*quiet, 9.0, 40.0, 3.0, 2.0]) == 1.0


def test_a_busy_host_makes_no_model_slower_for_being_visited_less_often():
    drawn = np.random.default_rng(0).exponential(size=(4000, 60))
    quartile = math.log(4 / 3)
    for rounds, within in ((5, 0.08), (15, 0.03), (60, 0.02)):
        found = np.median([latency_of_rounds(row[:rounds].tolist()) for row in drawn])
        assert found == pytest.approx(quartile, rel=within)
    # what this is for: numpy's own quartile of 15 is a tenth too high, that of 5 by a third
    assert np.median(np.percentile(drawn[:, :5], 25, axis=1)) > 1.3 * quartile
    assert np.median(np.percentile(drawn[:, :15], 25, axis=1)) > 1.08 * quartile


@pytest.mark.parametrize("rounds_ms", [[], [[1.0]], [[1.0], []]])
def test_a_single_round_or_one_without_runs_is_no_measurement(rounds_ms):
    with pytest.raises(ValueError, match="at least two rounds with runs"):
        summarise(rounds_ms)


def test_the_file_form_has_nanosecond_resolution_and_all_fields():
    summary = summarise([[1 / 3], [2 / 3], [1.0]])
    assert summary.to_json() == {
        "latency_ms": 0.388889,
        "p5_ms": 0.366667,
        "p50_ms": 0.666667,
        "p90_ms": 0.933333,
        "p95_ms": 0.966667,
        "num_rounds": 3,
        "num_runs": 3,
        "repeatability": 0.666667,
    }


def measured(slow_runs):
    """A measurement of 100 runs, ``slow_runs`` of which took a half longer."""
    return summarise([[1.0 + 0.5 * (number < slow_runs)] for number in range(100)])


def test_a_busy_device_is_told_by_runs_that_take_longer_than_the_latency():
    assert disturbance([measured(5)] * 3) is None
    assert disturbance([measured(5), measured(5), measured(30)]) is None
    warning = disturbance([measured(30), measured(5), measured(30)])
    assert "took 1.50 times the latency" in warning
    assert "Next: stop what else runs there, and measure again" in warning


def test_a_device_whose_halves_of_the_rounds_differ_is_disturbed():
    restless = summarise([[1.0], [1.05], [1.0], [1.05]], reloads=4)
    steady = summarise([[1.0], [1.01], [1.0], [1.01]], reloads=4)
    assert disturbance([steady, steady, restless]) is None
    warning = disturbance([steady, restless, restless])
    assert "one half of the rounds differs from the other by 4.9%" in warning
    assert "a tenth" not in warning


def test_numbers_that_nobody_measured_tell_nothing_of_a_busy_device():
    assert disturbance([]) is None
    assert disturbance([Measurement.published(1.0, 50), Measurement.predicted(2.0)]) is None


@given(rounds=st.integers(1, 30), reloads=st.integers(1, 40))
def test_rounds_are_shared_evenly_by_loads_one_after_the_other(rounds, reloads):
    owners = [reload_of_round(number, rounds, reloads) for number in range(rounds)]
    assert owners == sorted(owners)
    counts = np.bincount(owners)
    assert len(counts) == min(reloads, rounds)
    assert counts.max() - counts.min() <= 1
    assert reload_of_round(-1, rounds, reloads) == -1


def test_the_latency_of_several_loads_is_the_median_of_theirs():
    # quartiles of the reloads' medians: 1.5, 5.5, 2.5, 100; halves: reloads 1, 3 and reloads 2, 4
    medians = [1.0, 3.0, 5.0, 7.0, 2.0, 4.0, 100.0, 100.0]
    assert latency_of_rounds(medians, 4) == pytest.approx((2.0 + 5.0) / 2)
    assert halves_of_rounds(medians, 4) == pytest.approx(((1.0 + 2.0) / 2, (5.0 + 100) / 2))
    assert halves_of_rounds(medians, 1) == (
        latency_of_rounds(medians[::2]),
        latency_of_rounds(medians[1::2]),
    )
    summary = summarise([[ms] for ms in medians], 4)
    assert summary.latency_ms == pytest.approx(3.5)
    assert summary.repeatability == pytest.approx((52.5 - 1.5) / (54.0 / 2))
