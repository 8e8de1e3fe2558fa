"""Counts, uniform samples and quantiles of windows, against lists of all codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from hwnas.additive import contract as contract_module
from hwnas.additive import grid as grid_module
from hwnas.additive import window as module
from hwnas.additive.graph import Term, build_graph
from hwnas.additive.grid import make_grid, num_codes, unrank
from hwnas.additive.optimum import cheapest, dearest
from hwnas.additive.window import open_window, quantile
from hwnas.errors import InfeasibleError
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

MIN_P = 1e-4  # of a chi-square test with a fixed seed: a wrong sampler fails by far


@pytest.fixture(params=["by rank", "by counts in doubles"])
def coarse(request, monkeypatch):
    """Nothing is listed, and the grid is so coarse that some draws must be refused."""
    monkeypatch.setattr(module, "LISTED_CODES", 0)
    monkeypatch.setattr(module, "LISTED_OF_LARGE", 0)
    monkeypatch.setattr(module, "FIRST_CELLS", 16)
    monkeypatch.setattr(module, "MAX_CELLS", 64)
    monkeypatch.setattr(module, "WIDE_CELLS", (16, 64))
    if request.param == "by counts in doubles":
        monkeypatch.setattr(contract_module, "LARGE", -1)


def _open(problem, low, high, function=0):
    described = problem.graph.functions[function]
    return open_window(problem.graph, function, described.ceil(low), described.floor(high))


def _inside(problem, low, high):
    return (problem.values[0] >= low) & (problem.values[0] <= high)


def _windows(problem, seed, count):
    """Windows between values that codes have: ends included, narrow and wide."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield tuple(sorted(rng.choice(problem.values[0], 2)))


def _p_uniform(problem, inside, samples):
    """The chi-square probability of these samples if uniform over the codes ``inside``."""
    place = {tuple(code): i for i, code in enumerate(problem.codes[inside].tolist())}
    counts = np.zeros(len(place), dtype=int)
    for code in samples.tolist():
        counts[place[tuple(code)]] += 1  # KeyError: a code outside the window
    assert counts.sum() / len(counts) >= 10
    return stats.chisquare(counts).pvalue


@pytest.fixture(params=["tiny", "macro-cifar"])
def enumerable(request, space_problem):
    return space_problem(load_space(request.param), 1)


def test_num_codes_counts_the_allowed_codes(random_problem, nested, enumerable):
    assert num_codes(nested.graph) == len(nested.codes)
    assert num_codes(enumerable.graph) in (4**5, 3**8)
    for seed in range(60):
        problem = random_problem(seed, 2)
        assert num_codes(problem.graph) == len(problem.codes)


def test_a_listed_window_holds_exactly_the_codes_inside(enumerable):
    for low, high in _windows(enumerable, 0, 20):
        window, inside = _open(enumerable, low, high), _inside(enumerable, low, high)
        assert window.num_low == window.num_high == inside.sum()
        assert window.listed.tolist() == enumerable.codes[inside].tolist()
        assert window.acceptance == 1.0


def test_counts_of_windows_of_random_problems_are_exact(random_problem):
    for seed in range(0, 200, 2):  # whole numbers, a third with forbidden combinations
        problem = random_problem(seed, 1)
        for low, high in ((-2.0, 4.0), (3.0, 3.0), (-99.0, 99.0), (4.0, 3.0)):
            window = _open(problem, low, high)
            assert window.num_low == window.num_high == _inside(problem, low, high).sum()


@pytest.mark.usefixtures("coarse")
def test_a_sampled_window_bounds_its_count_and_holds_only_codes_inside(enumerable):
    for low, high in _windows(enumerable, 1, 20):
        window = _open(enumerable, low, high)
        assert window.listed is None
        assert window.num_low <= _inside(enumerable, low, high).sum() <= window.num_high
        values = _values(enumerable, window.sample(200, stream(0, "window")))
        assert len(values) == 200
        assert ((values >= low - 1e-9) & (values <= high + 1e-9)).all()


