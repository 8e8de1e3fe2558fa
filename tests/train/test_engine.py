from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.data import Dataset
from hwnas.errors import InputError, StorageError, UsageError
from hwnas.train import DivergedError, EpochReport, Recipe, evaluate, fit
from hwnas.train.engine import SingleNetwork
from hwnas.train.mixing import mixer

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
    result = fit(
        network,
        digits,
        ("train", "arch"),
        replace(SHORT, epochs=4),
        seed=0,
        on_epoch=reports.append,
    )
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
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 10)
        )
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=torch_rng) * 0.1)
        return network

    recipe = Recipe(
        epochs=1,
        batch_size=5000,
        lr=0.1,
        weight_decay=0.3,
        label_smoothing=0.1,
        grad_clip=0.2,
        warmup_epochs=0,
        augment=False,
    )
    trained, by_hand = model(), model()
    fit(trained, digits, ("train",), recipe, seed=3)
    ((images, labels),) = digits.batches(("train",), batch_size=5000)
    functional.cross_entropy(by_hand(images), labels, label_smoothing=0.1).backward()
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in by_hand.parameters()))
    decays = {"0.weight": 0.3, "4.weight": 0.3}
    assert norm > 0.2  # else clipping would not be tested
    for (name, moved), start in zip(trained.named_parameters(), by_hand.parameters(), strict=True):
        gradient = start.grad * (0.2 / norm) + decays.get(name, 0.0) * start.detach()
        # with a fresh momentum buffer Nesterov's step is (1 + momentum) times the gradient
        torch.testing.assert_close(
            moved.detach(), start.detach() - 0.1 * 1.9 * gradient, rtol=1e-3, atol=1e-5
        )


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
        images
        for epoch in (0, 1)
        for images, _ in digits.batches(("arch",), batch_size=64, seed=8, epoch=epoch, augment=True)
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
        fit(
            make_network(),
            digits,
            ("arch",),
            SHORT,
            seed=5,
            checkpoint=tmp_path / "c.pt",
            on_epoch=kill,
        )
    rest = fit(resumed, digits, ("arch",), SHORT, seed=5, checkpoint=tmp_path / "c.pt")
    assert _equal(unbroken, resumed)
    assert (rest.steps, rest.images_trained) == (whole.steps, whole.images_trained)
    assert rest.final_loss == whole.final_loss


def test_a_finished_training_is_read_back_and_not_repeated(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path
) -> None:
    first, again, epochs = make_network(), make_network(seed=9), []
    result = fit(first, digits, ("arch",), SHORT, seed=5, checkpoint=tmp_path / "c.pt")
    assert (
        fit(
            again,
            digits,
            ("arch",),
            SHORT,
            seed=5,
            checkpoint=tmp_path / "c.pt",
            on_epoch=epochs.append,
        )
        == result
    )
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
        -share * math.log(0.3) - (1 - share) * math.log(0.7 / 9), rel=1e-5
    )


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


def test_training_on_a_hidden_split_is_refused(digits: Dataset, make_network: MakeNetwork) -> None:
    with pytest.raises(UsageError, match="never sees test"):
        fit(make_network(), digits.without_test(), ("test",), SHORT, seed=0)


