"""Sorting, crowding, survival, volumes against pymoo; the front of a space that can be listed."""

from __future__ import annotations

import numpy as np
import pytest
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.problems import get_problem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from hwnas.rng import stream
from hwnas.search.pareto import hypervolume, non_dominated
from hwnas.search.problem.feasible import ListedFeasible
from hwnas.search.strategies.nsga2 import Nsga2, crowding, ranks, survivors
from hwnas.search.strategies.population import search_codes
from hwnas.space.catalogue import load_space

MACRO = load_space("macro-cifar")
CODES = np.indices((3,) * 8).reshape(8, -1).T.astype(np.int16)


def _points(name, count=150):
    """Objectives of random solutions of one of pymoo's test problems."""
    problem = get_problem(name)
    rng = stream(0, f"nsga2 {name}")
    return problem.evaluate(rng.uniform(problem.xl, problem.xu, size=(count, problem.n_var)))


PROBLEMS = ["zdt1", "zdt2", "zdt3", "kursawe", "dtlz2", "dtlz7"]


@pytest.mark.parametrize("name", PROBLEMS)
def test_ranks_are_pymoos(name):
    values = _points(name)
    expected = np.empty(len(values), dtype=int)
    for number, rows in enumerate(NonDominatedSorting().do(values)):
        expected[rows] = number
    np.testing.assert_array_equal(ranks(values), expected)
    assert expected.max() >= 1


@pytest.mark.parametrize("name", PROBLEMS)
def test_crowding_distances_are_pymoos(name):
    values = _points(name)
    front = values[ranks(values) == 0]
    # pymoo divides by the number of objectives
    expected = calc_crowding_distance(front) * front.shape[1]
    np.testing.assert_allclose(crowding(front), expected, rtol=1e-9)


@pytest.mark.parametrize("name", PROBLEMS)
def test_volumes_are_pymoos(name):
    values = _points(name, 60)
    for share in (0.6, 1.0):
        reference = np.quantile(values, share, axis=0) + 0.01
        expected = HV(ref_point=reference)(values)
        assert hypervolume(values, reference) == pytest.approx(expected, rel=1e-9)


def test_volumes_of_few_points_in_four_and_one_dimensions():
    values = stream(0, "volume").random((25, 4))
    assert hypervolume(values, np.ones(4)) == pytest.approx(HV(ref_point=np.ones(4))(values))
    assert hypervolume(values[:, :1], np.ones(1)) == pytest.approx(1 - values[:, 0].min())
    assert hypervolume(values, np.zeros(4)) == 0.0
    assert hypervolume(np.array([[0.5, 0.5], [0.5, 0.5]]), np.ones(2)) == 0.25


def test_survivors_are_the_better_fronts_and_the_ends_of_the_last():
    values = _points("zdt1")
    rank = ranks(values)
    for count in (10, 40, 90):
        rows, of_rows, _ = survivors(values, count)
        assert len(set(rows.tolist())) == count
        np.testing.assert_array_equal(of_rows, rank[rows])
        last = of_rows.max()
        assert set(np.flatnonzero(rank < last)) <= set(rows.tolist())
        inside = rows[of_rows == last]
        if len(inside) >= 2:
            ends = values[rank == last].min(axis=0)
            np.testing.assert_array_equal(values[inside].min(axis=0), ends)


@pytest.fixture(scope="module")
def problem():
    """Additive latency, and an accuracy with interactions, of all 6,561 codes."""
    rng = stream(0, "front")
    weights, pairs = rng.normal(size=(8, 3)), rng.normal(size=(8, 3, 3))
    columns = np.arange(8)
    accuracy = weights[columns, CODES].sum(axis=1) + pairs[
        columns[:7], CODES[:, :-1], CODES[:, 1:]
    ].sum(axis=1)
    latency = 1 + np.array([0.1, 1.0, 2.0])[CODES].sum(axis=1) + 0.1 * rng.random(len(CODES))
    # codes of one network share both
    keys = MACRO.network_keys(CODES)
    _, first, of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return accuracy[first[of.ravel()]], latency[first[of.ravel()]]


def _flat(codes):
    return np.ravel_multi_index(tuple(codes.T), (3,) * 8)


def test_one_run_finds_nearly_the_whole_front(problem):
    accuracy, latency = problem
    feasible = ListedFeasible(MACRO, latency.reshape(1, *(3,) * 8), np.array([latency.max()]))
    exact = np.stack([-accuracy, latency], axis=1)
    reference = exact.max(axis=0)
    whole = hypervolume(exact, reference)
    shares = []
    for seed in range(5):
        searcher = Nsga2(feasible, seed)
        codes, _ = search_codes(searcher, lambda c: accuracy[_flat(c)], 800, batch=25)
        found = exact[_flat(codes)]
        shares.append(hypervolume(found, reference) / whole)
        front, values = searcher.front()
        np.testing.assert_allclose(values, exact[_flat(front)])
        assert non_dominated(values).all()
    rng = stream(1, "front")
    random = [
        hypervolume(exact[rng.permutation(len(exact))[:800]], reference) / whole for _ in range(5)
    ]
    assert min(shares) > 0.97
    assert min(shares) > max(random)


def test_several_told_objectives_and_no_metric(problem):
    accuracy, latency = problem
    feasible = ListedFeasible(MACRO, latency.reshape(1, *(3,) * 8), np.array([latency.max()]))
    searcher = Nsga2(feasible, 0, num_scores=2, metrics=())
    search_codes(
        searcher,
        lambda c: np.stack([accuracy[_flat(c)], -latency[_flat(c)]], axis=1),
        300,
        batch=30,
    )
    told = Nsga2(feasible, 0)
    search_codes(told, lambda c: accuracy[_flat(c)], 300, batch=30)
    np.testing.assert_array_equal(searcher.front()[0], told.front()[0])


def test_wrong_settings_are_errors(problem):
    feasible = ListedFeasible(MACRO, problem[1].reshape(1, *(3,) * 8), np.array([1e9]))
    with pytest.raises(ValueError, match="population of at least 4"):
        Nsga2(feasible, 0, population=2)
