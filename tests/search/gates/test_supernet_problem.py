from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hwnas.data import Dataset, load_dataset
from hwnas.nn.supernet import Supernet, uniform_path
from hwnas.search.gates.supernet_problem import SupernetProblem
from hwnas.space.catalogue import load_space
from hwnas.train import DivergedError

SPACE = load_space("tiny:input_size=16,stem_channels=4")
SIZES = [len(choice.options) for choice in SPACE.choices]
EVERY = [list(range(size)) for size in SIZES]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", input_size=16).without_test()


def _problem(digits: Dataset, seed: int = 0, batch_size: int = 16) -> SupernetProblem:
    return SupernetProblem(Supernet(SPACE, seed=seed), digits, batch_size=batch_size, seed=seed)


class InDoubles(SupernetProblem):
    """The problem in float64, where finite differences are exact enough."""

    def batch(self, step):
        images, labels = super().batch(step)
        return images.double(), labels


def _gated_loss(problem: SupernetProblem, gates: list[np.ndarray], step: int) -> float:
    """The loss with every gate open as far as its number says (ProxylessNAS, eq. 1 and 3)."""
    x, labels = problem.batch(step)
    problem.supernet.train()
    with torch.no_grad():
        for slot, candidates in zip(
            problem.supernet.slots, problem.supernet.candidates, strict=True
        ):
            if slot.choice is None:
                x = candidates[0](x)
            else:
                x = sum(
                    float(g) * module(x)
                    for g, module in zip(gates[slot.choice], candidates, strict=True)
                )
        return float(functional.cross_entropy(x, labels))


@pytest.mark.parametrize("number", range(3))
def test_gate_gradients_are_those_of_finite_differences(digits: Dataset, number: int) -> None:
    """Also of the skip, active or not, which the published code gives no gradient when active."""
    supernet = Supernet(SPACE, seed=number).double()
    problem = InDoubles(supernet, digits, batch_size=16, seed=number)
    path = ((1, 0, 2, 0, 3), (0, 0, 0, 0, 0), (2, 3, 1, 0, 1))[number]
    found = problem.gate_gradients(path, EVERY, 5)
    gates = [np.eye(size)[chosen] for size, chosen in zip(SIZES, path, strict=True)]
    h = 1e-7  # small enough to step over no kink of a ReLU
    for choice, size in enumerate(SIZES):
        for option in range(size):
            change = [gate.copy() for gate in gates]
            change[choice][option] += h
            up = _gated_loss(problem, change, 5)
            change[choice][option] -= 2 * h
            down = _gated_loss(problem, change, 5)
            assert found[choice][option] == pytest.approx((up - down) / (2 * h), abs=1e-6)
    assert any(found[choice][0] != 0 for choice in (1, 3))  # skips that are run


def test_two_paths_see_the_same_gradients_as_all(digits: Dataset) -> None:
    problem = _problem(digits)
    path = uniform_path(SPACE, 0, 0)
    every = problem.gate_gradients(path, EVERY, 2)
    wanted = [[chosen, (chosen + 1) % 4] for chosen in path]
    two = problem.gate_gradients(path, wanted, 2)
    for choice, options in enumerate(wanted):
        assert two[choice] == pytest.approx([every[choice][o] for o in options], rel=1e-5)


def test_an_architecture_step_changes_no_weight_statistic_or_gradient(digits: Dataset) -> None:
    problem = _problem(digits)
    before = {name: value.clone() for name, value in problem.supernet.state_dict().items()}
    problem.gate_gradients((1, 0, 2, 3, 1), EVERY, 0)
    problem.accuracies([(1, 0, 2, 3, 1), (0, 0, 0, 0, 0)], 0)
    after = problem.supernet.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in problem.supernet.parameters())


def test_only_the_active_operation_and_the_wanted_ones_are_run(digits: Dataset) -> None:
    problem, calls = _problem(digits), []
    for slot, candidates in enumerate(problem.supernet.candidates):
        for option, module in enumerate(candidates):
            module.register_forward_hook(lambda *_, place=(slot, option): calls.append(place))
    problem.gate_gradients((1, 1, 1, 1, 1), [[1, 2]] * 5, 0)
    assert sorted(calls) == sorted(
        [(0, 0), (6, 0), *((slot, o) for slot in range(1, 6) for o in (1, 2))]
    )


def test_batches_come_from_the_arch_split_by_step_whatever_was_asked_before(digits) -> None:
    problem = _problem(digits)
    arch_images = digits.images("arch", 10_000)
    known = {tuple(image.flatten()[:40].tolist()) for image in arch_images}
    in_order = [problem.batch(step)[0].clone() for step in range(problem.per_epoch + 3)]
    assert {tuple(i.flatten()[:40].tolist()) for batch in in_order for i in batch} <= known
    assert not torch.equal(in_order[0], in_order[1])  # not one batch over and over
    assert not torch.equal(in_order[0], in_order[problem.per_epoch])  # reshuffled
    again = _problem(digits)
    for step in (7, 2, 3, problem.per_epoch + 1):
        assert torch.equal(again.batch(step)[0], in_order[step])


def test_accuracies_are_all_of_the_same_images(digits: Dataset) -> None:
    problem = _problem(digits)
    path = (1, 2, 3, 0, 1)
    images, labels = problem.batch(4)
    expected = float((problem.supernet(images, path).argmax(1) == labels).float().mean())
    assert problem.accuracies([path, path, (0,) * 5], 4)[:2] == [expected, expected]


def test_the_network_of_a_weight_step_shares_the_supernets_weights(digits: Dataset) -> None:
    problem = _problem(digits)
    network = problem.network((1, 0, 2, 3, 1))
    assert isinstance(network, nn.Module)
    mine = {id(p) for p in problem.supernet.parameters()}
    assert all(id(p) in mine for p in network.parameters())
    assert problem.macs((0,) * 5) < problem.macs((3,) * 5)


def test_values_that_are_not_finite_are_found_in_their_step(digits: Dataset) -> None:
    class Broken(SupernetProblem):
        def batch(self, step):
            images, labels = super().batch(step)
            images[0, 0, 0, 0] = float("nan")
            return images, labels

    broken = Broken(Supernet(SPACE), digits, batch_size=16, seed=0)
    with pytest.raises(DivergedError, match=r"architecture step 3 .* images of arch hold NaN"):
        broken.gate_gradients((1, 0, 2, 3, 1), EVERY, 2)
    with pytest.raises(DivergedError, match="architecture step 1"):
        broken.accuracies([(0,) * 5], 0)
    problem = _problem(digits)
    with torch.no_grad():
        for parameter in problem.supernet.parameters():
            parameter.fill_(float("inf"))
    with pytest.raises(DivergedError, match="lower the supernet's lr"):
        problem.gate_gradients((3,) * 5, EVERY, 0)
