"""What every searcher promises (hwnas.protocols.Searcher), for all there are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hwnas.protocols import CodeSearcher, Evaluation, Objective, Searcher, SearchSpace
from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem import feasible
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.evolution import Evolution
from hwnas.search.strategies.local_search import LocalSearch
from hwnas.search.strategies.nsga2 import Nsga2
from hwnas.search.strategies.population import ArchSearcher, random_codes
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.search.strategies.registry import STRATEGIES, AskTellStrategy, SearchProblem
from hwnas.search.strategies.rl import PolicySearch, PolicySettings, PriorSettings
from hwnas.search.strategies.surrogate import Surrogate
from hwnas.space.catalogue import load_space


def _codes(make: Callable[..., CodeSearcher]) -> Callable[[LimitedSpace, int], Searcher]:
    """A searcher on codes, as one of architectures."""
    return lambda limited, seed: ArchSearcher(
        limited.space, make(_feasible(limited.space.name), seed)
    )


def _of_plugin(entry: AskTellStrategy, within: AdditiveFeasible, seed: int) -> CodeSearcher:
    """The searcher of a plugin's strategy, with the defaults of its settings."""
    schema = entry.settings_schema()
    settings = None if schema is None else schema()
    return entry.searcher(SearchProblem(within, seed, evaluations=100, settings=settings))


SEARCHERS: dict[str, Callable[[LimitedSpace, int], Searcher]] = {
    "random": _codes(RandomSearch),
    "evolution": _codes(Evolution),
    "evolution-prior": _codes(
        lambda within, seed: Evolution(within, seed, prior=MacsPrior(within, seed))
    ),
    "local": _codes(LocalSearch),
    "nsga2": _codes(Nsga2),
    "evolution-surrogate": _codes(
        lambda within, seed: Surrogate(
            within, Evolution(within, seed), seed, prior=MacsPrior(within)
        )
    ),
    "rl": _codes(PolicySearch),
    "rl-prior": _codes(lambda within, seed: _policy_search(within, seed, PolicySettings())),
    "rl-ppo": _codes(lambda within, seed: _policy_search(within, seed, PolicySettings(ppo=True))),
}
SEARCHERS |= {
    name: _codes(functools.partial(_of_plugin, entry))
    for name, entry in STRATEGIES.items()
    if STRATEGIES.origin(name) is not None and isinstance(entry, AskTellStrategy)
}
SPACES = ("tiny", "macro-cifar", "proxyless", "nasbench201", "fbnet", "mobile")
LEARNING = {
    "evolution": ("tiny", "nasbench201", "fbnet"),
    "evolution-surrogate": ("tiny", "nasbench201", "mobile"),
    "rl": ("tiny", "nasbench201"),
    "rl-prior": ("tiny", "fbnet"),
    "rl-ppo": ("tiny", "nasbench201"),
}
"""Searchers that learn take most of the time: one space of each kind shows them all. A controller
of 250 choices (mobile) would take minutes."""


def _policy_search(within: AdditiveFeasible, seed: int, settings: PolicySettings) -> CodeSearcher:
    return PolicySearch(
        within,
        seed,
        replace(settings, hidden=8),
        prior=MacsPrior(within, seed),
        prior_settings=PriorSettings(warmup_steps=10, warmup_draws=128),
    )


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


@functools.cache
def _limited(space_name: str) -> LimitedSpace:
    """The space under limits on MACs and params that about 3 codes of 10 meet, each."""
    space = load_space(space_name)
    free = AdditiveFeasible(LimitedSpace(space, (Limit("macs", 1e15), Limit("params", 1e15)), {}))
    values = free.metrics(random_codes(space, 4000, stream(0, "conformance")))
    macs, params = np.quantile(values, 0.3, axis=0).tolist()
    return LimitedSpace(space, (Limit("macs", macs), Limit("params", params)), {})


@functools.cache
def _feasible(space_name: str) -> AdditiveFeasible:
    return AdditiveFeasible(_limited(space_name))


@pytest.fixture(scope="module", autouse=True)
def few_draws_for_the_busiest():
    """In a space too large to list they are of drawn ones, which takes seconds for 1,024."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feasible, "MACS_DRAWS", 64)
        yield


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (searcher, space),
            id=f"{searcher}-{space}",
            marks=pytest.mark.slow if space == "mobile" and searcher != "random" else (),
        )
        for searcher in SEARCHERS
        for space in LEARNING.get(searcher, SPACES)
    ],
)
def case(request: pytest.FixtureRequest) -> Case:
    name, space_name = request.param
    limited = _limited(space_name)
    space = limited.space
    is_small = np.prod([len(choice.options) for choice in space.choices], dtype=float) < 1e4
    num_networks = _networks(space, limited) if is_small else None
    return Case(limited, SEARCHERS[name], num_networks)


def _evaluations(case: Case, archs, failing: float = 0.0):
    """Scores made up from the network; a share of ``failing`` has none."""
    return [_evaluation(case.limited.space.network_id(arch), arch, failing) for arch in archs]


def _evaluation(network_id: str, arch, failing: float) -> Evaluation:
    score, luck = stream(0, network_id).random(2).tolist()
    if luck < failing:
        return Evaluation(arch, {}, {"core_s": 1.0}, error="made to fail")
    return Evaluation(arch, {"top1": Objective(score, "fraction", "max", "table")}, {"core_s": 1.0})


def _run(case: Case, counts, seed: int = 0, failing: float = 0.0):
    """Ask and tell in batches of these sizes; return all that was asked."""
    searcher, asked = case.searcher(seed), []
    for count in counts:
        archs = searcher.ask(count)
        assert len(archs) <= count
        searcher.tell(_evaluations(case, archs, failing))
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


@pytest.mark.parametrize("failing", [0.5, 1.0])
def test_evaluations_that_fail_end_nothing_and_are_not_asked_again(case, failing):
    space, counts = case.limited.space, [10] * 6
    asked = _run(case, counts, failing=failing)
    assert len(asked) == 60
    assert len({space.network_id(arch) for arch in asked}) == 60
    assert _run(case, counts, failing=failing) == asked
    if case.num_networks is not None:
        every = _run(case, [60, case.num_networks, 60], failing=failing)
        assert len({space.network_id(arch) for arch in every}) == case.num_networks == len(every)
