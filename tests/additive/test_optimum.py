"""The best codes under limits: against lists of all codes, and HiGHS where there are too many."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from hwnas.additive import optimum
from hwnas.additive.graph import Term, build_graph
from hwnas.additive.optimum import best_distinct, cheapest, dearest, ranked
from hwnas.errors import InfeasibleError
from hwnas.search.problem.limits import counted_terms
from hwnas.space.catalogue import load_space
from hwnas.space.codes import symbol_counts

SCORE = 0
SLACK = 1e-9  # far above rounding, far below the differences of random reals


def _limits_of(problem, num_limits, rng):
    """Limits that cut the codes anywhere, at values that codes have; one in ten below them all."""
    limits = []
    for function in range(1, num_limits + 1):
        values = problem.values[function] if len(problem.codes) else np.zeros(1)
        at = values.min() - 1.0 if rng.random() < 0.1 else rng.choice(values)
        limits.append((function, float(at)))
    return limits


def _listed_best(problem, limits):
    """All codes within the limits with their scores, best first, ties in lexicographic order."""
    inside = np.ones(len(problem.codes), dtype=bool)
    for function, most in limits:
        inside &= problem.values[function] <= most + SLACK
    found = zip(problem.values[SCORE][inside].tolist(), problem.codes[inside].tolist(), strict=True)
    return sorted(((score, tuple(code)) for score, code in found), key=lambda x: (-x[0], x[1]))


def _ranked(problem, limits):
    graph = problem.graph
    most = [(function, graph.functions[function].floor(value)) for function, value in limits]
    return [
        (graph.functions[SCORE].value(found.score), found.code)
        for found in ranked(graph, SCORE, most)
    ]


@pytest.mark.parametrize("num_limits", [0, 1, 2, 3])
def test_the_whole_ranking_is_that_of_the_list_of_all_codes(random_problem, num_limits):
    sizes = []
    for seed in range(100):
        problem = random_problem(1000 * num_limits + seed, num_limits + 1)
        limits = _limits_of(problem, num_limits, np.random.default_rng(seed))
        expected = _listed_best(problem, limits)
        found = _ranked(problem, limits)
        assert [code for _, code in found] == [code for _, code in expected]
        assert [s for s, _ in found] == pytest.approx([s for s, _ in expected], abs=1e-11)
        sizes.append(len(found))
    # the hundred are no hundred special cases
    assert sizes.count(0) < 70
    assert max(sizes) > 50


def test_the_whole_ranking_is_right_with_shared_and_absent_choices(nested):
    graph = nested.graph
    expected = sorted(
        zip((-nested.values[0]).tolist(), map(tuple, nested.codes.tolist()), strict=True)
    )
    assert [found.code for found in ranked(graph, 0, [])] == [code for _, code in expected]
    most = float(np.median(nested.values[0]))
    within = [code for negative, code in expected if -negative <= most]
    limit = (0, graph.functions[0].floor(most))
    assert [found.code for found in ranked(graph, 0, [limit])] == within


@pytest.mark.parametrize("num_limits", [1, 2])
def test_loosened_bounds_change_no_answer(random_problem, monkeypatch, num_limits):
    monkeypatch.setattr(optimum, "MAX_LABELS", 4)
    for seed in range(50):
        problem = random_problem(seed, num_limits + 1)
        limits = _limits_of(problem, num_limits, np.random.default_rng(seed))
        found = _ranked(problem, limits)
        assert [code for _, code in found] == [code for _, code in _listed_best(problem, limits)]


def test_without_a_score_all_codes_within_the_limits_come_in_order(random_problem):
    for seed in range(60):
        problem = random_problem(seed, 2)
        limits = _limits_of(problem, 1, np.random.default_rng(seed))
        most = [(f, problem.graph.functions[f].floor(value)) for f, value in limits]
        found = [r.code for r in ranked(problem.graph, None, most)]
        assert found == sorted(code for _, code in _listed_best(problem, limits))


def test_limits_without_end_are_no_limits(random_problem):
    for seed in range(20):
        problem = random_problem(seed, 3)
        endless = [(1, float("inf")), (2, 1e300)]
        assert _ranked(problem, endless) == _ranked(problem, [])


def test_cheapest_and_dearest_are_the_ends_of_the_list_and_lexicographic_where_equal(
    random_problem,
):
    empty = 0
    for seed in range(300):
        problem = random_problem(seed, 1)
        low, high = cheapest(problem.graph, 0), dearest(problem.graph, 0)
        if not len(problem.codes):
            assert low is None
            assert high is None
            empty += 1
            continue
        (values,) = problem.values
        function = problem.graph.functions[0]
        for found, place in ((low, np.argmin(values)), (high, np.argmax(values))):
            assert found.code == tuple(problem.codes[place].tolist())
            assert function.value(found.score) == pytest.approx(values[place], abs=1e-12)
    assert 0 < empty < 100


def test_limits_equal_to_a_sum_include_it_and_no_more():
    graph = build_graph(
        [3, 2],
        [
            [Term((0,), np.array([1.0, 2.0, 3.0]))],
            [Term((0,), np.array([0.1, 0.1, 0.1 + 1e-12])), Term((1,), np.array([0.2, 0.7]))],
        ],
    )
    found = [r.code for r in ranked(graph, 0, [(1, graph.functions[1].floor(0.3))])]
    assert found == [(1, 0), (0, 0)]


@pytest.mark.parametrize("name", ["tiny", "macro-cifar"])
@pytest.mark.parametrize("integer", [True, False])
def test_the_best_distinct_networks_are_those_of_the_list_of_all_codes(
    space_problem, name, integer
):
    space = load_space(name)
    problem = space_problem(space, 3, 4, integer=integer)
    archs = space.decode(problem.codes.astype(np.int16))
    names = {
        tuple(code): space.network_id(arch)
        for code, arch in zip(problem.codes.tolist(), archs, strict=True)
    }
    most = float(np.quantile(problem.values[1], 0.3, method="nearest"))
    expected, seen = [], set()
    for score, code in _listed_best(problem, [(1, most)]):
        if names[code] not in seen:
            seen.add(names[code])
            expected.append((score, code))
    num_codes = int((problem.values[1] <= most + SLACK).sum())
    # identities move to the end of a stage in the one space and cannot in the other
    assert (len(expected) < num_codes) == (name == "macro-cifar")
    limit = (1, problem.graph.functions[1].floor(most))
    for count in (1, 2, 17, len(expected), len(expected) + 1):
        found = best_distinct(ranked(problem.graph, SCORE, [limit]), count, names.__getitem__)
        assert [r.code for r in found] == [code for _, code in expected[:count]]


def test_best_distinct_stops_asking_once_it_has_enough():
    taken = []

    def codes():
        for number in itertools.count():
            taken.append(number)
            yield optimum.Ranked((number,), -number)

    found = best_distinct(codes(), 3, lambda code: code[0] // 2)
    assert [r.code for r in found] == [(0,), (2,), (4,)]
    assert len(taken) == 5


def test_a_score_that_tells_nothing_apart_is_refused_and_not_searched_forever(monkeypatch):
    parts = np.random.default_rng(0).uniform(0.0, 1.0, 14)
    terms = [Term((i,), np.array([0.0, part])) for i, part in enumerate(parts)]
    graph = build_graph([2] * 14, [terms, terms])
    codes = ranked(graph, 0, [(1, graph.functions[1].floor(6.5))])
    monkeypatch.setattr(optimum, "MAX_OPEN", 100)
    with pytest.raises(InfeasibleError, match="more than 100 codes are about equally good"):
        list(codes)


class Solver:
    """HiGHS on the same problem: one binary variable per option of each choice."""

    def __init__(self, sizes):
        self.start = np.concatenate([[0], np.cumsum(sizes)])
        self.one_each = np.zeros((len(sizes), self.start[-1]))
        for choice in range(len(sizes)):
            self.one_each[choice, self.start[choice] : self.start[choice + 1]] = 1

    def row(self, terms):
        row = np.zeros(self.start[-1])
        for term in terms:
            if term.choices:
                first = self.start[term.choices[0]]
                row[first : first + len(term.values)] += term.values
        return row, sum(float(term.values) for term in terms if not term.choices)

    def best(self, score, limits):
        """Return the largest score under ``(terms, most)`` limits, None if there is none."""
        rows, most = [self.one_each], [np.ones(len(self.one_each))]
        for terms, value in limits:
            row, constant = self.row(terms)
            # rows of size 1, so that the solver's feasibility tolerance means the same for all
            rows.append(row[None] / abs(row).max())
            most.append(np.array([(value - constant) / abs(row).max()]))
        upper = np.concatenate(most)
        lower = np.where(np.arange(len(upper)) < len(self.one_each), 1.0, -np.inf)
        row, constant = self.row(score)
        solved = milp(
            -row,
            integrality=np.ones(len(row)),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(np.concatenate(rows), lower, upper),
            options={"mip_rel_gap": 0.0},
        )
        return None if solved.x is None else float(row @ np.round(solved.x)) + constant


PROXYLESS = load_space("proxyless")
PARAMS = counted_terms(PROXYLESS, "params")


def _latency(rng):
    """Random milliseconds of 21 blocks of 6 options and, where it is offered, a free skip."""
    return [
        Term((i,), np.append(rng.uniform(0.5, 4.0, 6), np.zeros(size - 6)))
        for i, size in enumerate(symbol_counts(PROXYLESS))
    ]


@pytest.mark.parametrize("seed", range(12))
def test_two_limits_on_21_blocks_give_the_optimum_that_milp_finds(seed):
    rng = np.random.default_rng(seed)
    sizes = symbol_counts(PROXYLESS)
    latency = _latency(rng)
    score = [Term((i,), rng.normal(0.0, 1.0, size)) for i, size in enumerate(sizes)]
    graph = build_graph(sizes, [score, latency, PARAMS])
    limits = []
    for function, share in ((1, rng.uniform(0.1, 0.6)), (2, rng.uniform(0.1, 0.6))):
        low, high = cheapest(graph, function).score, dearest(graph, function).score
        limits.append(graph.functions[function].value(int(low + share * (high - low))))
    begun = time.perf_counter()
    most = [(f + 1, graph.functions[f + 1].floor(value)) for f, value in enumerate(limits)]
    best = next(ranked(graph, SCORE, most))
    assert time.perf_counter() - begun < 20  # a tenth of a second where nothing else runs
    expected = Solver(sizes).best(score, list(zip((latency, PARAMS), limits, strict=True)))
    assert graph.functions[SCORE].value(best.score) == pytest.approx(expected, abs=1e-6)
    totals = graph.totals(np.array([best.code]))[:, 0]
    assert totals[0] == best.score
    assert (totals[1:] <= [limit for _, limit in most]).all()


@pytest.mark.parametrize("seed", range(3))
def test_opposed_limits_are_told_apart_on_both_sides_of_what_is_possible(seed):
    rng = np.random.default_rng(seed)
    sizes = symbol_counts(PROXYLESS)
    # the smaller a block the slower: only compromises meet both limits
    latency = [
        Term(t.choices, 3.0 * (1 - t.values / t.values.max()) + rng.uniform(0, 0.2, t.values.size))
        for t in PARAMS
        if t.choices
    ]
    graph = build_graph(sizes, [latency, PARAMS])
    most_params = (cheapest(graph, 1).score + dearest(graph, 1).score) // 2
    params_limit = graph.functions[1].value(most_params)
    negative = [Term(t.choices, -t.values) for t in latency]
    fastest_ms = -Solver(sizes).best(negative, [(PARAMS, params_limit)])
    for share, is_possible in ((1.0001, True), (0.9999, False)):
        begun = time.perf_counter()
        limits = [(0, graph.functions[0].floor(share * fastest_ms)), (1, most_params)]
        found = next(ranked(graph, None, limits), None)
        assert (found is not None) == is_possible
        assert time.perf_counter() - begun < 20