def _values(problem, samples):
    (totals,) = problem.graph.totals(samples)
    return np.array([problem.graph.functions[0].value(int(total)) for total in totals])


def test_a_grid_whose_cells_divide_all_values_counts_exactly(make_problem):
    problem = make_problem((3, 3, 3), [Term((i,), np.arange(3.0)) for i in range(3)])
    grid = make_grid(problem.graph, 0, 6)
    assert grid.layout.cell == problem.graph.functions[0].scale  # one
    assert (grid.layout.error_low, grid.layout.error_high) == (0, 0)
    counts = [grid.count(total, total) for total in range(-1, 8)]
    assert counts == [0, 1, 3, 6, 7, 6, 3, 1, 0]


def test_samples_of_a_listed_window_are_uniform(space_problem):
    problem = space_problem(load_space("tiny"), 1)
    low, high = np.quantile(problem.values[0], [0.2, 0.6])
    window = _open(problem, low, high)
    assert window.listed is not None
    samples = window.sample(40 * window.num_low, stream(0, "uniform"))
    assert _p_uniform(problem, _inside(problem, low, high), samples) > MIN_P


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("shares", [(0.2, 0.6), (0.9, 0.95), (0.0, 1.0)])
def test_samples_of_a_window_by_rank_and_refusal_are_uniform(space_problem, shares):
    problem = space_problem(load_space("tiny"), 1)
    low, high = np.quantile(problem.values[0], shares)
    window, inside = _open(problem, low, high), _inside(problem, low, high)
    assert window.listed is None
    assert window.num_high > inside.sum() or shares == (0.0, 1.0)
    samples = window.sample(40 * int(inside.sum()), stream(1, "uniform"))
    assert _p_uniform(problem, inside, samples) > MIN_P


def test_listed_samples_are_uniform_with_shared_absent_and_forbidden_symbols(nested):
    low, high = np.quantile(nested.values[0], [0.3, 0.9])
    window, inside = _open(nested, low, high), _inside(nested, low, high)
    assert window.listed is not None
    samples = window.sample(100 * int(inside.sum()), stream(2, "uniform"))
    assert _p_uniform(nested, inside, samples) > MIN_P


@pytest.mark.usefixtures("coarse")
def test_samples_are_uniform_with_shared_absent_and_forbidden_symbols(nested):
    low, high = np.quantile(nested.values[0], [0.3, 0.9])
    window, inside = _open(nested, low, high), _inside(nested, low, high)
    assert window.listed is None
    samples = window.sample(100 * int(inside.sum()), stream(2, "uniform"))
    assert _p_uniform(nested, inside, samples) > MIN_P


def test_ranks_are_those_of_the_codes_in_lexicographic_order(nested, enumerable):
    for problem in (nested, enumerable):
        grid = make_grid(problem.graph, 0, 50)
        everything = grid.layout.superset(-(2**60), 2**60)
        total = grid.count(*everything)
        assert total == len(problem.codes)
        codes = unrank(problem.graph, grid, *everything, np.arange(total))
        assert codes.tolist() == problem.codes.tolist()


def test_at_least_half_of_the_draws_are_accepted_just_below_a_budget(space_problem):
    problem = space_problem(load_space("proxyless"), 1)
    shares = np.array([0.001, 0.01, 0.1, 0.35, 0.5, 0.9, 0.99])
    for budget in quantile(problem.graph, 0, shares):
        window = _open(problem, 0.92 * budget, budget)
        assert window.listed is None
        assert window.acceptance >= 0.5
        values = _values(problem, window.sample(500, stream(0, "budget")))
        assert values.min() >= 0.92 * budget - 1e-9
        assert values.max() <= budget + 1e-9


def test_a_window_between_two_values_is_proved_empty(enumerable):
    values = np.unique(enumerable.values[0])
    wide = int(np.argmax(np.diff(values)))
    gap = values[wide], values[wide + 1]
    windows = [
        (gap[0] + 1e-9, gap[1] - 1e-9),
        (values[0] - 2, values[0] - 1e-9),
        (values[-1] + 1e-9, np.inf),
        (values[5], values[4]),
    ]
    for low, high in windows:
        window = _open(enumerable, low, high)
        assert window.is_empty
        assert (window.num_low, window.num_high, window.acceptance) == (0, 0, 0.0)
        with pytest.raises(InfeasibleError, match="no network lies in the window"):
            window.sample(1, stream(0, "empty"))


