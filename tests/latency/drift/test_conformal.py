"""The confidence guard against closed forms, and what it reads from tables and earlier winners."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.latency.drift.conformal import (
    PRIOR_WEIGHT,
    SESSION_STD,
    ConformalMargin,
    ValidationSchema,
    across_sessions,
    append_validation,
    conformal_margin,
    min_networks,
    quantile,
    read_validation,
    session_deviation,
    validation_path,
)
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.networks import macs_terms, spread_networks
from hwnas.latency.table.schemas import MeasurementSchema, NetworkRecord
from hwnas.rng import stream


@pytest.mark.parametrize(
    ("count", "confidence", "rank"),
    [
        (19, 0.95, 19),
        (20, 0.95, 20),
        (39, 0.95, 38),
        (40, 0.95, 39),
        (99, 0.95, 95),
        (9, 0.9, 9),
        (10, 0.9, 10),
        (19, 0.9, 18),
        (1, 0.5, 1),
        (3, 0.5, 2),
    ],
)
def test_the_quantile_is_the_ceil_of_n_plus_1_times_qth_smallest(count, confidence, rank):
    ratios = stream(0, "ratios").permutation(np.arange(1, count + 1) / 10).tolist()
    assert quantile(ratios, confidence) == (pytest.approx(rank / 10), True)


@pytest.mark.parametrize(
    ("confidence", "least"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)]
)
def test_the_least_number_of_networks_is_where_the_rank_is_one_of_them(confidence, least):
    assert min_networks(confidence) == least
    assert quantile([1.0] * least, confidence)[1]
    if least > 1:
        assert not quantile([1.0] * (least - 1), confidence)[1]


def test_too_few_take_the_largest_times_one_plus_the_deviation():
    ratios = [1.01, 1.05, 0.97]
    expected = 1.05 * (1 + np.std(ratios, ddof=1))
    assert quantile(ratios, 0.95) == (pytest.approx(expected), False)
    assert quantile([1.02], 0.95) == (pytest.approx(1.02 * 1.05), False)
    with pytest.raises(ValueError, match="at least one"):
        quantile([], 0.95)


def test_the_quantile_covers_the_next_ratio_as_often_as_it_says():
    rng = stream(1, "coverage")
    draws = rng.lognormal(0, 0.02, (4000, 25))
    covered = [row[24] <= quantile(row[:24].tolist(), 0.9)[0] for row in draws]
    # 23 / 25 exactly in the mean: the 23rd smallest of 24
    assert np.mean(covered) == pytest.approx(23 / 25, abs=0.015)


@pytest.fixture
def case(tiny, random_table, measurement):
    """Make a table with so many networks a role, each ``ratio`` times its prediction."""
    archs = spread_networks(tiny, macs_terms(tiny), 40, seed=0, purpose="guard")

    def make(**roles):
        table = random_table(tiny)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            predictor = LutPredictor(tiny, table)
        records, rest = [], iter(archs)
        for role, ratios in roles.items():
            for ratio in ratios:
                arch = next(rest)
                ms = predictor.predict_arch_ms(arch) * ratio
                records.append(
                    NetworkRecord(
                        space="tiny",
                        role=role,
                        is_sentinel=False,
                        arch=arch.to_json(),
                        measurement=MeasurementSchema(**measurement(ms).to_json()),
                    )
                )
        return replace(table, networks=tuple(records)), predictor

    return make


def _line(ratio, space="tiny", number=0, run="r"):
    return ValidationSchema(
        space=space,
        arch={"space": space, "choices": {"n": number}},
        predicted_ms=2.0,
        measured_ms=2.0 * ratio,
        date="2026-01-01",
        run=run,
    )


def test_winners_count_before_other_networks_and_say_so(tiny, case):
    winners = np.linspace(0.98, 1.03, 19).tolist()
    table, predictor = case(winner=winners, validate=[1.5] * 3, calibrate=[1.0] * 8)
    guard = conformal_margin(tiny, table, predictor, [], 0.95)
    assert (guard.source, guard.num_networks) == ("searched networks", 19)
    expected = across_sessions(1.03, np.median(winners), 0.95, SESSION_STD)
    assert guard.ratio == pytest.approx(expected, rel=1e-4)
    assert guard.headroom == pytest.approx(1 - 1 / expected, rel=1e-3)
    assert guard.session == SESSION_STD
    assert guard.is_conformal
    assert "19 searched networks" in str(guard)


def test_benched_winners_of_the_space_are_searched_networks(tiny, case):
    table, predictor = case(winner=[1.0] * 9)
    lines = [_line(1.02)] * 9 + [_line(1.04)] + [_line(3.0, space="other")] * 5
    guard = conformal_margin(tiny, table, predictor, lines, 0.95)
    assert (guard.num_networks, guard.is_conformal) == (19, True)
    assert guard.ratio == pytest.approx(across_sessions(1.04, 1.02, 0.95, SESSION_STD))


def test_with_few_winners_all_validation_networks_count(tiny, case):
    table, predictor = case(winner=[1.01] * 4, validate=np.linspace(0.95, 1.06, 16).tolist())
    guard = conformal_margin(tiny, table, predictor, [], 0.95)
    assert (guard.source, guard.num_networks) == ("validation networks", 20)
    median = np.median([1.01] * 4 + np.linspace(0.95, 1.06, 16).tolist())
    assert guard.ratio == pytest.approx(across_sessions(1.06, median, 0.95, SESSION_STD), rel=1e-4)


def test_where_nothing_is_enough_the_searched_ones_count_and_a_margin_is_told(tiny, case):
    table, predictor = case(winner=[1.01, 1.03], validate=[1.2] * 3)
    guard = conformal_margin(tiny, table, predictor, [], 0.95)
    assert not guard.is_conformal
    largest = 1.03 * (1 + np.std([1.01, 1.03], ddof=1))
    assert guard.ratio == pytest.approx(across_sessions(largest, 1.02, 0.95, SESSION_STD), rel=1e-4)
    assert "too few for this confidence, which takes 19" in str(guard)
    assert conformal_margin(tiny, replace(table, networks=()), predictor, [], 0.95) is None


def test_a_table_that_predicts_too_much_leaves_budgets_as_they_are(tiny, case):
    table, predictor = case(winner=[0.9] * 19)
    guard = conformal_margin(tiny, table, predictor, [], 0.95)
    assert (guard.ratio, guard.headroom) == (1.0, 0.0)


def test_without_differences_between_sessions_the_quantile_stands():
    assert across_sessions(1.03, 1.01, 0.95, 0.0) == pytest.approx(1.03)
    # one half of all sessions are slower than their median
    assert across_sessions(1.03, 1.01, 0.5, 0.02) == pytest.approx(1.03)


def test_of_normal_errors_and_sessions_the_quantile_of_their_sum_comes_out():
    rng, q95 = stream(2, "sessions"), 1.6448536
    ratio = across_sessions(np.exp(0.01 + q95 * 0.012), np.exp(0.01), 0.95, 0.016)
    assert ratio == pytest.approx(np.exp(0.01 + q95 * 0.02))
    drawn = np.exp(0.01 + rng.normal(0, 0.012, 50_000) + rng.normal(0, 0.016, 50_000))
    assert np.mean(drawn <= ratio) == pytest.approx(0.95, abs=0.005)


def test_runs_tell_how_far_sessions_differ():
    assert (
        session_deviation([]) == session_deviation([_line(1.1)] * 5) == pytest.approx(SESSION_STD)
    )
    lines = [
        _line(ratio, run=run)
        for run, ratio in (("a", 1.0), ("b", 1.06), ("c", 1.06))
        for _ in range(3)
    ]
    squares = np.log(1.06) ** 2 * 2 / 3
    expected = np.sqrt((PRIOR_WEIGHT * SESSION_STD**2 + squares) / (PRIOR_WEIGHT + 2))
    assert session_deviation(lines) == pytest.approx(expected)


def test_winners_are_kept_beside_the_table_once(tmp_path):
    table = tmp_path / "t.json"
    assert read_validation(table) == []
    append_validation(table, [])
    assert not validation_path(table).exists()
    append_validation(table, [_line(1.01), _line(1.02)])
    append_validation(table, [_line(1.02), _line(1.03)])
    assert [line.measured_ms for line in read_validation(table)] == pytest.approx(
        [2.02, 2.04, 2.06]
    )
    assert validation_path(table).name == "t.json.validation.jsonl"


def test_all_bad_lines_of_a_validation_file_are_named(tmp_path):
    table = tmp_path / "t.json"
    append_validation(table, [_line(1.01)])
    good = validation_path(table).read_text()
    bad = good.replace("2.02", "-1.0") + good + good.replace('"run"', '"walk"')
    validation_path(table).write_text(bad)
    with pytest.raises(InputError) as caught:
        read_validation(table)
    assert {problem.split(":")[0] for problem in caught.value.problems} == {"line 1", "line 3"}


def test_a_guard_prints_as_json():
    assert ConformalMargin(0.95, 1.25, 20, "searched networks", True, 0.015).to_json() == {
        "confidence": 0.95,
        "headroom": 0.2,
        "num_networks": 20,
        "source": "searched networks",
        "is_conformal": True,
        "session": 0.015,
    }
