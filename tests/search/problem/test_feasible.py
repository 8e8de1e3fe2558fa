"""Limits as arrays against listing the whole space; draws are uniform; what is missing is out."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import InfeasibleError
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible, ListedFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")
ALL_TINY = np.indices((4,) * 5).reshape(5, -1).T.astype(np.int16)


@pytest.fixture(scope="module")
def predictor(make_predictor):
    return make_predictor(TINY)


def _params(codes):
    return np.array(
        [sum(op.params for op in TINY.layers(arch)) for arch in TINY.decode(codes)], dtype=float
    )


@pytest.fixture(scope="module")
def both(predictor):
    """The same two limits, as sums and as a list: latency and params."""
    values = np.stack([predictor.predict_ms(ALL_TINY), _params(ALL_TINY)])
    maxima = np.quantile(values, 0.6, axis=1)
    limits = (Limit("latency_ms", maxima[0], "t"), Limit("params", maxima[1]))
    additive = AdditiveFeasible(LimitedSpace(TINY, limits, {"t": predictor}))
    listed = ListedFeasible(TINY, values.reshape(2, *(4,) * 5), maxima)
    return values, maxima, {"additive": additive, "listed": listed}


@pytest.fixture(params=["additive", "listed"])
def case(both, request):
    values, maxima, made = both
    return values, maxima, made[request.param]


def test_metrics_and_what_is_within_are_those_of_the_whole_list(case):
    values, maxima, feasible = case
    np.testing.assert_allclose(feasible.metrics(ALL_TINY), values.T, rtol=1e-9)
    inside = (values <= maxima[:, None] * (1 + 1e-12)).all(axis=0)
    np.testing.assert_array_equal(feasible.within(ALL_TINY), inside)
    np.testing.assert_array_equal(feasible.listed(), ALL_TINY[inside])
    np.testing.assert_array_equal(feasible.maxima, maxima)
    assert inside.sum() <= feasible.num_codes <= len(ALL_TINY)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.75, 1.0), (0.5, 0.7)])
def test_samples_are_uniform_over_the_window_within_all_limits(case, low, high):
    values, maxima, feasible = case
    inside = feasible.within(ALL_TINY)
    inside &= (low * maxima[0] <= values[0]) & (values[0] <= high * maxima[0])
    draws = feasible.sample(40 * inside.sum(), stream(0, "feasible"), low, high)
    places = np.ravel_multi_index(tuple(draws.T), (4,) * 5)
    counts = np.bincount(places, minlength=len(ALL_TINY))
    assert counts[~inside].sum() == 0
    chi2 = ((counts[inside] - 40) ** 2 / 40).sum()
    assert abs(chi2 - inside.sum()) < 6 * np.sqrt(2 * inside.sum())


def test_an_empty_window_reaches_down_to_what_there_is(case):
    values, _, feasible = case
    fastest = values[0].min()
    for low, high in ((0.0, 0.0), (1e-9, 2e-9)):
        draws = feasible.sample(5, stream(0, "feasible"), low, high)
        assert feasible.within(draws).all()
    tight = ListedFeasible(TINY, values[:1].reshape(1, *(4,) * 5), np.array([fastest]))
    assert (tight.metrics(tight.sample(3, stream(0, "feasible"), 0.75)) == fastest).all()


def test_limits_nobody_meets_are_an_error(both, predictor):
    values, _, _ = both
    most = np.array([values[0].min() * 0.9])
    with pytest.raises(InfeasibleError, match="no network of tiny meets all limits"):
        ListedFeasible(TINY, values[:1].reshape(1, *(4,) * 5), most)
    limits = (Limit("latency_ms", float(most[0]), "t"),)
    with pytest.raises(InfeasibleError, match="no network of tiny meets latency_ms"):
        AdditiveFeasible(LimitedSpace(TINY, limits, {"t": predictor})).sample(
            1, stream(0, "feasible")
        )


def test_values_of_another_shape_are_an_error():
    with pytest.raises(ValueError, match=r"must have the shape \(1, 4, 4, 4, 4, 4\)"):
        ListedFeasible(TINY, np.zeros((1, 4, 4)), np.ones(1))


def test_a_code_without_a_value_is_not_within(both, make_predictor):
    values, maxima, _ = both
    lost = values[:1].reshape(1, *(4,) * 5).copy()
    lost[0, 2] = np.nan
    op = TINY.layers(TINY.decode(np.array([[2, 0, 0, 0, 0]], dtype=np.int16))[0])[1]
    limits = (Limit("latency_ms", maxima[0], "t"),)
    restricted = LimitedSpace(TINY, limits, {"t": make_predictor(TINY, without=[op])})
    for feasible in (ListedFeasible(TINY, lost, maxima[:1]), AdditiveFeasible(restricted)):
        with_it = ALL_TINY[ALL_TINY[:, 0] == 2]
        assert not feasible.within(with_it).any()
        assert np.isnan(feasible.metrics(with_it)).all()
        assert not (feasible.sample(500, stream(0, "feasible"))[:, 0] == 2).any()
        assert not (feasible.listed()[:, 0] == 2).any()


def test_large_spaces_are_sampled_but_not_listed():
    space = load_space("proxyless")
    free = LimitedSpace(space, (Limit("macs", 1e15), Limit("params", 1e15)), {})
    most = [free.percentiles([0.3], index)[0] for index in (0, 1)]
    limits = (Limit("macs", most[0]), Limit("params", most[1]))
    feasible = AdditiveFeasible(LimitedSpace(space, limits, {}))
    assert feasible.listed() is None
    assert feasible.num_codes > 1e15
    codes = feasible.sample(300, stream(0, "feasible"), 0.75)
    assert codes.shape == (300, 21)
    assert feasible.within(codes).all()
    assert (feasible.metrics(codes)[:, 0] >= 0.75 * most[0] * (1 - 1e-9)).all()
