"""Multiply-accumulates of codes are those of their networks; searches prefer what does most."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.rng import stream
from hwnas.search.evolution import POOL, Evolution
from hwnas.search.feasible import ListedFeasible
from hwnas.search.population import History, offspring, random_codes, search_codes
from hwnas.search.work import Work
from hwnas.space.catalogue import CATALOGUE, load_space

TINY = load_space("tiny")
ALL_TINY = np.indices((4, 4, 4, 4, 4)).reshape(5, -1).T.astype(np.int16)


@pytest.fixture(scope="module")
def anything():
    """All of `tiny`, each code as fast as any other."""
    return ListedFeasible(TINY, np.ones((1, 4, 4, 4, 4, 4)), np.array([1.0]))


@pytest.mark.parametrize("name", CATALOGUE)
def test_macs_are_those_of_the_layers(name):
    space = load_space(name)
    codes = random_codes(space, 20, stream(0, "test work"))
    expected = [sum(op.macs for op in space.layers(arch)) for arch in space.decode(codes)]
    np.testing.assert_allclose(Work(space).macs(codes), expected, rtol=1e-12)


def test_most_are_the_busiest_in_falling_order():
    work = Work(TINY)
    chosen = work.macs(work.most(ALL_TINY, 7))
    np.testing.assert_array_equal(chosen, np.sort(work.macs(ALL_TINY))[::-1][:7])


def test_a_child_has_the_fewest_changes_and_does_most_work(anything):
    work, history = Work(TINY), History(TINY)
    mothers = np.tile(ALL_TINY[345], (60, 1))
    with_work = offspring(anything, history, mothers, mothers, 0.0, stream(1, "test"), work)
    without = offspring(anything, history, mothers, mothers, 0.0, stream(1, "test"))
    assert ((with_work != ALL_TINY[345]).sum(axis=1) == 1).all()
    # 48 proposals of each of the pairs hold nearly all of the 15 single changes: all pairs agree
    # on the busiest one, and of equal children one is kept
    assert len(with_work) < len(without)
    assert work.macs(with_work).max() >= work.macs(without).max()


def test_evolution_begins_with_the_busiest_of_several_times_as_many(anything):
    first = np.concatenate([Evolution(anything, seed).ask_codes(20) for seed in range(20)])
    macs, every = Work(TINY).macs(first), np.sort(Work(TINY).macs(ALL_TINY))
    # the best 1 of POOL of a uniform sample are above the (1 - 1 / POOL) quantile, nearly all
    assert (macs > every[int(len(every) * (1 - 1 / POOL) * 0.8)]).mean() > 0.95


def test_preferring_work_costs_little_where_it_tells_nothing(anything):
    """On scores that fall with work evolution still comes to the best of 1,024 codes."""
    scores = -Work(TINY).macs(ALL_TINY)
    place = {code.tobytes(): value for code, value in zip(ALL_TINY, scores, strict=True)}
    found = [search_codes(Evolution(anything, seed),
                          lambda codes: np.array([place[code.tobytes()] for code in codes]),
                          150, batch=10)[1].max() for seed in range(5)]
    assert np.median(found) == scores.max()
