"""What a batch search on scores (combined moves) shares with every searcher, in every space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.combined_moves import CombinedMoves, EliteArchive
from hwnas.search.strategies.population import num_options, random_codes
from hwnas.space.catalogue import load_space

SPACES = ("tiny", "macro-cifar", "proxyless", "nasbench201", "fbnet")


@dataclass
class Scores:
    """Made-up scores of networks; a share of ``failing`` of them has none."""

    space: SearchSpace
    failing: float = 0.0
    source: str = "table"

    def score(self, codes):
        keys = self.space.network_keys(codes)
        weights = stream(0, "scores").normal(size=(keys.shape[1], 64))
        values = weights[np.arange(keys.shape[1]), keys % 64].sum(axis=1)
        return np.where(values * 1e4 % 1 < self.failing, np.nan, values)


@cache
def _feasible(space_name: str) -> AdditiveFeasible:
    """The space under limits on MACs and params that about 3 codes of 10 meet, each."""
    space = load_space(space_name)
    free = AdditiveFeasible(LimitedSpace(space, (Limit("macs", 1e15), Limit("params", 1e15)), {}))
    values = free.metrics(random_codes(space, 4000, stream(0, "conformance")))
    macs, params = np.quantile(values, 0.3, axis=0).tolist()
    return AdditiveFeasible(LimitedSpace(space, (Limit("macs", macs), Limit("params", params)), {}))


def _found(space_name: str, seed: int = 0, failing: float = 0.0) -> EliteArchive:
    feasible = _feasible(space_name)
    return CombinedMoves(feasible, Scores(feasible.space, failing), seed).run(3000)


@pytest.mark.parametrize("space_name", SPACES)
def test_what_is_found_are_distinct_networks_of_the_space_within_all_limits(space_name):
    space, (macs, params) = load_space(space_name), _feasible(space_name).limited.limits
    found = _found(space_name)
    archs = space.decode(found.codes)
    assert len({space.network_id(arch) for arch in archs}) == len(archs) >= 16
    for arch in archs:
        assert space.arch(arch.choices) == arch
        layers = space.layers(arch)
        assert sum(op.macs for op in layers) <= macs.maximum
        assert sum(op.params for op in layers) <= params.maximum
    assert (np.diff(found.scores) <= 0).all()
    np.testing.assert_array_equal(Scores(space).score(found.codes), found.scores)


@pytest.mark.parametrize("space_name", ["macro-cifar", "nasbench201", "fbnet"])
def test_the_seed_decides_what_is_found(space_name):
    first, again, other = (_found(space_name, seed).codes for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    if num_options(load_space(space_name)).prod(dtype=float) > 1e6:
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("space_name", SPACES)
def test_networks_that_fail_are_in_no_answer_and_end_nothing(space_name):
    found = _found(space_name, failing=0.5)
    assert len(found.codes) >= 16
    assert np.isfinite(found.scores).all()
    assert found.num_evaluations >= 3000


def test_an_evaluator_that_scores_nothing_leaves_nothing():
    assert len(_found("tiny", failing=1.0).codes) == 0


@pytest.mark.parametrize("space_name", ["macro-cifar", "nasbench201"])
def test_the_best_network_of_a_small_space_is_found(space_name):
    feasible = _feasible(space_name)
    every = feasible.listed()
    assert every is not None
    best = Scores(feasible.space).score(every).max()
    assert _found(space_name).scores[0] == pytest.approx(best)
