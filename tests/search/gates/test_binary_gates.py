from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.rng import stream
from hwnas.search.gates.binary_gates import (
    AlphaAdam,
    alpha_gradient,
    draw,
    draw_pairs,
    entropy,
    expected_pair_gradient,
    initial_alpha,
    log_probabilities,
    probabilities,
    rescaled,
)

ALPHA = np.array([[0.3, -1.0, 0.8], [0.0, 0.5, -np.inf], [2.0, -np.inf, -np.inf]])


def _alphas(seed: int, choices: int = 4, options: int = 5) -> np.ndarray:
    return stream(seed, "alphas").normal(0, 1.5, (choices, options))


def test_probabilities_are_torchs_softmax_and_zero_where_there_is_no_option() -> None:
    expected = torch.softmax(torch.from_numpy(ALPHA), 1).numpy()
    np.testing.assert_allclose(probabilities(ALPHA), expected, atol=1e-15)
    assert probabilities(ALPHA)[2].tolist() == [1.0, 0.0, 0.0]
    logs = torch.log_softmax(torch.from_numpy(ALPHA), 1).numpy()
    np.testing.assert_allclose(log_probabilities(ALPHA), logs, atol=1e-14)


def test_the_entropy_of_uniform_gates_is_the_logarithm_of_their_number() -> None:
    assert entropy(np.zeros((3, 7))) == pytest.approx(np.log(7))
    assert entropy(np.array([[0.0, -np.inf], [50.0, -50.0]])) == pytest.approx(0.0, abs=1e-12)


def test_the_gradient_by_alpha_is_the_transposed_jacobian_times_that_by_the_gates() -> None:
    gate = stream(1, "gates").normal(size=ALPHA.shape)
    p = probabilities(ALPHA)
    found = alpha_gradient(p, gate)
    for row in range(len(ALPHA)):
        jacobian = np.diag(p[row]) - np.outer(p[row], p[row])
        np.testing.assert_allclose(found[row], jacobian.T @ gate[row], atol=1e-15)
    usable = np.isfinite(ALPHA)
    assert (found[~usable] == 0).all()


def test_for_a_loss_linear_in_the_gates_the_mean_estimate_is_the_exact_gradient() -> None:
    """L(g) = sum u_k g_k: the binary estimate, averaged over all draws, is dE[L]/dalpha."""
    alpha = _alphas(2, choices=2, options=3)
    utility = stream(2, "utility").normal(size=alpha.shape)
    variable = torch.from_numpy(alpha).requires_grad_()
    (torch.softmax(variable, 1) * torch.from_numpy(utility)).sum().backward()
    p = probabilities(alpha)
    mean = np.zeros_like(alpha)
    for path in itertools.product(range(3), repeat=2):
        weight = p[0, path[0]] * p[1, path[1]]
        mean += weight * alpha_gradient(p, utility)  # dL/dg does not depend on the path here
    np.testing.assert_allclose(mean, variable.grad.numpy(), atol=1e-14)


def test_paths_are_drawn_by_their_probabilities() -> None:
    p = probabilities(ALPHA)
    drawn = np.array([draw(p, stream(0, "draws", number)) for number in range(4000)])
    for choice, row in enumerate(p):
        counts = np.bincount(drawn[:, choice], minlength=3)
        assert (counts[row == 0] == 0).all()
        error = np.sqrt(row * (1 - row) / len(drawn))
        assert (np.abs(counts / len(drawn) - row) <= 4 * error + 1e-12).all()


def test_pairs_are_distinct_drawn_without_replacement_and_active_by_their_softmax() -> None:
    alpha = np.array([[0.0, 1.0, -0.5], [0.2, -np.inf, -np.inf]])
    p = probabilities(alpha)[0]
    counts: dict[tuple[int, int], int] = {}
    number = 6000
    for index in range(number):
        options = draw_pairs(alpha, stream(3, "pairs", index)).options
        assert options[0, 0] != options[0, 1]
        assert options[1].tolist() == [0, 0]  # a lone option is paired with itself
        counts[tuple(options[0])] = counts.get(tuple(options[0]), 0) + 1
    for one, other in itertools.permutations(range(3), 2):
        together = p[one] * p[other] / (1 - p[one]) + p[other] * p[one] / (1 - p[other])
        expected = together * p[one] / (p[one] + p[other])
        error = np.sqrt(expected * (1 - expected) / number)
        assert abs(counts.get((one, other), 0) / number - expected) <= 4 * error


