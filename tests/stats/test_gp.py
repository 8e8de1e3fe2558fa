"""The core of Gaussian processes against scikit-learn and the textbook's formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor, kernels

from hwnas.rng import stream
from hwnas.stats.gp import condition, exponential, hamming, matern32, squared_exponential

NOISE = 0.05


@pytest.fixture(scope="module")
def points():
    """30 observations of a function of 3 variables, and 20 other points."""
    rng = stream(0, "test gp")
    seen, new = rng.normal(size=(30, 3)), rng.normal(size=(20, 3))
    return seen, np.sin(seen @ [1.0, -2.0, 0.5]) + 0.1 * rng.normal(size=30), new


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda d: squared_exponential(d / 0.7), kernels.RBF(0.7)),
        (lambda d: matern32(d / 0.7), kernels.Matern(0.7, nu=1.5)),
        (lambda d: exponential(d, 0.7), kernels.Matern(0.7, nu=0.5)),
    ],
    ids=["squared exponential", "matern 3/2", "exponential"],
)
def test_kernels_means_and_deviations_are_those_of_scikit_learn(points, ours, theirs) -> None:
    seen, y, new = points
    posterior = condition(ours(cdist(seen, seen)), NOISE, y)
    oracle = GaussianProcessRegressor(theirs, alpha=NOISE, optimizer=None).fit(seen, y)
    mean, deviation = oracle.predict(new, return_std=True)
    across = ours(cdist(new, seen))
    np.testing.assert_allclose(posterior.mean(across), mean, rtol=1e-9, atol=1e-9)
    expected = np.sqrt(posterior.variance) * deviation
    np.testing.assert_allclose(posterior.deviation(across), expected, rtol=1e-7, atol=1e-9)


def test_the_evidence_is_that_of_the_normal_distribution_and_largest_at_its_variance(
    points,
) -> None:
    seen, y, _ = points
    correlation = matern32(cdist(seen, seen))
    posterior = condition(correlation, NOISE, y)

    def log_density(variance: float) -> float:
        covariance = variance * (correlation + NOISE * np.eye(len(y)))
        return float(multivariate_normal(np.zeros(len(y)), covariance).logpdf(y))

    assert posterior.evidence == pytest.approx(log_density(posterior.variance))
    for factor in (0.9, 1.1):
        assert log_density(factor * posterior.variance) < posterior.evidence


def test_equal_observations_have_no_variance() -> None:
    posterior = condition(np.eye(4), NOISE, np.zeros(4))
    assert posterior.variance > 0
    assert posterior.mean(np.ones((2, 4))).tolist() == [0.0, 0.0]


def test_hamming_distances_are_shares_of_columns() -> None:
    left, right = np.array([[0, 1, 2, 3]]), np.array([[0, 1, 2, 3], [1, 1, 2, 0], [4, 4, 4, 4]])
    assert hamming(left, right).tolist() == [[0.0, 0.5, 1.0]]
    assert hamming(np.empty((1, 0)), np.empty((2, 0))).tolist() == [[0.0, 0.0]]
