"""Random search: every network within the budget once, those just below it first."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import InfeasibleError
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.space.catalogue import load_space

MACRO = load_space("macro-cifar")


@pytest.fixture(scope="module")
def predictor(make_predictor):
    return make_predictor(MACRO)


@pytest.fixture(scope="module")
def all_ms(predictor):
    """Latency of every network of the space, by network_id."""
    codes = np.indices((3,) * 8).reshape(8, -1).T.astype(np.int16)
    return dict(
        zip(map(MACRO.network_id, MACRO.decode(codes)), predictor.predict_ms(codes), strict=True)
    )


def _search(predictor, budget_ms, seed=0, **kwargs):
    limited = LimitedSpace(MACRO, (Limit("latency_ms", budget_ms, "t"),), {"t": predictor})
    return RandomSearch(AdditiveFeasible(limited), seed, **kwargs)


def _asked(search, count):
    return MACRO.decode(search.ask_codes(count))


def test_a_space_is_exhausted_with_every_network_within_the_budget_once(predictor, all_ms):
    budget = float(np.quantile(list(all_ms.values()), 0.1))
    search = _search(predictor, budget)
    asked = [MACRO.network_id(arch) for arch in _asked(search, 10_000)]
    inside = {network_id for network_id, ms in all_ms.items() if ms <= budget}
    assert len(asked) == len(set(asked))
    assert set(asked) == inside
    assert 100 < len(inside) < len(all_ms)
    assert len(search.ask_codes(1)) == 0


def test_networks_just_below_the_budget_come_first(predictor, all_ms):
    budget = float(np.quantile(list(all_ms.values()), 0.1))
    for low_share in (0.75, 0.9):
        asked = _asked(_search(predictor, budget, low_share=low_share), 10_000)
        is_near = [all_ms[MACRO.network_id(arch)] >= low_share * budget for arch in asked]
        num_near = sum(low_share * budget <= ms <= budget for ms in all_ms.values())
        assert is_near == sorted(is_near, reverse=True)
        assert sum(is_near) == num_near < len(asked)


def test_asking_in_parts_gives_the_same_as_asking_at_once_whatever_is_told(predictor, all_ms):
    budget = float(np.median(list(all_ms.values())))
    at_once = _asked(_search(predictor, budget), 160)
    search, in_parts = _search(predictor, budget), []
    for count in (1, 0, 9, 50, 100):
        codes = search.ask_codes(count)
        in_parts += MACRO.decode(codes)
        search.tell_codes(codes, np.zeros((len(codes), 1)))
    assert in_parts == at_once
    assert len(at_once) == 160
    assert _asked(_search(predictor, budget, seed=1), 160) != at_once


def test_a_budget_above_every_network_gives_the_whole_space(predictor, all_ms):
    for budget in (max(all_ms.values()), 1e9):
        asked = _asked(_search(predictor, float(budget)), 10_000)
        assert {MACRO.network_id(arch) for arch in asked} == set(all_ms)


def test_below_the_fastest_network_there_is_nothing_to_ask(predictor, all_ms):
    fastest = min(all_ms.values())
    with pytest.raises(InfeasibleError):
        _search(predictor, 0.9 * fastest).ask_codes(5)
    assert len(_search(predictor, fastest).ask_codes(5)) == 1
