"""Sums on the graph are the sums of the terms, and limits are exact where doubles are not."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.additive.graph import (
    UNREACHABLE,
    Term,
    build_graph,
    smallest_so_far,
    smallest_to_go,
)


def test_totals_are_the_sums_of_the_terms_of_every_allowed_code(random_problem):
    for seed in range(100):
        problem = random_problem(seed, 2)
        totals = problem.graph.totals(problem.codes)
        for function, sums, expected in zip(
            problem.graph.functions, totals, problem.values, strict=True
        ):
            values = [function.value(int(total)) for total in sums]
            assert values == pytest.approx(expected.tolist(), abs=1e-12)


def test_whole_numbers_are_held_exactly(random_problem):
    for seed in range(0, 60, 2):
        problem = random_problem(seed, 2)
        totals = problem.graph.totals(problem.codes)
        for function, sums, expected in zip(
            problem.graph.functions, totals, problem.values, strict=True
        ):
            assert [function.value(int(total)) for total in sums] == expected.tolist()


def test_a_code_is_a_path_of_allowed_edges_exactly_when_no_term_forbids_it(random_problem):
    for seed in range(0, 120, 3):
        problem = random_problem(seed, 2)
        graph, allowed = problem.graph, {tuple(code) for code in problem.codes.tolist()}
        for code in np.ndindex(problem.sizes):
            state, is_path = 0, True
            for step, symbol in zip(graph.steps, code, strict=True):
                is_path &= bool(step.allowed[state, symbol])
                state = step.next_state[state, symbol]
            assert is_path == (code in allowed)
            assert state == 0


def test_an_infinity_forbids_as_nan_does(make_problem):
    values = np.array([[1.0, np.inf], [-np.inf, np.nan]])
    problem = make_problem((2, 2), [Term((0, 1), values)])
    assert [step.allowed.sum() for step in problem.graph.steps] == [2, 1]


def test_a_chain_has_one_state_a_layer_and_a_shared_choice_as_many_as_it_has_symbols(
    make_problem, nested
):
    chain = make_problem((3, 4, 2), [Term((i,), np.ones(n)) for i, n in enumerate((3, 4, 2))])
    assert [chain.graph.num_states(step) for step in range(4)] == [1, 1, 1, 1]
    # resolution; then with the depth; block1 needs no memory; depth is over with block3
    assert [nested.graph.num_states(step) for step in range(6)] == [1, 3, 9, 9, 9, 1]


def test_absent_symbols_cost_what_the_last_entry_of_an_axis_says(nested):
    assert len(nested.codes) == 3 * (3 + 3 * 3 + 3 * 3 * 3)
    depth, blocks = nested.codes[:, 1] + 1, nested.codes[:, 2:]
    for block in (2, 3):
        assert ((blocks[:, block - 1] == 3) == (depth < block)).all()
    # -1, as Codes spell absence, indexes the same entry
    spelt = np.where((nested.codes == 3) & (np.arange(5) > 2), -1, nested.codes).T
    looked_up = sum(t.values[tuple(spelt[c] for c in t.choices)] for t in nested.functions[0])
    (totals,) = nested.graph.totals(nested.codes)
    assert totals / nested.graph.functions[0].scale == pytest.approx(looked_up)


def test_a_limit_equal_to_an_attainable_sum_is_met_although_doubles_say_otherwise():
    assert 0.1 + 0.2 > 0.3
    graph = build_graph(
        [2, 2], [[Term((0,), np.array([0.1, 0.1 + 1e-12])), Term((1,), np.array([0.2, 5.0]))]]
    )
    function = graph.functions[0]
    exact, above = graph.totals(np.array([[0, 0], [1, 0]]))[0]
    assert exact <= function.floor(0.3) < above
    assert function.ceil(0.3) <= exact
    assert function.ceil(0.3 + 1e-12) > exact


def test_sums_of_many_small_parts_meet_the_limit_written_in_decimal():
    graph = build_graph([1] * 30, [[Term((i,), np.array([0.1])) for i in range(30)]])
    (total,) = graph.totals(np.zeros((1, 30), dtype=np.int64))[0]
    function = graph.functions[0]
    assert sum([0.1] * 30) != 3.0
    assert function.ceil(3.0) <= total <= function.floor(3.0)
    assert function.floor(3.0 - 1e-12) < total < function.ceil(3.0 + 1e-12)


@pytest.mark.parametrize("size", [4_000_003, 10**9 + 7, 10**12 + 39])
def test_counts_are_exact_to_the_last_unit(size):
    parts = [Term((i,), np.array([size, size + 1])) for i in range(21)]
    graph = build_graph([2] * 21, [[*parts, Term((), np.array(5.0))]])
    function = graph.functions[0]
    codes = np.tril(np.ones((22, 21), dtype=np.int64), k=-1)  # 0, 1, .. 21 ones
    for ones, total in enumerate(graph.totals(codes)[0].tolist()):
        exact = 21 * size + ones + 5
        assert function.value(total) == exact
        assert function.ceil(exact) <= total <= function.floor(exact)
        assert function.floor(exact - 1) < total < function.ceil(exact + 1)


@pytest.mark.parametrize("value", [1e9, 1e30, float("inf")])
def test_limits_far_beyond_every_sum_keep_all_codes_or_none(value):
    graph = build_graph([2], [[Term((0,), np.array([1e-3, 2e-3])), Term((), np.array(-1e-3))]])
    function, totals = graph.functions[0], graph.totals(np.array([[0], [1]]))[0]
    assert totals.max() <= function.floor(value) < 2**60
    assert totals.min() >= function.ceil(-value) > -(2**60)
    assert totals.min() > function.floor(-value)
    assert totals.max() < function.ceil(value)


def test_smallest_sums_to_go_and_so_far_are_those_over_all_codes(random_problem):
    for seed in range(60):
        problem = random_problem(seed, 1)
        graph = problem.graph
        weights = [step.weights[0] for step in graph.steps]
        to_go, so_far = smallest_to_go(graph, weights), smallest_so_far(graph, weights)
        sums = graph.totals(problem.codes)[0]
        least = sums.min() if len(sums) else None
        if least is None:
            assert to_go[0][0] >= UNREACHABLE
            continue
        assert to_go[0][0] == so_far[-1][0] == least
        # every code passes one state of a layer; the best through any of them is the best of all
        for number in range(len(weights) + 1):
            assert (to_go[number] + so_far[number]).min() == least