def test_a_window_of_one_value_holds_its_codes(enumerable):
    for value in enumerable.values[0][::97]:
        window, inside = _open(enumerable, value, value), _inside(enumerable, value, value)
        assert window.num_low == window.num_high == inside.sum() >= 1
        assert window.listed.tolist() == enumerable.codes[inside].tolist()


@pytest.mark.usefixtures("coarse")
def test_a_window_too_narrow_for_the_grid_is_an_error_and_not_an_endless_loop(space_problem):
    problem = space_problem(load_space("tiny"), 1)
    values = np.unique(problem.values[0])
    place = len(values) // 2
    window = _open(problem, values[place] + 1e-9, values[place + 1] - 1e-9)
    assert not window.is_empty  # the coarse grid cannot prove it
    assert window.num_low == 0
    with pytest.raises(InfeasibleError, match=r"too narrow to sample: .* Next: widen it"):
        window.sample(2, stream(0, "narrow"))


def test_no_samples_are_codes_of_no_rows(space_problem):
    problem = space_problem(load_space("proxyless"), 1)
    least = problem.graph.functions[0].value(cheapest(problem.graph, 0).score)
    for (low, high), is_listed in (((40.0, 50.0), False), ((0.0, least), True)):
        window = _open(problem, low, high)
        assert (window.listed is not None) == is_listed
        assert window.sample(0, stream(0, "none")).shape == (0, 21)


def test_samples_depend_on_the_generator_alone(space_problem):
    problem = space_problem(load_space("proxyless"), 1)
    budget = float(quantile(problem.graph, 0, np.array([0.5]))[0])
    first, again = (_open(problem, 0.9 * budget, budget) for _ in range(2))
    samples = first.sample(50, stream(3, "samples"))
    assert (again.sample(50, stream(3, "samples")) == samples).all()
    assert (first.sample(50, stream(4, "samples")) != samples).any()
    generator = stream(3, "samples")
    assert (first.sample(50, generator) == samples).all()
    assert (first.sample(50, generator) != samples).any()


@pytest.fixture(scope="module")
def huge():
    """9 options in 22 layers, more codes than 2**62; only the first three layers cost anything."""
    rng = np.random.default_rng(0)
    costs = [rng.uniform(1.0, 3.0, 9) for _ in range(3)] + [np.zeros(9)] * 19
    return build_graph([9] * 22, [[Term((i,), values) for i, values in enumerate(costs)]])


def test_more_codes_than_an_int64_holds_are_counted_exactly(huge):
    assert num_codes(huge) == 9**22 > 2**63
    costs = [step.weights[0][0] for step in huge.steps[:3]]
    triples = np.array([a + b + c for a, b, c in itertools.product(*costs)])
    for share in (0.0, 0.1, 0.5, 1.0):
        most = int(np.quantile(triples, share, method="nearest"))
        window = open_window(huge, 0, 0, most)
        exact = int((triples <= most).sum()) * 9**19
        assert window.num_low <= exact <= window.num_high
        assert window.num_high - window.num_low <= 9**19 * 20


def test_samples_are_uniform_over_more_codes_than_an_int64_holds(huge):
    costs = [step.weights[0][0] for step in huge.steps[:3]]
    triples = np.array([a + b + c for a, b, c in itertools.product(*costs)])
    low, high = np.quantile(triples, [0.3, 0.6]).astype(int).tolist()
    window = open_window(huge, 0, low, high)
    samples = window.sample(30_000, stream(0, "huge"))
    inside = (triples >= low) & (triples <= high)
    counts = np.bincount(samples[:, :3] @ [81, 9, 1], minlength=729)
    assert counts[~inside].sum() == 0
    assert stats.chisquare(counts[inside]).pvalue > MIN_P
    for layer in range(3, 22):  # what costs nothing is free
        assert stats.chisquare(np.bincount(samples[:, layer], minlength=9)).pvalue > MIN_P
    assert (
        open_window(huge, 0, low, high).sample(30, stream(1, "huge"))
        == open_window(huge, 0, low, high).sample(30, stream(1, "huge"))
    ).all()


