"""Multiply-accumulates of codes are those of their networks; searches prefer what does most."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import POOL, MacsPrior
from hwnas.search.problem.feasible import AdditiveFeasible, ListedFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.evolution import Evolution
from hwnas.search.strategies.population import (
    History,
    offspring,
    random_codes,
    search_codes,
)
from hwnas.space.catalogue import SPACES, load_space

TINY, CELLS = load_space("tiny"), load_space("nasbench201")
ALL_TINY = np.indices((4, 4, 4, 4, 4)).reshape(5, -1).T.astype(np.int16)


@pytest.fixture(scope="module")
def anything():
    """All of `tiny`, each code as fast as any other."""
    return ListedFeasible(TINY, np.ones((1, 4, 4, 4, 4, 4)), np.array([1.0]))


@pytest.mark.parametrize("name", SPACES)
def test_macs_are_those_of_the_layers(name):
    space = load_space(name)
    free = AdditiveFeasible(LimitedSpace(space, (Limit("params", 1e15),), {}))
    codes = random_codes(space, 20, stream(0, "test work"))
    expected = [sum(op.macs for op in space.layers(arch)) for arch in space.decode(codes)]
    np.testing.assert_allclose(MacsPrior(free).macs(codes), expected, rtol=1e-12)


def test_most_are_the_busiest_in_falling_order(anything):
    work = MacsPrior(anything)
    chosen = work.macs(work.most(ALL_TINY, 7))
    np.testing.assert_array_equal(chosen, np.sort(work.macs(ALL_TINY))[::-1][:7])


def test_a_child_has_the_fewest_changes_and_does_most_work(anything):
    work, history = MacsPrior(anything), History(TINY)
    mothers = np.tile(ALL_TINY[345], (60, 1))
    with_work = offspring(anything, history, mothers, mothers, 0.0, stream(1, "test"), work, 1.0)
    without = offspring(anything, history, mothers, mothers, 0.0, stream(1, "test"), work, 0.0)
    assert ((with_work != ALL_TINY[345]).sum(axis=1) == 1).all()
    # 48 proposals of each of the pairs hold nearly all of the 15 single changes: all pairs agree
    # on the top_by_macs one, and of equal children one is kept
    assert len(with_work) < len(without)
    assert work.macs(with_work).max() >= work.macs(without).max()


def test_evolution_begins_with_the_busiest_of_several_times_as_many(anything):
    searches = [Evolution(anything, seed, prior=MacsPrior(anything, seed)) for seed in range(20)]
    first = np.concatenate([search.ask_codes(20)[2:] for search in searches])
    macs, every = MacsPrior(anything).macs(first), np.sort(MacsPrior(anything).macs(ALL_TINY))
    # the best 1 of POOL of a uniform sample are above the (1 - 1 / POOL) quantile, nearly all
    assert (macs > every[int(len(every) * (1 - 1 / POOL) * 0.8)]).mean() > 0.95


def test_agreement_is_the_share_of_pairs_that_work_orders(anything):
    codes = ALL_TINY[::37]
    macs = MacsPrior(anything).macs(codes)
    scores = macs + stream(2, "test").normal(0, macs.std(), size=len(macs))
    i, j = np.triu_indices(len(codes), 1)
    different = macs[i] != macs[j]
    share = ((macs[i] > macs[j]) == (scores[i] > scores[j]))[different].mean()
    assert MacsPrior(anything).concordance(codes, scores) == pytest.approx(share, abs=0.01)
    assert MacsPrior(anything).concordance(codes, macs) == pytest.approx(1.0)
    assert MacsPrior(anything).concordance(codes, -macs) == pytest.approx(0.0)
    for few in (codes[:0], codes[:1]):
        assert MacsPrior(anything).concordance(few, np.zeros(len(few))) == 0.5
    assert MacsPrior(anything).concordance(codes, np.zeros(len(codes))) == 0.5


def test_a_guess_that_is_wrong_is_given_up(anything):
    """Where scores fall with work evolution still comes to the best of 1,024 codes."""
    scores = -MacsPrior(anything).macs(ALL_TINY)
    place = {code.tobytes(): value for code, value in zip(ALL_TINY, scores, strict=True)}
    found = [
        search_codes(
            Evolution(anything, seed, prior=MacsPrior(anything, seed)),
            lambda codes: np.array([place[code.tobytes()] for code in codes]),
            150,
            batch=10,
        )[1].max()
        for seed in range(5)
    ]
    assert np.median(found) == scores.max()


def test_the_busiest_within_limits_are_exact_whatever_knows_the_limits():
    limited = LimitedSpace(TINY, (Limit("params", 9e4), Limit("macs", 2e6)), {})
    additive = AdditiveFeasible(limited)
    inside = ALL_TINY[additive.within(ALL_TINY)]
    assert 50 < len(inside) < 800
    values = np.where(additive.within(ALL_TINY), 1.0, 2.0).reshape(1, 4, 4, 4, 4, 4)
    listed = ListedFeasible(TINY, values, np.array([1.0]))
    first = np.unique(TINY.network_keys(inside), axis=0, return_index=True)[1]
    expected = np.sort(MacsPrior(additive).macs(inside[first]))[::-1][:9]
    for feasible in (additive, listed):
        codes = feasible.top_by_macs(9, stream(3, "test"))
        assert additive.within(codes).all()
        np.testing.assert_array_equal(MacsPrior(feasible).macs(codes), expected)


@pytest.mark.parametrize("batch", [1, 7, 10, 64])
def test_every_tenth_network_is_the_busiest_not_yet_asked_for(anything, batch):
    work, history = MacsPrior(anything), History(TINY)
    every, found = ALL_TINY[stream(4, "test").permutation(len(ALL_TINY))], []
    while history.num_asked < 200:
        due = history.ask(work.due(history, batch, batch))
        found.append(due)
        others = every[history.fresh(every)]
        history.ask(others[: batch - len(due)])
    found = np.concatenate(found)
    assert len(found) == -(-history.num_asked // 10)
    # top_by_macs first; those that came by chance before are left out
    assert (np.diff(work.macs(found)) <= 0).all()
    assert work.macs(found)[0] == work.macs(ALL_TINY).max()


def test_what_is_given_to_start_from_comes_first(anything):
    asked = Evolution(anything, 0, start=ALL_TINY[:3], prior=MacsPrior(anything)).ask_codes(20)
    np.testing.assert_array_equal(asked[:3], ALL_TINY[:3])
    macs = MacsPrior(anything).macs(ALL_TINY)
    np.testing.assert_array_equal(MacsPrior(anything).macs(asked[3:5]), np.sort(macs)[::-1][:2])


def test_of_networks_that_are_equally_busy_each_may_come_first():
    limited = LimitedSpace(CELLS, (Limit("macs", 3e7),), {})
    firsts = [
        AdditiveFeasible(limited).top_by_macs(1, stream(seed, "test"))[0] for seed in range(20)
    ]
    macs = MacsPrior(AdditiveFeasible(limited)).macs(np.stack(firsts))
    assert (macs == macs[0]).all()
    assert len(np.unique(firsts, axis=0)) > 3
