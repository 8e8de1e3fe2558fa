"""The controller's search: PPO against its closed form, what it learns, and from what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.errors import InfeasibleError
from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import AdditiveFeasible, ListedFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.population import LOW_SHARE, random_codes, search_codes
from hwnas.search.strategies.rl import (
    PolicySearch,
    PolicySettings,
    PriorSettings,
    clipped_objective,
    mid_ranks,
)
from hwnas.space.catalogue import load_space

TINY, MACRO = load_space("tiny"), load_space("macro-cifar")
QUICK = PolicySettings(hidden=8)
SHORT = PriorSettings(warmup_steps=20, warmup_draws=128)


def listed(space=TINY, share=0.5, seed=0) -> ListedFeasible:
    """A made-up latency for every code, and a budget at ``share`` of them."""
    shape = [len(choice.options) for choice in space.choices]
    values = stream(seed, "test rl latency").uniform(1.0, 2.0, size=(1, *shape))
    return ListedFeasible(space, values, np.array([np.quantile(values, share)]))


def guided(
    feasible,
    seed: int,
    settings: PolicySettings = QUICK,
    prior_settings: PriorSettings = SHORT,
) -> PolicySearch:
    """The search with the prior."""
    return PolicySearch(
        feasible,
        seed,
        settings,
        prior=MacsPrior(feasible, seed),
        prior_settings=prior_settings,
    )


def additive(codes: np.ndarray) -> np.ndarray:
    """A score that every choice adds to, and neighbours together."""
    parts = stream(0, "test rl score").normal(size=(codes.shape[1], 8))
    pairs = stream(1, "test rl score").normal(size=(codes.shape[1], 8, 8))
    columns = np.arange(codes.shape[1])
    alone = parts[columns, codes].sum(axis=1)
    return alone + 0.5 * pairs[columns[1:], codes[:, :-1], codes[:, 1:]].sum(axis=1)


def test_ppos_gradient_is_none_where_the_clipped_term_is_the_smaller_one():
    ratio = torch.tensor([0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0] * 2, requires_grad=True)
    advantage = torch.tensor([1.3] * 7 + [-0.7] * 7)
    objective = clipped_objective(ratio, advantage, 0.2)
    ratios, advantages = ratio.detach().numpy(), advantage.numpy()
    expected = np.minimum(ratios * advantages, ratios.clip(0.8, 1.2) * advantages).mean()
    assert objective.item() == pytest.approx(float(expected))
    (slope,) = torch.autograd.grad(objective, ratio)
    assert (slope[[5, 6]] == 0).all()  # a good network is not made likelier still
    assert (slope[[7, 8]] == 0).all()  # nor a bad one less likely
    assert (slope[[0, 1, 12, 13]] != 0).all()  # what went the wrong way is not clipped


def test_where_the_policy_has_not_moved_ppo_is_reinforce():
    advantage = torch.from_numpy(stream(2, "test rl").normal(size=9))
    log_probs = torch.zeros(9, dtype=torch.float64, requires_grad=True)
    objective = clipped_objective(torch.exp(log_probs), advantage, 0.2)
    (slope,) = torch.autograd.grad(objective, log_probs)
    torch.testing.assert_close(slope, advantage / 9)


def test_ranks_are_shares_of_what_is_known():
    known = np.array([0.1, 0.4, 0.4, 0.9])
    assert mid_ranks(known, np.array([0.4, 0.9, 0.0])).tolist() == [0.5, 0.875, 0.0]


def test_without_a_prior_the_baseline_is_the_moving_average_of_rewards():
    feasible = listed(MACRO)
    search = PolicySearch(feasible, 0, replace(QUICK, batch=4, baseline_decay=0.9))
    first, second = np.array([0.5, 0.6, 0.7, 0.8]), np.array([0.9, 0.9, 0.7, 0.7])
    np.testing.assert_allclose(search._advantage(first), first - 0.65)
    np.testing.assert_allclose(search._advantage(second), second - 0.65)
    np.testing.assert_allclose(search._advantage(second), second - (0.9 * 0.65 + 0.1 * 0.8))


def test_the_plain_controller_learns_where_evaluations_are_many():
    feasible = listed(MACRO)
    scores = np.sort(additive(feasible.listed()))
    search = PolicySearch(feasible, 0, PolicySettings())

    def median_rank() -> float:
        drawn = search.controller.sample(2000, stream(9, "test rl"))
        drawn = drawn[feasible.within(drawn)]
        return float(np.median(np.searchsorted(scores, additive(drawn)) / len(scores)))

    assert median_rank() == pytest.approx(0.5, abs=0.05)
    search_codes(search, additive, 800, batch=20)
    assert median_rank() > 0.65


@pytest.mark.parametrize("ppo", [False, True])
def test_it_finds_better_networks_than_random_draws(ppo):
    feasible = listed(MACRO)
    everything = feasible.listed()
    scores = np.sort(additive(everything))
    ranks = []
    for seed in range(3):
        search = guided(feasible, seed, PolicySettings(ppo=ppo), PriorSettings())
        codes, found = search_codes(search, additive, 300, batch=20)
        late = np.searchsorted(scores, found[200:, 0]) / len(scores)
        assert np.median(late) > 0.75  # random draws: 0.5
        ranks.append(len(scores) - np.searchsorted(scores, found.max()))
        assert feasible.within(codes).all()
    assert np.median(ranks) <= 3  # 300 random draws of these 3,280 codes: about the 11th


def test_it_begins_with_the_busiest_and_then_near_the_busy_part_of_the_window():
    limited = LimitedSpace(TINY, (Limit("params", 4e4),), {})
    feasible = AdditiveFeasible(limited)
    search = guided(feasible, 0, PolicySettings(), PriorSettings())
    work = MacsPrior(feasible)
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
        settings = PolicySettings(reward_weight=weight)
        search = guided(feasible, 0, settings, PriorSettings(uniform_share=0.0))
        codes, _ = search_codes(search, flat, 200, batch=20)
        return feasible.metrics(codes[150:])[:, 0].mean()

    assert late(0.5) < 0.9 * late(0.0)


def test_with_a_prior_only_the_ranks_of_rewards_matter():
    feasible = listed(MACRO)

    def asked(score):
        return search_codes(guided(feasible, 0), score, 100, batch=20)[0]

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


def plain(feasible, seed: int) -> PolicySearch:
    """The search without the prior."""
    return PolicySearch(feasible, seed, QUICK)


@pytest.mark.parametrize("make", [plain, guided])
def test_a_search_told_what_another_was_goes_on_as_that_one(make):
    feasible = listed(MACRO)
    first = make(feasible, 5)
    codes, scores = search_codes(first, additive, 90, batch=15)
    again = make(feasible, 5)
    for start in range(0, 90, 15):
        np.testing.assert_array_equal(again.ask_codes(15), codes[start : start + 15])
        again.tell_codes(codes[start : start + 15], scores[start : start + 15])
    np.testing.assert_array_equal(first.ask_codes(15), again.ask_codes(15))


def test_it_learns_a_batch_at_a_time_however_the_scores_come():
    feasible = listed(MACRO)
    codes = np.unique(feasible.sample(60, stream(8, "test rl")), axis=0)[:40]
    scores = additive(codes)[:, None]
    at_once, piecewise = (guided(feasible, 0) for _ in range(2))
    for start in (0, 20):
        at_once.tell_codes(codes[start : start + 20], scores[start : start + 20])
    for place in range(40):
        piecewise.tell_codes(codes[place : place + 1], scores[place : place + 1])
    pairs = zip(at_once.controller.parameters(), piecewise.controller.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_spaces_in_which_choices_may_not_exist_are_searched_too():
    space = load_space("ofa-mbv3")
    limited = LimitedSpace(space, (Limit("macs", 2.5e8), Limit("params", 5e6)), {})
    feasible = AdditiveFeasible(limited)
    search = PolicySearch(feasible, 0, QUICK)
    codes, _ = search_codes(search, lambda codes: (codes >= 0).sum(axis=1), 40, batch=20)
    np.testing.assert_array_equal(space.repair(codes), codes)
    assert len(codes) == 40
    assert feasible.within(codes).all()


def test_limits_that_nothing_meets_are_told():
    limited = LimitedSpace(TINY, (Limit("macs", 1.0),), {})
    with pytest.raises(InfeasibleError):
        PolicySearch(AdditiveFeasible(limited), 0, QUICK).ask_codes(1)