def test_the_mean_of_the_pairs_gradients_is_the_one_that_draws_give() -> None:
    alpha = _alphas(5)
    alpha[1, 3:] = -np.inf  # two options missing
    alpha[2, 1:] = -np.inf  # a lone option: nothing to learn
    gate, rng = stream(7, "gate").normal(size=alpha.shape), stream(8, "pairs")
    found = []
    for _ in range(4000):
        mask = draw_pairs(alpha, rng).mask(alpha.shape)
        found.append(alpha_gradient(probabilities(np.where(mask, alpha, -np.inf)), gate))
    exact = expected_pair_gradient(probabilities(alpha), gate)
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - exact) <= 4 * error + 1e-12).all()
    assert np.abs(exact[0]).min() > 0
    assert not exact[2].any()
    decided = np.where(np.arange(5) == 0, 800.0, 0.0) + np.zeros((4, 1))
    assert not expected_pair_gradient(probabilities(decided), gate).any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_rescaling_leaves_the_probabilities_of_options_that_were_not_sampled(seed: int) -> None:
    alpha = _alphas(seed)
    pairs = draw_pairs(alpha, stream(seed, "pair"))
    mask = pairs.mask(alpha.shape)
    moved = np.where(mask, alpha + stream(seed, "move").normal(0, 2.0, alpha.shape), alpha)
    after = rescaled(alpha, moved, mask)
    np.testing.assert_allclose(probabilities(after)[~mask], probabilities(alpha)[~mask], atol=1e-7)
    assert (after[~mask] == alpha[~mask]).all()
    # without the rescaling they change: the test above can fail
    assert not np.allclose(probabilities(moved)[~mask], probabilities(alpha)[~mask], atol=1e-7)
    # and the two sampled ones move against each other as they were moved
    ratio = np.take_along_axis(after - moved, pairs.options, 1)
    np.testing.assert_allclose(ratio[:, 0], ratio[:, 1], atol=1e-12)


def test_adam_without_momentum_is_torchs_where_all_alphas_are_seen() -> None:
    start = _alphas(5, 3, 4)
    variable = torch.nn.Parameter(torch.from_numpy(start.copy()))
    oracle = torch.optim.Adam([variable], lr=0.02, betas=(0.0, 0.999))
    alpha, adam = start, AlphaAdam(0.02, start.shape)
    everything = np.ones(start.shape, dtype=bool)
    for step in range(20):
        gradient = stream(5, "gradient", step).normal(size=start.shape)
        variable.grad = torch.from_numpy(gradient)
        oracle.step()
        alpha = adam.step(alpha, gradient, everything)
    np.testing.assert_allclose(alpha, variable.detach().numpy(), rtol=1e-10)


def test_alphas_that_a_step_does_not_see_stay_however_often_they_were_moved_before() -> None:
    alpha, adam = _alphas(6, 2, 3), AlphaAdam(0.1, (2, 3))
    everything = np.ones((2, 3), dtype=bool)
    alpha = adam.step(alpha, np.ones((2, 3)), everything)
    part = np.array([[True, False, False], [False, True, True]])
    after = adam.step(alpha, np.ones((2, 3)), part)
    assert (after[~part] == alpha[~part]).all()
    assert (after[part] < alpha[part]).all()
    assert adam.steps.tolist() == [[2, 1, 1], [1, 2, 2]]


def test_initial_alphas_are_small_and_only_where_there_are_options() -> None:
    usable = np.isfinite(ALPHA)
    alpha = initial_alpha(usable, stream(0, "alpha"))
    assert (np.isfinite(alpha) == usable).all()
    assert np.abs(alpha[usable]).max() < 0.01