def test_the_average_is_the_recurrence_over_the_steps(
    digits: Dataset, make_network: MakeNetwork
) -> None:
    plain, weights = make_network(), []

    class Watching(SingleNetwork):
        def after_step(self, step: int) -> None:
            weights.append(self.network.state_dict()["0.0.weight"].clone())

    recipe = replace(SHORT, epochs=2)
    fit(plain, digits, ("arch",), recipe, seed=0, companion=Watching(plain))
    averaged = make_network()
    fit(averaged, digits, ("arch",), replace(recipe, ema=0.9), seed=0)
    expected = weights[0]
    for step, weight in enumerate(weights[1:], start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(averaged.state_dict()["0.0.weight"], expected)
    assert not torch.equal(averaged.state_dict()["0.0.weight"], weights[-1])


class Counting:
    """A companion with a state of its own, which decides what it does."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.total, self.seen = network, 0, []

    def identity(self) -> dict[str, str]:
        return {"kind": "counting"}

    def networks(self, step: int) -> list[nn.Module]:
        self.seen.append((step, self.total))
        return [self.network]

    def after_step(self, step: int) -> None:
        self.total += step + 1

    def after_epoch(self, epoch: int) -> dict[str, int]:
        return {"total": self.total}

    def state(self) -> dict[str, int]:
        return {"total": self.total}

    def restore(self, state: dict[str, int]) -> None:
        self.total = state["total"]


@pytest.mark.parametrize(
    "changes", [{"ema": 0.9}, {"mixup": 0.4, "cutmix": 1.0}, {"randaugment": 9}], ids=str
)
def test_all_that_decides_the_future_is_in_the_checkpoint(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path, changes: dict[str, float]
) -> None:
    recipe = replace(SHORT, **changes)
    unbroken, resumed, reports = make_network(), make_network(), []
    whole = Counting(unbroken)
    fit(unbroken, digits, ("arch",), recipe, seed=5, companion=whole)

    def kill(report: EpochReport) -> None:
        if report.epoch == 2:
            raise Killed

    first = make_network()
    with pytest.raises(Killed):
        fit(
            first,
            digits,
            ("arch",),
            recipe,
            seed=5,
            checkpoint=tmp_path / "c.pt",
            on_epoch=kill,
            companion=Counting(first),
        )
    rest = Counting(resumed)
    fit(
        resumed,
        digits,
        ("arch",),
        recipe,
        seed=5,
        checkpoint=tmp_path / "c.pt",
        on_epoch=reports.append,
        companion=rest,
    )
    assert _equal(unbroken, resumed)
    assert rest.seen == whole.seen[6:]
    # the epoch that was on record but perhaps not written down is told again
    assert [(r.epoch, r.record["total"]) for r in reports] == [(2, 21), (3, 45)]


def test_mixed_images_have_shares_of_labels_decided_by_seed_and_step() -> None:
    images, labels = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 4, 4), torch.arange(8) % 5
    mix = mixer(replace(SHORT, mixup=1.0, cutmix=1.0), 5, 0)
    assert mix is not None
    before = torch.get_rng_state()
    changed, shares = mix(images, labels, 3)
    again, same = mix(images, labels, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(changed, again)
    assert torch.equal(shares, same)
    assert not torch.equal(mix(images, labels, 4)[1], shares)
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    assert ((shares > 0).sum(1) <= 2).all()
    assert mixer(SHORT, 5, 0) is None


def test_a_recipe_that_compiles_runs_what_torch_compiled(
    digits: Dataset, make_network: MakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []

    def stand_in(network: nn.Module) -> nn.Module:
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", stand_in)
    network, plain = make_network(), make_network()
    fit(network, digits, ("arch",), replace(SHORT, epochs=1, compile=True), seed=0)
    fit(plain, digits, ("arch",), replace(SHORT, epochs=1), seed=0)
    assert compiled == [network]  # once
    assert _equal(network, plain)


def test_images_with_nan_are_told_from_a_rate_too_high(digits: Dataset) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))

    class Broken(Dataset):
        def batches(self, splits, **options):
            for images, labels in super().batches(splits, **options):
                images[0, 0, 0, 0] = math.nan
                yield images, labels

    broken = Broken(**{name: getattr(digits, name) for name in digits.__dataclass_fields__})
    with pytest.raises(DivergedError, match="images of this step hold NaN"):
        fit(network, broken, ("arch",), SHORT, seed=0)
    with pytest.raises(DivergedError, match="lower lr"):
        fit(network, digits, ("arch",), replace(SHORT, lr=1e30, grad_clip=0.0), seed=0)


def test_a_batch_larger_than_the_data_is_one_step(
    digits: Dataset, make_network: MakeNetwork
) -> None:
    result = fit(make_network(), digits, ("arch",), replace(SHORT, batch_size=100_000), seed=0)
    assert (result.steps, result.epochs) == (3, 3)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    fit(make_network(), digits, ("arch",), replace(SHORT, epochs=1), seed=0, checkpoint=path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="recipe"):  # another recipe never writes over it either
        fit(make_network(), digits, ("arch",), SHORT, seed=0, checkpoint=path)
    path.unlink()
    with pytest.raises(StorageError, match="No space left"):
        fit(make_network(), digits, ("arch",), SHORT, seed=0, checkpoint=path)
    assert not path.exists()
    path.write_bytes(before)
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]  # and nothing half-written


def test_a_finished_training_keeps_its_weights_once_and_is_read_back(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path
) -> None:
    files = {"checkpoint": tmp_path / "c.state", "weights": tmp_path / "w.safetensors"}
    recipe = replace(SHORT, ema=0.9)  # so that the weights are an average
    first, again = make_network(), make_network()
    result = fit(first, digits, ("arch",), recipe, seed=5, **files)
    assert files["checkpoint"].stat().st_size < 8_000 < files["weights"].stat().st_size
    reports: list[EpochReport] = []
    read = fit(again, digits, ("arch",), recipe, seed=5, on_epoch=reports.append, **files)
    assert read == result
    assert [report.epoch for report in reports] == [SHORT.epochs]
    assert _equal(first, again)
    files["weights"].unlink()
    with pytest.raises(InputError, match=r"its weights .* are gone"):
        fit(make_network(), digits, ("arch",), recipe, seed=5, **files)


def test_a_training_killed_before_its_checkpoint_shrinks_ends_the_same(
    digits: Dataset, make_network: MakeNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"checkpoint": tmp_path / "c.state", "weights": tmp_path / "w.safetensors"}

    def dying(network: nn.Module, path: Path) -> None:
        raise KeyboardInterrupt

    first, again = make_network(), make_network()
    with monkeypatch.context() as patch:
        patch.setattr("hwnas.train.engine.save_weights", dying)
        with pytest.raises(KeyboardInterrupt):
            fit(first, digits, ("arch",), SHORT, seed=5, **files)
    assert not files["weights"].exists()
    fit(again, digits, ("arch",), SHORT, seed=5, **files)
    assert _equal(first, again)
    assert files["weights"].exists()
