"""Non-dominated points against the definition."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.search.pareto import non_dominated


def _by_definition(points):
    return [
        not any(
            all(a <= b for a, b in zip(other, point, strict=True)) and tuple(other) != tuple(point)
            for other in points
        )
        for point in points
    ]


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
def test_random_points_with_ties_and_doubles_are_judged_as_defined(num_objectives):
    rng = np.random.default_rng(num_objectives)
    for _ in range(50):
        values = rng.integers(0, 6, (rng.integers(1, 40), num_objectives)).astype(float)
        found = non_dominated(values)
        assert found.tolist() == _by_definition(values.tolist())
        assert found.any()


def test_equal_points_do_not_dominate_each_other():
    values = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0], [2.0, 1.0]])
    assert non_dominated(values).tolist() == [True, True, False, True]


def test_no_points_have_no_front():
    assert non_dominated(np.empty((0, 2))).shape == (0,)


def test_a_front_of_very_many_networks_fits_in_memory():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2000, (100_000, 2)).astype(float)
    values[0] = np.inf, -1.0
    front = values[non_dominated(values)]  # by all pairs this takes 20 GB
    assert len(front) >= 2
    assert not any(
        (values <= point).all(axis=1)[(values < point).any(axis=1)].any() for point in front
    )
    steps = np.unique(front, axis=0)
    assert (np.diff(steps[:, 1]) < 0).all()