SHARES = np.array([0.0, 0.01, 0.05, 0.1, 0.25, 0.35, 0.5, 0.65, 0.75, 0.9, 0.99, 1.0])


def test_quantiles_of_listed_spaces_are_numpys(enumerable, nested):
    for problem in (enumerable, nested):
        expected = np.percentile(problem.values[0], 100 * SHARES, method="inverted_cdf")
        assert quantile(problem.graph, 0, SHARES) == pytest.approx(expected, rel=1e-12)


def test_quantiles_on_the_grid_are_numpys_to_its_resolution(enumerable, nested, monkeypatch):
    monkeypatch.setattr(module, "LISTED_CODES", 0)
    for problem in (enumerable, nested):
        expected = np.percentile(problem.values[0], 100 * SHARES, method="inverted_cdf")
        tolerance = 1e-4 * np.ptp(problem.values[0])
        assert quantile(problem.graph, 0, SHARES) == pytest.approx(expected, abs=tolerance)


def test_quantiles_of_a_space_too_large_to_list_split_random_codes(space_problem):
    problem = space_problem(load_space("proxyless"), 2)
    rng = np.random.default_rng(0)
    count = 100_000
    codes = np.stack([rng.integers(size, size=count) for size in problem.sizes], axis=1)
    values = _values(problem, codes)
    inner = SHARES[1:-1]
    for share, value in zip(inner, quantile(problem.graph, 0, inner), strict=True):
        deviation = np.sqrt(share * (1 - share) / count)
        assert (values <= value).mean() == pytest.approx(share, abs=5 * deviation + 1e-4)


@pytest.mark.parametrize("make", ["proxyless", "huge"])
def test_the_outer_quantiles_are_the_ends_however_few_codes_lie_there(
    make, space_problem, huge, request
):
    graph = huge if make == "huge" else space_problem(load_space("proxyless"), 2).graph
    low, high = cheapest(graph, 0).score, dearest(graph, 0).score
    ends = [graph.functions[0].value(end) for end in (low, high)]
    found = quantile(graph, 0, np.array([0.0, 1.0]))
    assert found == pytest.approx(ends, abs=1e-4 * (ends[1] - ends[0]))


@pytest.mark.parametrize(
    "values",
    [
        [[np.nan, np.nan], [1.0, 2.0]],  # a choice without an option
        [[np.nan, np.nan], [np.nan, np.nan]],
    ],
)
def test_a_problem_without_any_code_is_empty_and_no_crash(make_problem, values):
    terms = [Term((i,), np.array(v)) for i, v in enumerate(values)]
    _assert_no_code(make_problem((2, 2), terms))
    # every option is left by one term, and no code by all
    pair = Term((0, 1), np.array([[np.nan, 1.0], [np.nan, 2.0]]))
    _assert_no_code(make_problem((2, 2), [pair, Term((1,), np.array([1.0, np.nan]))]))


def _assert_no_code(problem):
    assert num_codes(problem.graph) == len(problem.codes) == 0
    assert open_window(problem.graph, 0, -100, 2**51).is_empty
    with pytest.raises(InfeasibleError, match="no network is allowed"):
        quantile(problem.graph, 0, np.array([0.5]))


def test_a_grid_beyond_memory_is_refused_before_it_is_made(monkeypatch):
    graph = build_graph((3,) * 12, [[Term((i,), np.arange(3.0) * 1.1**i) for i in range(12)]])
    monkeypatch.setattr(module, "LISTED_CODES", 10)
    assert not open_window(graph, 0, 0, 2**40).is_empty
    monkeypatch.setattr(grid_module, "MAX_COUNTS", 1000)
    with pytest.raises(InfeasibleError, match=r"counts to keep.*cannot be sampled"):
        open_window(graph, 0, 0, 2**40)
