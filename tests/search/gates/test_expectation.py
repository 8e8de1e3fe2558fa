from __future__ import annotations

import itertools

import numpy as np
import torch

from hwnas.additive.graph import Term
from hwnas.rng import stream
from hwnas.search.gates.binary_gates import probabilities
from hwnas.search.gates.expectation import Expectation, score_terms

SIZES = (3, 2, 3)


def _terms() -> tuple[Term, ...]:
    rng = stream(0, "terms")
    return (
        Term((), np.array(0.7)),
        Term((0,), rng.normal(size=3)),
        Term((1, 2), rng.normal(size=(2, 3))),
        Term((0, 1, 2), rng.normal(size=SIZES)),
    )


def _alpha() -> np.ndarray:
    alpha = stream(1, "alpha").normal(size=(3, 3))
    alpha[1, 2] = -np.inf
    return alpha


def test_the_expectation_is_the_sum_over_all_codes() -> None:
    p, terms = probabilities(_alpha()), _terms()
    by_hand = 0.0
    for code in itertools.product(*map(range, SIZES)):
        weight = np.prod([p[choice, option] for choice, option in enumerate(code)])
        by_hand += weight * sum(float(t.values[tuple(code[c] for c in t.choices)]) for t in terms)
    np.testing.assert_allclose(Expectation(terms).value(p), by_hand, rtol=1e-12)


def test_its_gradient_is_torchs() -> None:
    variable = torch.from_numpy(_alpha()).requires_grad_()
    p = torch.softmax(variable, 1)
    total = torch.zeros((), dtype=torch.float64)
    for term in _terms():
        values = torch.from_numpy(np.array(term.values))
        for choice in reversed(term.choices):
            values = values @ p[choice, : values.shape[-1]]
        total = total + values
    total.backward()
    value, gradient = Expectation(_terms()).gradient(_alpha())
    np.testing.assert_allclose(value, total.item(), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.nan_to_num(variable.grad.numpy()), atol=1e-12)


def test_a_decided_gate_has_the_value_of_its_network() -> None:
    one_hot = np.zeros((3, 3))
    one_hot[[0, 1, 2], [2, 1, 0]] = 1.0
    by_hand = sum(float(t.values[tuple((2, 1, 0)[c] for c in t.choices)]) for t in _terms())
    np.testing.assert_allclose(Expectation(_terms()).value(one_hot), by_hand)


def test_an_option_without_a_row_counts_nothing_at_probability_zero() -> None:
    terms = (Term((0,), np.array([1.0, np.nan])),)
    alpha = np.array([[0.0, -np.inf]])
    value, gradient = Expectation(terms).gradient(alpha)
    assert value == 1.0
    assert (gradient == 0).all()


def test_scores_become_one_term_a_choice() -> None:
    terms = score_terms(np.arange(6.0).reshape(2, 3), (3, 2))
    assert [term.choices for term in terms] == [(0,), (1,)]
    assert [term.values.tolist() for term in terms] == [[0, 1, 2], [3, 4]]
