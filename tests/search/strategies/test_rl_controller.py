"""The controller's gradients against enumeration, finite differences and sampling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hwnas.rng import stream
from hwnas.search.strategies.rl_controller import Adam, Controller

SIZES = (2, 3, 2)
ALL = np.array(list(itertools.product(*(range(size) for size in SIZES))), dtype=np.int16)
REWARDS = stream(0, "test rewards").normal(size=len(ALL))
FEASIBLE = stream(0, "test feasible").random(len(ALL)) < 0.7


@pytest.fixture
def controller() -> Controller:
    """A controller far from uniform."""
    made = Controller(SIZES, stream(0, "test controller"), hidden=5)
    rng = stream(1, "test controller")
    for value in made.params.values():
        value += rng.normal(0.0, 0.7, value.shape)
    return made


def probabilities(controller: Controller) -> np.ndarray:
    return np.exp(controller.run(ALL).log_likelihood())


def finite_differences(controller: Controller, value) -> dict[str, np.ndarray]:
    """Central differences of ``value()`` by every parameter."""
    grads = {}
    for name, array in controller.params.items():
        grad = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            before, step = array[place], 1e-5
            array[place] = before + step
            above = value()
            array[place] = before - step
            grad[place] = (above - value()) / (2 * step)
            array[place] = before
        grads[name] = grad
    return grads


def assert_equal(found, expected, atol=1e-8):
    assert found.keys() == expected.keys()
    assert max(np.abs(grad).max() for grad in expected.values()) > 1e-3
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=atol, err_msg=name)


def test_probabilities_of_all_codes_sum_to_one_and_depend_on_what_came_before(controller):
    probs = probabilities(controller)
    assert probs.sum() == pytest.approx(1.0)
    table = probs.reshape(SIZES)
    by_first = table.sum(axis=2) / table.sum(axis=(1, 2))[:, None]
    assert np.abs(by_first[0] - by_first[1]).max() > 0.01


def test_a_new_controller_is_nearly_uniform():
    probs = probabilities(Controller(SIZES, stream(2, "test controller")))
    np.testing.assert_allclose(probs, 1 / len(ALL), rtol=0.2)


def test_the_policy_gradient_is_that_of_the_expected_reward_by_enumeration(controller):
    # sum over all codes of p * (reward - baseline) * grad log p, whatever the baseline is
    expected = finite_differences(controller, lambda: probabilities(controller) @ REWARDS)
    for baseline in (0.0, 1.7):
        weights = probabilities(controller) * (REWARDS - baseline)
        assert_equal(controller.gradient(controller.run(ALL), weights), expected)


def test_within_limits_the_gradient_is_right_where_the_baseline_is_the_expected_reward(controller):
    # draws that break a limit are drawn again: the policy is p / p(all within the limits)
    def conditional():
        within = probabilities(controller) * FEASIBLE
        return within / within.sum()

    expected = finite_differences(controller, lambda: conditional() @ REWARDS)
    weights = conditional() * (REWARDS - conditional() @ REWARDS)
    assert_equal(controller.gradient(controller.run(ALL), weights), expected)


def test_the_gradient_of_drawn_codes_converges_to_the_enumerated_one(controller):
    drawn = controller.sample(40_000, stream(3, "test draws"))
    places = np.ravel_multi_index(drawn.T.astype(int), SIZES)
    run = controller.run(drawn)
    found = controller.gradient(run, REWARDS[places] / len(drawn))
    exact = controller.gradient(controller.run(ALL), probabilities(controller) * REWARDS)
    for name in exact:
        np.testing.assert_allclose(found[name], exact[name], atol=0.02, err_msg=name)


def test_draws_have_the_probabilities_of_the_controller(controller):
    drawn = controller.sample(40_000, stream(4, "test draws"))
    counts = np.bincount(np.ravel_multi_index(drawn.T.astype(int), SIZES), minlength=len(ALL))
    np.testing.assert_allclose(counts / len(drawn), probabilities(controller), atol=0.01)


def test_the_entropy_bonus_has_its_gradient(controller):
    expected = finite_differences(controller, lambda: controller.run(ALL).entropy().mean())
    assert_equal(controller.gradient(controller.run(ALL), np.zeros(len(ALL)), 1.0), expected)
    uniform = Controller(SIZES, stream(2, "test controller"))
    assert uniform.run(ALL).entropy() == pytest.approx(np.log(SIZES).sum(), rel=1e-2)


def test_the_chain_rule_of_both_terms_holds_at_once(controller):
    weights = stream(5, "test weights").normal(size=len(ALL))

    def value():
        run = controller.run(ALL)
        return weights @ run.log_likelihood() + 0.3 * run.entropy().mean()

    assert_equal(
        controller.gradient(controller.run(ALL), weights, 0.3),
        finite_differences(controller, value),
    )


def existing(codes: np.ndarray) -> np.ndarray:
    """Choice 1 exists only where choice 0 is 1."""
    exists = np.ones(codes.shape, dtype=bool)
    exists[:, 1] = codes[:, 0] == 1
    return exists


def test_a_choice_that_does_not_exist_has_no_probability_and_no_gradient(controller):
    codes = ALL.copy()
    codes[codes[:, 0] == 0, 1] = -1
    codes = np.unique(codes, axis=0)
    run = controller.run(codes)
    assert np.exp(run.log_likelihood()).sum() == pytest.approx(1.0)
    drawn = controller.sample(20_000, stream(6, "test draws"), existing)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in codes}
    shares = [(drawn == row).all(axis=1).mean() for row in codes]
    np.testing.assert_allclose(shares, np.exp(run.log_likelihood()), atol=0.015)
    weights = np.arange(1.0, len(codes) + 1.0)
    expected = finite_differences(
        controller, lambda: weights @ controller.run(codes).log_likelihood()
    )
    assert_equal(controller.gradient(run, weights), expected, atol=1e-7)


def test_adam_is_torchs_while_gradients_are_short():
    start = stream(7, "test adam").normal(size=(3, 2))
    params = {"a": start.copy()}
    ours = Adam(params, lr=0.05, clip=1e9)
    theirs = torch.tensor(start, requires_grad=True)
    oracle = torch.optim.Adam([theirs], lr=0.05, maximize=True)
    for step in range(5):
        grad = stream(8, "test adam", step).normal(size=(3, 2))
        ours.ascend({"a": grad})
        theirs.grad = torch.tensor(grad)
        oracle.step()
    np.testing.assert_allclose(params["a"], theirs.detach().numpy(), rtol=1e-6)


def test_long_gradients_are_cut_and_none_moves_nothing():
    grads = {"a": np.array([30.0, 40.0])}
    cut, short = {"a": np.zeros(2)}, {"a": np.zeros(2)}
    # Adam forgets the length of a first step, so epsilon is made large enough to see it
    Adam(cut, lr=1.0, epsilon=1.0, clip=5.0).ascend(grads)
    Adam(short, lr=1.0, epsilon=1.0).ascend({"a": grads["a"] / 10.0})
    np.testing.assert_allclose(cut["a"], short["a"])
    still = {"a": np.ones(2)}
    Adam(still, lr=1.0).ascend({"a": np.zeros(2)})
    np.testing.assert_array_equal(still["a"], np.ones(2))
