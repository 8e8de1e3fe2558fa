"""The Gaussian process against the textbook's formulas; evaluations go where it expects most."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, spearmanr

from hwnas.rng import stream
from hwnas.search.predictors.gaussian_process import GaussianProcess, Kernel
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import ListedFeasible
from hwnas.search.strategies.evolution import Evolution
from hwnas.search.strategies.population import random_codes, search_codes
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.search.strategies.surrogate import Surrogate, clipped, trend
from hwnas.space.catalogue import load_space
from hwnas.stats.gp import hamming

MACRO = load_space("macro-cifar")
CODES = np.indices((3,) * 8).reshape(8, -1).T.astype(np.int16)


@pytest.fixture(scope="module")
def accuracy():
    """Of all codes, from the network alone: effects of options and of neighbouring layers."""
    rng = stream(0, "surrogate test")
    single, pairs, columns = rng.normal(size=(8, 3)), rng.normal(size=(8, 3, 3)), np.arange(8)
    value = single[columns, CODES].sum(axis=1)
    value += 0.5 * pairs[columns[:7], CODES[:, :-1], CODES[:, 1:]].sum(axis=1)
    _, first, of = np.unique(
        MACRO.network_keys(CODES), axis=0, return_index=True, return_inverse=True
    )
    return value[first[of.ravel()]]


def _flat(codes):
    return np.ravel_multi_index(tuple(codes.T), (3,) * 8)


def _sample(number, accuracy):
    codes = random_codes(MACRO, number, stream(number, "surrogate sample"))
    return codes, MACRO.network_keys(codes), accuracy[_flat(codes)]


def test_means_deviations_and_evidence_are_those_of_the_formulas(accuracy):
    codes, keys, values = _sample(40, accuracy)
    new, new_keys, _ = _sample(25, accuracy)
    kernel = Kernel(length=0.4, share=0.3, noise=0.05)
    model = GaussianProcess(codes, keys, values, kernel)

    def correlation(a, a_keys, b, b_keys):
        by_code = (a[:, None] != b[None]).mean(axis=2)
        by_key = (a_keys[:, None] != b_keys[None]).mean(axis=2)
        return 0.3 * np.exp(-by_code / 0.4) + 0.7 * np.exp(-by_key / 0.4)

    y = (values - values.mean()) / values.std()
    noisy = correlation(codes, keys, codes, keys) + 0.05 * np.eye(40)
    across = correlation(new, new_keys, codes, keys)
    variance = y @ np.linalg.inv(noisy) @ y / 40
    covariance = variance * (1 - np.diag(across @ np.linalg.inv(noisy) @ across.T))
    mean, deviation = model.predict(new, new_keys)
    np.testing.assert_allclose(
        mean, values.mean() + values.std() * across @ np.linalg.solve(noisy, y), rtol=1e-8
    )
    np.testing.assert_allclose(deviation, values.std() * np.sqrt(covariance), rtol=1e-6)
    assert model.evidence == pytest.approx(
        multivariate_normal(np.zeros(40), variance * noisy).logpdf(y)
    )


def test_the_kernel_of_largest_evidence_is_taken(accuracy):
    codes, keys, values = _sample(60, accuracy)
    chosen = GaussianProcess(codes, keys, values)
    for kernel in (Kernel(0.1, 0.0, 0.8), Kernel(1.6, 1.0, 0.01), Kernel(0.4, 0.5, 0.2)):
        assert GaussianProcess(codes, keys, values, kernel).evidence <= chosen.evidence


def test_it_ranks_networks_it_has_not_seen_and_knows_where_it_is_uncertain(accuracy):
    codes, keys, values = _sample(150, accuracy)
    new, new_keys, truth = _sample(400, accuracy)
    mean, deviation = GaussianProcess(codes, keys, values).predict(new, new_keys)
    assert spearmanr(mean, truth).statistic > 0.8
    assert np.mean(np.abs(mean - truth) < 2 * deviation) > 0.85
    near = hamming(new, codes).min(axis=1) == 0
    assert deviation[near].mean() < deviation[~near].mean()


def test_equal_scores_are_no_division_by_zero(accuracy):
    codes, keys, values = _sample(10, accuracy)
    mean, deviation = GaussianProcess(codes, keys, np.full(len(values), 0.3)).predict(codes, keys)
    np.testing.assert_allclose(mean, 0.3)
    assert np.isfinite(deviation).all()


def test_clipping_keeps_the_order_above_and_bounds_what_is_below():
    assert clipped(np.array([0.1, 0.8, 0.9, 0.95, 0.93])).tolist() == pytest.approx(
        [0.85, 0.85, 0.9, 0.95, 0.93]
    )  # the median is 0.9, the best 0.95


def test_a_surrogate_finds_better_networks_than_its_search_alone_and_than_chance(accuracy):
    latency = 1.0 + CODES.sum(axis=1)
    feasible = ListedFeasible(MACRO, latency.reshape(1, *(3,) * 8), np.array([9.0]))
    best = accuracy[latency <= 9].max()

    def regret(make):
        return np.mean(
            [
                best - search_codes(make(seed), lambda c: accuracy[_flat(c)], 50, batch=5)[1].max()
                for seed in range(8)
            ]
        )

    alone = regret(lambda seed: Evolution(feasible, seed, prior=MacsPrior(feasible, seed)))
    chance = regret(lambda seed: RandomSearch(feasible, seed))
    guided = regret(
        lambda seed: Surrogate(
            feasible,
            Evolution(feasible, seed, prior=MacsPrior(feasible, seed)),
            seed,
            prior=MacsPrior(feasible, seed),
        )
    )
    assert guided < 0.5 * alone
    assert alone < chance


def test_the_trend_is_the_ridge_line_through_the_logarithm_of_work():
    rng = stream(0, "trend")
    macs, new = np.exp(rng.normal(18, 1, size=30)), np.exp(rng.normal(18, 1, size=5))
    values = 0.3 * np.log(macs) + rng.normal(0, 0.01, size=30)
    known, expected = trend(macs, values, new)
    x = np.log(macs)
    # the extra network of the prior: one deviation away from the mean, of the mean value
    design = np.r_[x - x.mean(), x.std()][:, None]
    slope = np.linalg.lstsq(design, np.r_[values - values.mean(), 0.0], rcond=None)[0][0]
    np.testing.assert_allclose(known, slope * (x - x.mean()))
    np.testing.assert_allclose(expected, slope * (np.log(new) - x.mean()))
    assert 0.28 < slope < 0.3


def test_networks_of_equal_work_have_no_trend():
    known, expected = trend(np.full(4, 1e6), np.array([0.1, 0.2, 0.3, 0.4]), np.full(2, 1e6))
    assert not known.any()
    assert not expected.any()
