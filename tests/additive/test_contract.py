"""Graphs of runs of choices as one: the same codes, in the same order, with the same sums."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwnas.additive import contract as module
from hwnas.additive import window
from hwnas.additive.contract import contract, is_large
from hwnas.additive.graph import Graph
from hwnas.additive.grid import num_codes
from hwnas.additive.optimum import ranked
from hwnas.additive.window import Windows, open_window, quantile
from hwnas.space.catalogue import load_space


def _all_codes(graph: Graph) -> np.ndarray:
    codes = np.indices(graph.sizes).reshape(len(graph.sizes), -1).T
    return codes[graph.possible(codes)]


def _problems(random_problem, nested):
    return [nested, *(random_problem(seed, 2) for seed in range(90))]


def test_a_contraction_has_the_same_codes_in_the_same_order(random_problem, nested):
    for problem in _problems(random_problem, nested):
        contraction = contract(problem.graph)
        assert num_codes(contraction.graph) == len(problem.codes)
        codes = _all_codes(contraction.graph)
        assert contraction.expand(codes).tolist() == problem.codes.tolist()
        np.testing.assert_array_equal(
            contraction.graph.totals(codes), problem.graph.totals(problem.codes)
        )


def test_a_contraction_never_has_more_edges_and_states(random_problem, nested, space_problem):
    graphs = [problem.graph for problem in _problems(random_problem, nested)]
    graphs += [space_problem(load_space("ofa-mbv3"), 1).graph]
    for graph in graphs:
        edges = [
            sum(int(step.allowed.sum()) + len(step.allowed) for step in g.steps)
            for g in (graph, contract(graph).graph)
        ]
        assert edges[1] <= edges[0]


def test_mobile_becomes_a_graph_of_blocks(space_problem):
    graph = space_problem(load_space("mobile"), 1).graph
    assert is_large(graph)
    contraction = contract(graph)
    assert not is_large(contraction.graph)
    assert num_codes(contraction.graph) == num_codes(graph) > 10**90
    assert len(contraction.graph.steps) < 50 < len(graph.steps)


@pytest.fixture
def large(monkeypatch):
    """Every graph is large, and nothing but empty windows is listed without a grid."""
    monkeypatch.setattr(module, "LARGE", -1)
    monkeypatch.setattr(window, "LISTED_CODES", 0)


def test_the_best_codes_are_those_of_the_graph_itself(random_problem, nested, monkeypatch):
    for problem in _problems(random_problem, nested):
        graph = problem.graph
        if len(problem.codes) == 0:
            continue
        middle = [int(np.median(totals)) for totals in graph.totals(problem.codes)]
        every = list(enumerate(middle))
        for score, limit in itertools.product((0, None), ([], every[-1:], every)):
            monkeypatch.setattr(module, "LARGE", 10**9)
            expected = list(ranked(graph, score, limit))
            monkeypatch.setattr(module, "LARGE", -1)
            assert list(ranked(graph, score, limit)) == expected


@pytest.mark.usefixtures("large")
def test_windows_of_few_codes_are_listed_from_the_counts(nested, space_problem):
    for problem in (nested, space_problem(load_space("tiny"), 1)):
        values = problem.graph.totals(problem.codes)[0]
        for low, high in np.random.default_rng(0).choice(values, (20, 2)):
            found = open_window(problem.graph, 0, int(low), int(high))
            inside = (values >= low) & (values <= high)
            assert found.num_low == found.num_high == inside.sum()
            assert found.listed.tolist() == problem.codes[inside].tolist()


@pytest.mark.usefixtures("large")
def test_quantiles_from_doubles_are_numpys_to_the_grids_resolution(
    nested, space_problem, monkeypatch
):
    shares = np.array([0.0, 0.01, 0.25, 0.5, 0.9, 1.0])
    for problem in (nested, space_problem(load_space("macro-cifar"), 1)):
        expected = np.percentile(problem.values[0], 100 * shares, method="inverted_cdf")
        assert quantile(problem.graph, 0, shares) == pytest.approx(expected, rel=1e-12)
        monkeypatch.setattr(window, "LISTED_OF_LARGE", 0)
        tolerance = 1e-4 * np.ptp(problem.values[0])
        assert quantile(problem.graph, 0, shares) == pytest.approx(expected, abs=tolerance)
        monkeypatch.setattr(window, "LISTED_OF_LARGE", 10**6)


@pytest.mark.usefixtures("large")
def test_a_grid_covers_the_lowest_part_of_the_sums_that_has_the_window(space_problem):
    problem = space_problem(load_space("proxyless"), 1)
    windows = Windows(problem.graph, 0)
    least, most = quantile(problem.graph, 0, np.array([0.0, 1.0]))
    function = problem.graph.functions[0]
    cells = []
    for share in (0.9, 0.45, 0.24, 0.12):
        found = windows.open(0, function.floor(least + share * (most - least)))
        cells.append(found.grid.layout.cell)
        assert found.acceptance > 0.5
    assert cells == sorted(cells, reverse=True)
    assert cells[0] >= 7 * cells[-1]
