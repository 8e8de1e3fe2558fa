"""The controller's distribution against enumeration and sampling; REINFORCE against E[reward]."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hwnas.rng import stream
from hwnas.search.strategies.rl_controller import Controller, one_thread

SIZES = (2, 3, 2)
ALL = np.array(list(itertools.product(*(range(size) for size in SIZES))), dtype=np.int16)
REWARDS = torch.from_numpy(stream(0, "test rewards").normal(size=len(ALL)))
FEASIBLE = torch.from_numpy(stream(0, "test feasible").random(len(ALL)) < 0.7)


@pytest.fixture
def controller() -> Controller:
    """A controller far from uniform, in double precision."""
    made = Controller(SIZES, stream(0, "test controller"), hidden=5).double()
    rng = stream(1, "test controller")
    with torch.no_grad():
        for value in made.parameters():
            value += torch.from_numpy(rng.normal(0.0, 0.7, tuple(value.shape)))
    return made


def probabilities(controller: Controller) -> torch.Tensor:
    return torch.exp(controller.evaluate(ALL)[0])


def gradient(controller: Controller, value: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(value, list(controller.parameters())))


def assert_equal(found, expected) -> None:
    assert max(float(grad.abs().max()) for grad in expected) > 1e-3
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


def test_probabilities_of_all_codes_sum_to_one_and_depend_on_what_came_before(controller) -> None:
    probs = probabilities(controller).detach().numpy()
    assert probs.sum() == pytest.approx(1.0)
    table = probs.reshape(SIZES)
    by_first = table.sum(axis=2) / table.sum(axis=(1, 2))[:, None]
    assert np.abs(by_first[0] - by_first[1]).max() > 0.01


def test_a_new_controller_is_nearly_uniform() -> None:
    made = Controller(SIZES, stream(2, "test controller"))
    log_probs, entropies = made.evaluate(ALL)
    np.testing.assert_allclose(log_probs.exp().detach().numpy(), 1 / len(ALL), rtol=0.2)
    np.testing.assert_allclose(entropies.detach().numpy(), np.log(SIZES).sum(), rtol=1e-2)


def test_the_gradient_of_reinforce_is_that_of_the_expected_reward(controller) -> None:
    expected = gradient(controller, probabilities(controller) @ REWARDS)
    for baseline in (0.0, 1.7):
        weights = probabilities(controller).detach() * (REWARDS - baseline)
        assert_equal(gradient(controller, weights @ controller.evaluate(ALL)[0]), expected)


def test_within_limits_it_is_right_where_the_baseline_is_the_expected_reward(controller) -> None:
    # draws that break a limit are drawn again: the policy is p / p(all within the limits)
    within = probabilities(controller) * FEASIBLE
    policy = within / within.sum()
    expected = gradient(controller, policy @ REWARDS)
    policy = policy.detach()
    weights = policy * (REWARDS - policy @ REWARDS)
    assert_equal(gradient(controller, weights @ controller.evaluate(ALL)[0]), expected)


def test_draws_have_the_probabilities_of_the_controller(controller) -> None:
    drawn = controller.sample(40_000, stream(4, "test draws"))
    counts = np.bincount(np.ravel_multi_index(drawn.T.astype(int), SIZES), minlength=len(ALL))
    expected = probabilities(controller).detach().numpy()
    np.testing.assert_allclose(counts / len(drawn), expected, atol=0.01)


def test_the_entropy_along_codes_is_that_of_the_distribution_on_average(controller) -> None:
    log_probs, entropies = (part.detach() for part in controller.evaluate(ALL))
    probs = log_probs.exp()
    assert float(probs @ entropies) == pytest.approx(float(-(probs @ log_probs)))


def existing(codes: np.ndarray) -> np.ndarray:
    """Choice 1 exists only where choice 0 is 1."""
    exists = np.ones(codes.shape, dtype=bool)
    exists[:, 1] = codes[:, 0] == 1
    return exists


def test_a_choice_that_does_not_exist_has_no_probability(controller) -> None:
    codes = ALL.copy()
    codes[codes[:, 0] == 0, 1] = -1
    codes = np.unique(codes, axis=0)
    probs = controller.evaluate(codes)[0].exp().detach().numpy()
    assert probs.sum() == pytest.approx(1.0)
    drawn = controller.sample(20_000, stream(6, "test draws"), existing)
    assert {tuple(row) for row in drawn} == {tuple(row) for row in codes}
    shares = [(drawn == row).all(axis=1).mean() for row in codes]
    np.testing.assert_allclose(shares, probs, atol=0.015)


def test_the_seed_alone_decides_weights_and_draws() -> None:
    torch.manual_seed(1)
    one = Controller(SIZES, stream(7, "test controller"))
    drawn = one.sample(50, stream(8, "test draws"))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    other = Controller(SIZES, stream(7, "test controller"))
    np.testing.assert_array_equal(other.sample(50, stream(8, "test draws")), drawn)
    assert torch.equal(torch.get_rng_state(), state)  # and the global generator is left alone
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


def test_the_number_of_threads_is_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
