"""The training loop of one network, and its evaluation: ``fit`` and ``evaluate``."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from hwnas.data import Dataset
from hwnas.errors import HwnasError, UsageError
from hwnas.train.checkpoint import Progress, load_checkpoint, network_digest, save_checkpoint
from hwnas.train.recipe import Recipe

MOMENTUM = 0.9


class DivergedError(HwnasError):
    """The loss or the gradients became infinite or NaN; the weights are those before that step."""


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch: number from 1, mean training loss, last learning rate, seconds so far."""

    epoch: int
    epochs: int
    loss: float
    lr: float
    wall_s: float


@dataclass(frozen=True)
class TrainResult:
    """What a training did, all its parts together if it was interrupted.

    ``final_loss`` is the mean training loss of the last epoch; ``core_s`` the CPU time of this
    process and its workers.
    """

    epochs: int
    steps: int
    images_trained: int
    wall_s: float
    core_s: float
    final_loss: float


@dataclass(frozen=True)
class Score:
    """Accuracy (0..1) and mean cross-entropy over ``num_images``."""

    top1: float
    loss: float
    num_images: int


def fit(
    network: nn.Module,
    dataset: Dataset,
    splits: Sequence[str],
    recipe: Recipe,
    *,
    seed: int,
    torch_device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainResult:
    """Train ``network`` in place on ``splits`` by ``recipe``.

    With ``checkpoint`` the state is written there after each epoch, and a file that is there
    already is resumed: at equal threads and instruction set the result equals an unbroken run's bit
    for bit.

    Raises:
        DivergedError: the loss or gradients are not finite.
        InputError: the checkpoint is broken, or of another training.
        UsageError: a split the data set does not have.
    """
    device = torch.device(torch_device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = _Run(network, dataset, tuple(splits), recipe, seed, device, checkpoint)
    progress = run.resume()
    while progress.epochs < recipe.epochs:
        progress = run.epoch(progress)
        if checkpoint is not None:
            save_checkpoint(checkpoint, run.identity, network, run.optimiser, progress)
        if on_epoch is not None:
            lr = recipe.lr_at(progress.steps - 1, run.steps_per_epoch)
            on_epoch(EpochReport(progress.epochs, recipe.epochs, progress.loss, lr,
                                 progress.wall_s))
    return TrainResult(progress.epochs, progress.steps, progress.images_trained, progress.wall_s,
                       progress.core_s, progress.loss)


class _Run:
    """One call of :func:`fit`: what stays the same over its epochs."""

    def __init__(
        self,
        network: nn.Module,
        dataset: Dataset,
        splits: tuple[str, ...],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        checkpoint: Path | None,
    ) -> None:
        self.network = network
        self.dataset = dataset
        self.splits = splits
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.checkpoint = checkpoint
        sizes = dataset.batch_sizes(splits, batch_size=recipe.batch_size, training=True)
        if not sizes:
            raise UsageError(f"data set {dataset.name}: training on {', '.join(splits)} needs at "
                             "least 2 images. Next: add images or train on more splits.")
        self.steps_per_epoch = len(sizes)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = _optimiser(network, recipe)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this training."""
        return {
            "network": network_digest(self.network),
            "dataset": self.dataset.fingerprint,
            "splits": list(self.splits),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
        }

    def resume(self) -> Progress:
        """Return where to go on: the checkpoint's state, or the start."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return Progress()
        return load_checkpoint(self.checkpoint, self.identity, self.network, self.optimiser)

    def epoch(self, before: Progress) -> Progress:
        """Train one epoch."""
        wall, cores = time.perf_counter(), core_seconds()
        self.network.train()
        step, num_images, total_loss = before.steps, 0, 0.0
        batches = self.dataset.batches(
            self.splits, batch_size=self.recipe.batch_size, seed=self.seed, epoch=before.epochs,
            shuffle=True, augment=self.recipe.augment, torch_device=self.device,
        )
        for images, labels in batches:
            loss = self._step(images, labels, step, before.epochs)
            total_loss += loss * len(labels)
            num_images += len(labels)
            step += 1
        return Progress(
            epochs=before.epochs + 1,
            steps=step,
            images_trained=before.images_trained + num_images,
            wall_s=before.wall_s + time.perf_counter() - wall,
            core_s=before.core_s + core_seconds() - cores,
            loss=total_loss / num_images,
        )

    def _step(self, images: torch.Tensor, labels: torch.Tensor, step: int, epoch: int) -> float:
        lr = self.recipe.lr_at(step, self.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        # bfloat16 keeps float32's range, so no loss scaling; on CPU it is slower than float32
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = functional.cross_entropy(self.network(images), labels,
                                            label_smoothing=self.recipe.label_smoothing)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.grad_clip or math.inf)
        value = loss.item()
        if not math.isfinite(value) or not math.isfinite(norm.item()):
            raise DivergedError(self._divergence(value, norm.item(), step, epoch, lr))
        self.optimiser.step()
        return value

    def _divergence(self, loss: float, norm: float, step: int, epoch: int, lr: float) -> str:
        kept = "none"
        if self.checkpoint is not None and self.checkpoint.exists():
            kept = f"{self.checkpoint} (after epoch {epoch})"
        return (f"training diverged in epoch {epoch + 1}, step {step + 1}: loss {loss}, gradient "
                f"norm {norm}, learning rate {lr:.3g}; last good checkpoint: {kept}. Next: lower "
                "lr, lengthen warmup_epochs or set grad_clip in the recipe, and check the images.")


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return SGD with weight decay on the weights of convolutions and linear layers only."""
    decayed = {
        id(module.weight) for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if id(p) in decayed],
         "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, nesterov=True)


def core_seconds() -> float:
    """Return the CPU time of this process and of its ended workers: cost is a difference of two."""
    return sum(os.times()[:4])


def evaluate(
    network: nn.Module,
    dataset: Dataset,
    split: str,
    *,
    batch_size: int = 256,
    torch_device: str | torch.device = "cpu",
) -> Score:
    """Score ``network`` on a split in float32, batch norms in evaluation mode; its mode is kept.

    Raises:
        DivergedError: the loss is not finite: the weights are broken.
        UsageError: a split the data set does not have.
    """
    device = torch.device(torch_device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    was_training = network.training
    network.eval()
    correct, loss, num_images = 0, 0.0, 0
    with torch.inference_mode():
        for images, labels in dataset.batches((split,), batch_size=batch_size,
                                              torch_device=device):
            logits = network(images)
            loss += functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum())
            num_images += len(labels)
    network.train(was_training)
    if not math.isfinite(loss):
        raise DivergedError(f"the loss on {split} is {loss}: the weights are broken. Next: train "
                            "again with a lower learning rate.")
    return Score(correct / num_images, loss / num_images, num_images)
