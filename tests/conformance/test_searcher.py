"""What every searcher promises (hwnas.interfaces.Searcher), for all there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hwnas.interfaces import Evaluation, Objective, Searcher, SearchSpace
from hwnas.rng import stream
from hwnas.search.feasible import AdditiveFeasible
from hwnas.search.limits import Limit, LimitedSpace
from hwnas.search.population import ArchSearcher
from hwnas.search.random_search import RandomSearch
from hwnas.search.rl import PolicySearch, PolicySettings
from hwnas.space.catalogue import load_space

SEARCHERS: dict[str, Callable[[LimitedSpace, int], Searcher]] = {
    "random": lambda limited, seed: RandomSearch(limited, limited.limits[0].maximum, seed),
    "rl": lambda limited, seed: _policy_search(limited, seed, PolicySettings()),
    "rl-ppo": lambda limited, seed: _policy_search(limited, seed, PolicySettings(ppo=True)),
}


def _policy_search(limited: LimitedSpace, seed: int, settings: PolicySettings) -> Searcher:
    quick = replace(settings, warmup_steps=10, warmup_draws=128, hidden=8)
    return ArchSearcher(limited.space, PolicySearch(AdditiveFeasible(limited), seed, quick))


@dataclass
class Case:
    """A searcher's maker on a space under a limit on MACs and one on params."""

    limited: LimitedSpace
    make: Callable[[LimitedSpace, int], Searcher]
    num_networks: int | None  # within the limits, where they can be listed

    def searcher(self, seed: int = 0) -> Searcher:
        return self.make(self.limited, seed)


def _networks(space: SearchSpace, limited: LimitedSpace) -> int:
    sizes = [len(choice.options) for choice in space.choices]
    codes = np.indices(sizes).reshape(len(sizes), -1).T
    inside = space.decode(codes[limited.within(codes)].astype(np.int16))
    return len({space.network_id(arch) for arch in inside})


@pytest.fixture(scope="module", params=[
    (searcher, space) for searcher in SEARCHERS for space in ("tiny", "macro-cifar", "proxyless")
], ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    name, space_name = request.param
    space = load_space(space_name)
    free = LimitedSpace(space, (Limit("macs", 1e15), Limit("params", 1e15)), {})
    most = [free.percentiles([0.3], index)[0] for index in (0, 1)]
    limited = LimitedSpace(space, (Limit("macs", most[0]), Limit("params", most[1])), {})
    num_networks = None if space_name == "proxyless" else _networks(space, limited)
    return Case(limited, SEARCHERS[name], num_networks)


def _evaluations(case: Case, archs, seed: int = 0):
    """Scores made up from the network."""
    return [
        Evaluation(
            arch,
            {"top1": Objective(
                float(stream(seed, case.limited.space.network_id(arch)).random()),
                "fraction", "max", "table")},
            {"core_s": 1.0},
        )
        for arch in archs
    ]


def _run(case: Case, counts, seed: int = 0):
    """Ask and tell in batches of these sizes; return all that was asked."""
    searcher, asked = case.searcher(seed), []
    for count in counts:
        archs = searcher.ask(count)
        assert len(archs) <= count
        searcher.tell(_evaluations(case, archs))
        asked += archs
    return asked


def test_what_is_asked_are_checked_architectures_of_the_space(case):
    space = case.limited.space
    for arch in _run(case, [7, 7]):
        assert space.arch(arch.choices) == arch


def test_what_is_asked_meets_all_limits(case):
    space, (macs, params) = case.limited.space, case.limited.limits
    for arch in _run(case, [20, 20]):
        layers = space.layers(arch)
        assert sum(op.macs for op in layers) <= macs.maximum
        assert sum(op.params for op in layers) <= params.maximum


def test_no_network_is_asked_for_twice(case):
    asked = _run(case, [10] * 5)
    assert len(asked) == 50
    assert len({case.limited.space.network_id(arch) for arch in asked}) == 50


def test_the_seed_decides_all_that_is_asked(case):
    first = _run(case, [8] * 4)
    assert _run(case, [8] * 4) == first
    assert _run(case, [8] * 4, seed=1) != first


def test_asking_for_none_gives_none_and_changes_nothing(case):
    assert _run(case, [0]) == []
    assert _run(case, [5, 0, 5]) == _run(case, [5, 5])


def test_one_searcher_does_not_disturb_another(case):
    alone = _run(case, [6, 6])
    one, other = case.searcher(), case.searcher()
    mixed = {id(one): [], id(other): []}
    for _ in range(2):
        for searcher in (one, other):
            archs = searcher.ask(6)
            searcher.tell(_evaluations(case, archs))
            mixed[id(searcher)] += archs
    assert list(mixed.values()) == [alone, alone]


def test_an_exhausted_space_gives_fewer_and_then_none(case):
    if case.num_networks is None:
        # too large to exhaust: there is always one more
        assert len(_run(case, [300])) == 300
        return
    asked = _run(case, [case.num_networks - 1, 50, 50])
    assert len(asked) == case.num_networks
    assert len({case.limited.space.network_id(arch) for arch in asked}) == case.num_networks
