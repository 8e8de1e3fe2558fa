from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.data import Dataset
from hwnas.errors import UsageError
from hwnas.train import DivergedError, EpochReport, Recipe, evaluate, fit

MakeNetwork = Callable[..., nn.Module]
SHORT = Recipe(epochs=3, batch_size=64, warmup_epochs=0.5)


class Poisoned(nn.Module):
    """A linear classifier whose output is NaN from one training step on."""

    def __init__(self, at_step: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 16 * 16, 10)
        self.at_step, self.step = at_step, 0

    def forward(self, x: Tensor) -> Tensor:
        self.step += 1
        out: Tensor = self.linear(x.flatten(1))
        return out * (math.nan if self.step >= self.at_step else 1.0)


def _equal(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_training_learns_the_digits_and_counts_what_it_did(
    digits: Dataset, make_network: MakeNetwork
) -> None:
    network, reports = make_network(), []
    before = evaluate(network, digits, "val")
    result = fit(network, digits, ("train", "arch"), replace(SHORT, epochs=4), seed=0,
                 on_epoch=reports.append)
    after = evaluate(network, digits, "val")
    num_images = digits.sizes["train"] + digits.sizes["arch"]
    assert before.top1 < 0.3
    assert after.top1 > 0.7
    assert after.num_images == digits.sizes["val"]
    assert (result.epochs, result.images_trained) == (4, 4 * num_images)
    assert result.steps == 4 * math.ceil(num_images / 64)
    assert 0 < result.wall_s < 60
    assert result.core_s > 0
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert reports[-1] == EpochReport(4, 4, result.final_loss, reports[-1].lr, result.wall_s)
    assert reports[-1].loss < reports[0].loss


def test_the_first_step_is_nesterov_sgd_with_decay_on_weights_only(digits: Dataset) -> None:
    def model() -> nn.Sequential:
        torch_rng = torch.Generator().manual_seed(1)
        network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                                nn.Linear(4 * 49, 10))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=torch_rng) * 0.1)
        return network

    recipe = Recipe(epochs=1, batch_size=5000, lr=0.1, weight_decay=0.3, label_smoothing=0.1,
                    grad_clip=0.2, warmup_epochs=0, augment=False)
    trained, by_hand = model(), model()
    fit(trained, digits, ("train",), recipe, seed=3)
    (images, labels), = digits.batches(("train",), batch_size=5000)
    functional.cross_entropy(by_hand(images), labels, label_smoothing=0.1).backward()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in by_hand.parameters()))
    decays = {"0.weight": 0.3, "4.weight": 0.3}
    assert norm > 0.2  # else clipping would not be tested
    for (name, moved), start in zip(trained.named_parameters(), by_hand.parameters(), strict=True):
        gradient = start.grad * (0.2 / norm) + decays.get(name, 0.0) * start.detach()
        # with a fresh momentum buffer Nesterov's step is (1 + momentum) times the gradient
        torch.testing.assert_close(moved.detach(), start.detach() - 0.1 * 1.9 * gradient,
                                   rtol=1e-3, atol=1e-5)


def test_equal_seeds_give_equal_weights_and_others_do_not(
    digits: Dataset, make_network: MakeNetwork
) -> None:
    first, second, other = make_network(), make_network(), make_network()
    for network, seed in ((first, 1), (second, 1), (other, 2)):
        fit(network, digits, ("arch",), SHORT, seed=seed)
    assert _equal(first, second)
    assert not _equal(first, other)


def test_every_epoch_trains_on_its_own_order_and_views(digits: Dataset) -> None:
    seen: list[Tensor] = []
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    fit(network, digits, ("arch",), replace(SHORT, epochs=2), seed=8)
    expected = [
        images for epoch in (0, 1)
        for images, _ in digits.batches(("arch",), batch_size=64, seed=8, epoch=epoch,
                                        augment=True)
    ]
    assert len(seen) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_training_leaves_the_global_generator_alone(
    digits: Dataset, make_network: MakeNetwork
) -> None:
    before = torch.get_rng_state()
    fit(make_network(), digits, ("arch",), replace(SHORT, epochs=1), seed=0)
    assert torch.equal(torch.get_rng_state(), before)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("killed_after", [1, 2])
