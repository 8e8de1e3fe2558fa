from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from hwnas.rng import stream
from hwnas.search.ranking import rank_agreement


def test_tau_is_scipys_and_lies_in_its_interval() -> None:
    truth = stream(0, "truth").normal(size=30)
    score = truth + stream(0, "score").normal(0, 0.5, 30)
    macs = stream(0, "macs").normal(size=30)
    found = rank_agreement(score.tolist(), truth.tolist(), macs.tolist(), seed=0)
    assert found.tau == pytest.approx(kendalltau(score, truth).statistic)
    assert found.macs_tau == pytest.approx(kendalltau(macs, truth).statistic)
    low, high = found.interval
    assert 0 < low < found.tau < high < 1
    assert "agrees with training from scratch" in found.statement
    assert "MACs alone reach" in found.statement


def test_a_ranking_by_chance_is_said_to_be_one() -> None:
    truth, score = stream(1, "truth").normal(size=20), stream(1, "other").normal(size=20)
    found = rank_agreement(score.tolist(), truth.tolist(), truth.tolist(), seed=0)
    assert "cannot be told from chance" in found.statement


def test_a_ranking_that_is_turned_around_is_said_to_be_so() -> None:
    truth = stream(2, "truth").normal(size=20)
    found = rank_agreement((-truth).tolist(), truth.tolist(), truth.tolist(), seed=0)
    assert "contradicts training from scratch" in found.statement


def test_few_networks_are_said_to_be_too_few() -> None:
    found = rank_agreement([0.1, 0.2, 0.3], [0.2, 0.3, 0.5], [1, 2, 3], seed=0)
    assert found.tau == 1.0
    assert found.statement.startswith("3 networks are too few")


@pytest.mark.parametrize("scores", [[0.5, 0.5, 0.5], [0.1, 0.2]])
def test_nothing_is_said_where_there_is_nothing_to_compare(scores) -> None:
    found = rank_agreement(scores, np.arange(len(scores)).tolist(), scores, seed=0)
    assert (found.tau, found.interval) == (None, None)
    assert "nothing can be said" in found.statement


def test_networks_of_different_supernets_are_compared_within_each_only() -> None:
    """One supernet scores everything higher: pooled, its networks would seem the better ones."""
    truth = stream(3, "truth").normal(size=24)
    score = truth + np.where(np.arange(24) < 12, 10.0, -10.0)
    groups = [0] * 12 + [1] * 12
    found = rank_agreement(score.tolist(), truth.tolist(), truth.tolist(), groups, seed=0)
    assert found.tau == 1.0
    assert found.num_groups == 2
    assert "compared within each of the 2 supernets" in found.statement
    assert rank_agreement(score.tolist(), truth.tolist(), truth.tolist(), seed=0).tau < 0.9
    few = rank_agreement([1, 2, 3], [1, 2, 3], [1, 2, 3], [0, 0, 1], seed=0)
    assert few.statement.startswith("3 networks of 2 supernets are too few")


def test_ties_count_as_scipy_counts_them() -> None:
    rng = stream(4, "ties")
    a, b = rng.integers(0, 4, 40).astype(float), rng.integers(0, 3, 40).astype(float)
    found = rank_agreement(a.tolist(), b.tolist(), b.tolist(), seed=0)
    assert found.tau == pytest.approx(kendalltau(a, b).statistic)
    rows = [np.random.default_rng(n).integers(40, size=40) for n in range(300)]
    low, high = np.percentile([kendalltau(a[r], b[r]).statistic for r in rows], [2.5, 97.5])
    assert found.interval == pytest.approx((low, high), abs=0.06)
