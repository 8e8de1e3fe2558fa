"""The controller's search: PPO against its closed form, what it learns, and from what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import InfeasibleError
from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import AdditiveFeasible, ListedFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.population import LOW_SHARE, random_codes, search_codes
from hwnas.search.strategies.rl import PolicySearch, PolicySettings, clipped_weights
from hwnas.search.strategies.rl_controller import Controller
from hwnas.space.catalogue import load_space

TINY, MACRO = load_space("tiny"), load_space("macro-cifar")
QUICK = PolicySettings(warmup_steps=20, warmup_draws=128, hidden=8)


def listed(space=TINY, share=0.5, seed=0) -> ListedFeasible:
    """A made-up latency for every code, and a budget at ``share`` of them."""
    shape = [len(choice.options) for choice in space.choices]
    values = stream(seed, "test rl latency").uniform(1.0, 2.0, size=(1, *shape))
    return ListedFeasible(space, values, np.array([np.quantile(values, share)]))


def additive(codes: np.ndarray) -> np.ndarray:
    """A score that every choice adds to, and neighbours together."""
    parts = stream(0, "test rl score").normal(size=(codes.shape[1], 8))
    pairs = stream(1, "test rl score").normal(size=(codes.shape[1], 8, 8))
    columns = np.arange(codes.shape[1])
    alone = parts[columns, codes].sum(axis=1)
    return alone + 0.5 * pairs[columns[1:], codes[:, :-1], codes[:, 1:]].sum(axis=1)


def objective(ratio: np.ndarray, advantage: np.ndarray, clip: float) -> float:
    """Equation 7 of the PPO paper, written down."""
    return float(
        np.minimum(ratio * advantage, np.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage).mean()
    )


def test_ppos_weights_are_the_gradient_of_its_clipped_objective():
    ratio = np.array([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0] * 2)
    advantage = np.repeat([1.3, -0.7], 7)
    found = clipped_weights(ratio, advantage, 0.2)
    step = 1e-6
    for place in range(len(ratio)):
        log = np.zeros(len(ratio))
        log[place] = step
        slope = (
            objective(ratio * np.exp(log), advantage, 0.2)
            - objective(ratio * np.exp(-log), advantage, 0.2)
        ) / (2 * step)
        assert found[place] == pytest.approx(slope, abs=1e-6)
    assert (found[[5, 6]] == 0.0).all()  # a good network is not made likelier still
    assert (found[[7, 8]] == 0.0).all()  # nor a bad one less likely
    assert (found[[0, 1, 12, 13]] != 0.0).all()  # what went the wrong way is not clipped


def test_ppos_gradient_through_the_controller_is_that_of_the_objective():
    controller = Controller((2, 3), stream(0, "test rl"), hidden=4)
    codes = np.array([[0, 0], [0, 2], [1, 1], [1, 2]], dtype=np.int16)
    advantage = np.array([1.0, -2.0, 0.5, -0.1])
    old = controller.run(codes).log_likelihood() + np.array([0.3, -0.25, 0.05, 0.3])

    def value() -> float:
        return objective(np.exp(controller.run(codes).log_likelihood() - old), advantage, 0.2)

    run = controller.run(codes)
    weights = clipped_weights(np.exp(run.log_likelihood() - old), advantage, 0.2)
    grads = controller.gradient(run, weights)
    for name, array in controller.params.items():
        for place in list(np.ndindex(array.shape))[::7]:
            before = array[place]
            array[place] = before + 1e-6
            above = value()
            array[place] = before - 1e-6
            slope = (above - value()) / 2e-6
            array[place] = before
            assert grads[name][place] == pytest.approx(slope, abs=1e-7)


def test_where_the_policy_has_not_moved_ppo_is_reinforce():
    advantage = stream(2, "test rl").normal(size=9)
    np.testing.assert_allclose(clipped_weights(np.ones(9), advantage, 0.2), advantage / 9)


@pytest.mark.parametrize("ppo", [False, True])
def test_it_finds_better_networks_than_random_draws(ppo):
    feasible = listed(MACRO)
    everything = feasible.listed()
    scores = np.sort(additive(everything))
    ranks = []
    for seed in range(3):
        search = PolicySearch(feasible, seed, PolicySettings(ppo=ppo))
        codes, found = search_codes(search, additive, 300, batch=20)
        late = np.searchsorted(scores, found[200:, 0]) / len(scores)
        assert np.median(late) > 0.8  # random draws: 0.5
        ranks.append(len(scores) - np.searchsorted(scores, found.max()))
        assert feasible.within(codes).all()
    assert np.median(ranks) <= 3  # 300 random draws of these 3,280 codes: about the 11th


def test_it_begins_with_the_busiest_and_then_near_the_busy_part_of_the_window():
    limited = LimitedSpace(TINY, (Limit("params", 4e4),), {})
    feasible = AdditiveFeasible(limited)
    search, work = PolicySearch(feasible, 0), MacsPrior(feasible)
    top_by_macs = feasible.top_by_macs(2, stream(9, "test rl"))
    np.testing.assert_array_equal(work.macs(search.ask_codes(20)[:2]), work.macs(top_by_macs))
    drawn = search.controller.sample(4000, stream(3, "test rl"))
    metric = feasible.metrics(drawn)[:, 0]
    inside = (metric <= 4e4) & (metric >= LOW_SHARE * 4e4)
    naive = feasible.metrics(random_codes(TINY, 4000, stream(4, "test rl")))[:, 0]
    uniform = ((naive <= 4e4) & (naive >= LOW_SHARE * 4e4)).mean()
    assert inside.mean() > 2 * uniform
    window = feasible.sample(4000, stream(5, "test rl"), LOW_SHARE)
    assert np.median(work.macs(drawn[inside])) > np.quantile(work.macs(window), 0.75)
    # and no network is far more likely than another
    names, counts = np.unique(drawn[inside], axis=0, return_counts=True)
    assert counts.max() < 12 * counts.mean()
    assert len(names) > 0.25 * len(np.unique(window, axis=0))


def test_the_reward_is_mnasnets():
    feasible = listed()
    codes = feasible.sample(50, stream(6, "test rl"))
    latency = feasible.metrics(codes)[:, 0]
    accuracy = stream(7, "test rl").uniform(0.5, 0.9, size=50)
    search = PolicySearch(feasible, 0, replace(QUICK, reward_weight=0.07, batch=1000))
    search.tell_codes(codes, accuracy[:, None])
    expected = accuracy * (feasible.maxima[0] / latency) ** 0.07
    np.testing.assert_allclose(search._pending[0][1], expected)
    plain = PolicySearch(feasible, 0, replace(QUICK, batch=1000))
    plain.tell_codes(codes, accuracy[:, None])
    np.testing.assert_array_equal(plain._pending[0][1], accuracy)


def test_a_weight_on_latency_makes_it_ask_for_faster_networks():
    limited = LimitedSpace(MACRO, (Limit("macs", 3e8),), {})
    feasible = AdditiveFeasible(limited)

    def flat(codes):
        return np.full(len(codes), 0.7)

    def late(weight):
        settings = replace(PolicySettings(), reward_weight=weight, uniform_share=0.0)
        codes, _ = search_codes(PolicySearch(feasible, 0, settings), flat, 200, batch=20)
        return feasible.metrics(codes[150:])[:, 0].mean()

    assert late(0.5) < 0.9 * late(0.0)


def test_only_the_ranks_of_rewards_matter():
    feasible = listed(MACRO)

    def asked(score):
        return search_codes(PolicySearch(feasible, 0, QUICK), score, 100, batch=20)[0]

    np.testing.assert_array_equal(asked(additive), asked(lambda codes: np.exp(additive(codes))))
    assert (asked(additive) != asked(lambda codes: -additive(codes))).any()


def test_failed_evaluations_are_not_learnt_from_and_not_asked_for_again():
    feasible = listed()

    def failing(codes):
        return np.where(codes[:, 0] == 1, np.nan, additive(codes))

    search = PolicySearch(feasible, 0, QUICK)
    codes, scores = search_codes(search, failing, 150, batch=10)
    assert np.isnan(scores).any()
    assert len(search.history.codes) == np.isfinite(scores).sum()
    keys = TINY.network_keys(codes)
    assert len(np.unique(keys, axis=0)) == len(codes)
    every = PolicySearch(feasible, 0, QUICK)
    asked, _ = search_codes(every, lambda codes: np.full(len(codes), np.nan), 60, batch=10)
    assert len(asked) == 60


def test_a_search_told_what_another_was_goes_on_as_that_one():
    feasible = listed(MACRO)
    first = PolicySearch(feasible, 5, QUICK)
    codes, scores = search_codes(first, additive, 90, batch=15)
    again = PolicySearch(feasible, 5, QUICK)
    for start in range(0, 90, 15):
        np.testing.assert_array_equal(again.ask_codes(15), codes[start : start + 15])
        again.tell_codes(codes[start : start + 15], scores[start : start + 15])
    np.testing.assert_array_equal(first.ask_codes(15), again.ask_codes(15))


def test_it_learns_a_batch_at_a_time_however_the_scores_come():
    feasible = listed(MACRO)
    codes = np.unique(feasible.sample(60, stream(8, "test rl")), axis=0)[:40]
    scores = additive(codes)[:, None]
    at_once, piecewise = (PolicySearch(feasible, 0, QUICK) for _ in range(2))
    for start in (0, 20):
        at_once.tell_codes(codes[start : start + 20], scores[start : start + 20])
    for place in range(40):
        piecewise.tell_codes(codes[place : place + 1], scores[place : place + 1])
    for name, value in at_once.controller.params.items():
        np.testing.assert_array_equal(value, piecewise.controller.params[name])


def test_spaces_in_which_choices_may_not_exist_are_searched_too():
    space = load_space("ofa-mbv3")
    limited = LimitedSpace(space, (Limit("macs", 2.5e8), Limit("params", 5e6)), {})
    feasible = AdditiveFeasible(limited)
    search = PolicySearch(feasible, 0, replace(QUICK, uniform_share=0.0))
    codes, _ = search_codes(search, lambda codes: (codes >= 0).sum(axis=1), 40, batch=20)
    np.testing.assert_array_equal(space.repair(codes), codes)
    assert len(codes) == 40
    assert feasible.within(codes).all()


def test_limits_that_nothing_meets_are_told():
    limited = LimitedSpace(TINY, (Limit("macs", 1.0),), {})
    with pytest.raises(InfeasibleError):
        PolicySearch(AdditiveFeasible(limited), 0, QUICK).ask_codes(1)