def test_an_interrupted_training_equals_an_unbroken_one_bit_for_bit(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path, killed_after: int
) -> None:
    unbroken, resumed = make_network(), make_network()
    whole = fit(unbroken, digits, ("arch",), SHORT, seed=5)

    def kill(report: EpochReport) -> None:
        if report.epoch == killed_after:
            raise Killed

    with pytest.raises(Killed):
        fit(make_network(), digits, ("arch",), SHORT, seed=5,
            checkpoint=tmp_path / "c.pt", on_epoch=kill)
    rest = fit(resumed, digits, ("arch",), SHORT, seed=5, checkpoint=tmp_path / "c.pt")
    assert _equal(unbroken, resumed)
    assert (rest.steps, rest.images_trained) == (whole.steps, whole.images_trained)
    assert rest.final_loss == whole.final_loss


def test_a_finished_training_is_read_back_and_not_repeated(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path
) -> None:
    first, again, epochs = make_network(), make_network(seed=9), []
    result = fit(first, digits, ("arch",), SHORT, seed=5, checkpoint=tmp_path / "c.pt")
    assert fit(again, digits, ("arch",), SHORT, seed=5, checkpoint=tmp_path / "c.pt",
               on_epoch=epochs.append) == result
    assert [report.epoch for report in epochs] == [SHORT.epochs]  # told again, trained no more
    assert _equal(first, again)


def test_a_nan_is_found_in_its_step_and_the_last_checkpoint_is_named(
    digits: Dataset, tmp_path: Path
) -> None:
    network, path = Poisoned(at_step=5), tmp_path / "c.pt"  # 145 images: 3 steps an epoch
    with pytest.raises(DivergedError) as caught:
        fit(network, digits, ("arch",), SHORT, seed=0, checkpoint=path)
    message = str(caught.value)
    assert "epoch 2, step 5" in message
    assert "learning rate 0.0" in message
    assert f"{path} (after epoch 1)" in message
    assert torch.isfinite(network.linear.weight).all()


def test_a_first_step_that_diverges_has_no_checkpoint(digits: Dataset) -> None:
    with pytest.raises(DivergedError, match="last good checkpoint: none"):
        fit(Poisoned(at_step=1), digits, ("arch",), SHORT, seed=0)


def test_evaluation_is_that_of_hand_made_predictions(digits: Dataset) -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.log(torch.tensor([0.3] + [0.7 / 9] * 9)).expand(len(x), 10)

    labels = digits.labels[digits.rows["test"]]
    score = evaluate(Constant(), digits, "test", batch_size=37)
    share = (labels == 0).mean()
    assert score.top1 == share
    assert score.loss == pytest.approx(
        -share * math.log(0.3) - (1 - share) * math.log(0.7 / 9), rel=1e-5)


def test_evaluation_does_not_depend_on_the_batch_size_and_changes_nothing(
    digits: Dataset, make_network: MakeNetwork
) -> None:
    network = make_network().train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    scores = [evaluate(network, digits, "val", batch_size=size) for size in (1, 50, 500)]
    assert len({score.top1 for score in scores}) == 1
    assert scores[0].loss == pytest.approx(scores[2].loss, rel=1e-5)
    assert network.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_broken_weights_are_not_scored(digits: Dataset) -> None:
    with pytest.raises(DivergedError, match="broken"):
        evaluate(Poisoned(at_step=0), digits, "val")


def test_training_on_a_hidden_split_is_refused(
    digits: Dataset, make_network: MakeNetwork
) -> None:
    with pytest.raises(UsageError, match="never sees test"):
        fit(make_network(), digits.without_test(), ("test",), SHORT, seed=0)
