from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binomtest

from hwnas.stats.shares import (
    binomial_interval,
    difference_interval,
    paired_difference_interval,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("right", "total"), [(0, 10), (10, 10), (1, 1), (0, 1), (337, 359), (5, 10), (9999, 10_000)]
)
def test_the_interval_is_the_exact_binomial_one(right, total):
    # Clopper and Pearson: quantiles of beta distributions
    low = beta.ppf(0.025, right, total - right + 1) if right else 0.0
    high = beta.ppf(0.975, right + 1, total - right) if right < total else 1.0
    assert binomial_interval(right, total) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(("right", "total"), [(0, 10), (7, 9), (337, 359)])
def test_the_score_interval_is_scipys(right, total):
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right / total, total) == pytest.approx(tuple(expected), abs=1e-12)


def test_the_difference_of_independent_shares_is_of_wilsons_limits():
    low, high = difference_interval(0.8, 0.6, 75)
    low1, high1 = wilson_interval(0.8, 75)
    low2, high2 = wilson_interval(0.6, 75)
    assert low == pytest.approx(0.2 - np.hypot(0.8 - low1, high2 - 0.6))
    assert high == pytest.approx(0.2 + np.hypot(high1 - 0.8, 0.6 - low2))


@pytest.mark.parametrize(
    ("only_first", "only_second", "total"), [(0.05, 0.02, 200), (0.1, 0.1, 60)]
)
def test_the_paired_interval_covers_the_difference_in_95_of_100_samples(
    only_first, only_second, total
):
    rng = np.random.default_rng(0)
    shares = [only_first, only_second, 1 - only_first - only_second]
    samples = rng.multinomial(total, shares, size=4000)
    covered = 0
    for first, second, _ in samples.tolist():
        low, high = paired_difference_interval(first, second, total)
        covered += low <= only_first - only_second <= high
    assert 0.94 <= covered / len(samples) <= 0.985


def test_a_paired_interval_is_narrower_where_most_answers_are_the_same():
    paired = paired_difference_interval(12, 3, 300)
    unpaired = difference_interval(0.95, 0.92, 300)
    assert paired[0] > 0 > unpaired[0]
    assert paired[1] - paired[0] < unpaired[1] - unpaired[0]
