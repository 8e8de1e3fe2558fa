"""The engine: one step and one loop for every training, of networks, supernets and gates.

A :class:`TrainingStrategy` says which network each step trains (a plain training has one; a
supernet has a path per step) and may act between steps (the gates of ProxylessNAS). Its state is
part of the checkpoint, so an interrupted training continues bit for bit.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hwnas.data import Dataset
from hwnas.errors import HwnasError, InputError, UsageError
from hwnas.train import ranks
from hwnas.train.average import WeightAverage
from hwnas.train.checkpoint import (
    Progress,
    load_checkpoint,
    load_weights,
    network_digest,
    save_checkpoint,
    save_weights,
)
from hwnas.train.mixing import mixer
from hwnas.train.recipe import Recipe

MOMENTUM = 0.9


class DivergedError(HwnasError):
    """The loss or the gradients became infinite or NaN; no weight has followed them."""


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch: number from 1, mean training loss, last learning rate, seconds so far.

    ``record`` is what the companion says of the epoch.
    """

    epoch: int
    epochs: int
    loss: float
    lr: float
    wall_s: float
    record: Mapping[str, Any] = field(default_factory=dict)


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


@dataclass(frozen=True)
class ImageScores:
    """What a network makes of each image of a split, in the split's order.

    ``right`` (num_images,) says which images it classifies right, ``labels`` (num_images,) are
    their classes; ``loss`` is the mean cross-entropy.
    """

    right: NDArray[np.bool_]
    labels: NDArray[np.int64]
    loss: float

    @property
    def score(self) -> Score:
        """Accuracy and loss over all images."""
        return Score(int(self.right.sum()) / len(self.right), self.loss, len(self.right))


class TrainingStrategy(Protocol):
    """What accompanies a training: it chooses what each step trains, and may act in between."""

    def identity(self) -> Mapping[str, Any]:
        """Return what a checkpoint must share with this companion: plain values."""

    def networks(self, step: int) -> Sequence[nn.Module]:
        """Return the networks whose mean gradient step ``step`` follows; they share weights."""

    def after_step(self, step: int) -> None:
        """Act after a weight step; counted from 0 over the whole training."""

    def after_epoch(self, epoch: int) -> Mapping[str, Any]:
        """Return what is to be written down of epoch ``epoch`` (from 1)."""

    def state(self) -> Mapping[str, Any]:
        """Return tensors and plain values that decide what the companion does from here on."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned."""


@dataclass(frozen=True)
class SingleNetwork:
    """The companion of a plain training: every step trains the whole network."""

    network: nn.Module

    def identity(self) -> Mapping[str, Any]:
        """Have none."""
        return {}

    def networks(self, step: int) -> Sequence[nn.Module]:
        """Return the network."""
        return (self.network,)

    def after_step(self, step: int) -> None:
        """Do nothing."""

    def after_epoch(self, epoch: int) -> Mapping[str, Any]:
        """Have nothing to say."""
        return {}

    def state(self) -> Mapping[str, Any]:
        """Have nothing to keep."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


def fit(
    network: nn.Module,
    dataset: Dataset,
    splits: Sequence[str],
    recipe: Recipe,
    *,
    seed: int,
    torch_device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
    weights: Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    companion: TrainingStrategy | None = None,
) -> TrainResult:
    """Train ``network`` in place on ``splits`` by ``recipe``, and write ``weights``.

    With ``checkpoint`` the state is written there after each epoch, and a file that is there
    already is resumed: at equal threads and instruction set the result equals an unbroken run's bit
    for bit. Once ``weights`` are written, the checkpoint of a finished training holds none, nor the
    optimiser's state, which take several times as much space. ``on_epoch`` hears of the last epoch
    on record again when a training is resumed, so that nothing it was about to write down is lost.

    Raises:
        DivergedError: the loss or gradients are not finite.
        InputError: the checkpoint is broken, or of another training; or ``weights`` are gone.
        UsageError: a split the data set does not have, or too few images.
    """
    device = torch.device(torch_device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Training(
        network,
        dataset,
        tuple(splits),
        recipe,
        seed,
        device,
        checkpoint,
        companion or SingleNetwork(network),
    )
    progress, is_finished = run.resume(weights)

    def report() -> None:
        if on_epoch is not None:
            lr = recipe.lr_at(progress.steps - 1, run.steps_per_epoch)
            on_epoch(
                EpochReport(
                    progress.epochs,
                    recipe.epochs,
                    progress.loss,
                    lr,
                    progress.wall_s,
                    progress.record,
                )
            )

    if progress.epochs:
        report()
    while progress.epochs < recipe.epochs:
        progress = run.epoch(progress)
        if checkpoint is not None and ranks.rank() == 0:
            save_checkpoint(checkpoint, run.identity, run.parts(), progress)
        report()
    if not is_finished:
        run.finish()
        if weights is not None and ranks.rank() == 0:
            save_weights(network, weights)
            if checkpoint is not None:
                save_checkpoint(checkpoint, run.identity, run.finished_parts(), progress)
    return TrainResult(
        progress.epochs,
        progress.steps,
        progress.images_trained,
        progress.wall_s,
        progress.core_s,
        progress.loss,
    )


class Training:
    """One call of :func:`fit`: what stays the same over its epochs, and the one step."""

    def __init__(
        self,
        network: nn.Module,
        dataset: Dataset,
        splits: tuple[str, ...],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        checkpoint: Path | None,
        companion: TrainingStrategy,
    ) -> None:
        self.network = network
        self.dataset = dataset
        self.splits = splits
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.checkpoint = checkpoint
        self.companion = companion
        sizes = dataset.batch_sizes(splits, batch_size=recipe.batch_size, training=True)
        if not sizes:
            raise UsageError(
                f"data set {dataset.name}: training on {', '.join(splits)} needs at "
                "least 2 images. Next: add images or train on more splits."
            )
        self.steps_per_epoch = len(sizes)
        self.parameters = list(network.parameters())
        self.optimiser = optimiser_of(network, recipe)
        self.average = WeightAverage.of(network, recipe.ema)
        self.mix = mixer(recipe, dataset.num_classes, seed)
        self.run_networks: dict[nn.Module, Any] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this training."""
        return {
            "network": network_digest(self.network),
            "dataset": self.dataset.fingerprint,
            "splits": list(self.splits),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "companion": self.companion.identity(),
        }

    def parts(self) -> dict[str, Any]:
        """Return all that decides the future besides the data and the recipe."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state() if self.average else {},
            "companion": dict(self.companion.state()),
        }

    def finished_parts(self) -> dict[str, Any]:
        """Return what is left to keep when the weights are in a file of their own."""
        return {
            "network": {},
            "optimiser": {},
            "average": {},
            "companion": dict(self.companion.state()),
        }

    def resume(self, weights: Path | None) -> tuple[Progress, bool]:
        """Return where to go on, the checkpoint's state or the start, and whether that is the end.

        The weights of a training that has ended come from ``weights``.
        """
        if self.checkpoint is None or not self.checkpoint.exists():
            return Progress(), False
        parts, progress = load_checkpoint(self.checkpoint, self.identity)
        if not parts["network"]:
            if weights is None or not weights.is_file():
                raise InputError(
                    f"checkpoint {self.checkpoint}",
                    [f"the training has ended, and its weights {weights} are gone"],
                    "put them back, or remove the checkpoint to train anew",
                )
            load_weights(self.network, weights)
            self.companion.restore(parts["companion"])
            return progress, True
        self.network.load_state_dict(parts["network"])
        self.optimiser.load_state_dict(parts["optimiser"])
        if self.average:
            self.average.restore(parts["average"])
        self.companion.restore(parts["companion"])
        return progress, False

    def epoch(self, before: Progress) -> Progress:
        """Train one epoch."""
        wall, cores = time.perf_counter(), core_seconds()
        self.network.train()
        step, num_images, total_loss = before.steps, 0, 0.0
        batches = self.dataset.batches(
            self.splits,
            batch_size=self.recipe.batch_size,
            seed=self.seed,
            epoch=before.epochs,
            shuffle=True,
            augment=self.recipe.augment,
            randaugment=self.recipe.randaugment,
            torch_device=self.device,
            part=(ranks.rank(), ranks.world_size()),
        )
        for images, labels in batches:
            loss = self.step(images, labels, step, before.epochs)
            self.companion.after_step(step)
            total_loss += loss * len(labels)
            num_images += len(labels)
            step += 1
        after = Progress(
            epochs=before.epochs + 1,
            steps=step,
            images_trained=before.images_trained + ranks.total(num_images, self.device),
            loss=total_loss / num_images,
            record=dict(self.companion.after_epoch(before.epochs + 1)),
        )
        return replace(
            after,
            wall_s=before.wall_s + time.perf_counter() - wall,
            core_s=before.core_s + core_seconds() - cores,
        )

    def finish(self) -> None:
        """Leave the averaged weights in the network, where the recipe asks for an average."""
        if self.average:
            self.average.copy_to(self.network)

    def step(self, images: Tensor, labels: Tensor, step: int, epoch: int = 0) -> float:
        """Train one step on images (N, 3, H, W) and labels (N,); return the loss before it.

        Raises:
            DivergedError: the loss or gradients are not finite; no weight has changed.
        """
        lr = self.recipe.lr_at(step, self.steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        targets: Tensor = labels
        if self.mix is not None:
            images, targets = self.mix(images, labels, step)
        self.optimiser.zero_grad()  # to None: what this step does not train stays as it is
        networks = self.companion.networks(step)
        loss = 0.0
        for network in networks:
            loss += self._backward(network, images, targets, 1.0 / len(networks))
        active = [p for p in self.parameters if p.grad is not None]
        ranks.average_gradients(active)
        norm = nn.utils.get_total_norm([p.grad for p in active if p.grad is not None]).item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            finite = bool(torch.isfinite(images).all())
            raise DivergedError(self._divergence(loss, norm, step, epoch, lr, finite))
        # torch's clip_grad_norm_, but for the multiplication by one where nothing is clipped
        if self.recipe.grad_clip and norm + 1e-6 > self.recipe.grad_clip:
            nn.utils.clip_grads_with_norm_(active, self.recipe.grad_clip, torch.tensor(norm))
        self.optimiser.step()
        if self.average:
            self.average.update(self.network, step)
        return loss

    def _backward(self, network: nn.Module, images: Tensor, targets: Tensor, share: float) -> float:
        forward = compiled(network, self.run_networks) if self.recipe.compile else network
        # bfloat16 keeps float32's range, so no loss scaling; on CPU it is slower than float32
        use_amp = self.recipe.amp and self.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16, enabled=use_amp):
            loss = share * functional.cross_entropy(
                forward(images), targets, label_smoothing=self.recipe.label_smoothing
            )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _divergence(
        self, loss: float, norm: float, step: int, epoch: int, lr: float, finite: bool
    ) -> str:
        kept = "none"
        if self.checkpoint is not None and self.checkpoint.exists():
            kept = f"{self.checkpoint} (after epoch {epoch})"
        cause = (
            "Next: lower lr, lengthen warmup_epochs or set grad_clip in the recipe, and check "
            "the images."
            if finite
            else "The images of this step hold NaN or infinite values. Next: repair the data."
        )
        return (
            f"training diverged in epoch {epoch + 1}, step {step + 1}: loss {loss}, gradient "
            f"norm {norm}, learning rate {lr:.3g}; last good checkpoint: {kept}. {cause}"
        )


def compiled(network: nn.Module, known: dict[nn.Module, Any]) -> Any:
    """Return ``network`` compiled by torch, once a network; its parameters stay the same objects.

    Departure from ``network.compile()``: that would leave the user's module changed.
    """
    if network not in known:
        known[network] = torch.compile(network)
    return known[network]


def optimiser_of(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return SGD with weight decay on the weights of convolutions and linear layers only.

    Parameters without a gradient are left alone: neither momentum nor decay moves them.
    """
    decayed = {
        id(module.weight)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in parameters if id(p) in decayed],
            "weight_decay": recipe.weight_decay,
        },
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, nesterov=True, fused=True)
    # the fused step takes no mixture of parameters with and without momentum, which paths would
    # make; from zero the first step is the same
    for parameter in parameters:
        optimiser.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimiser


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

    Errors as in :func:`score_images`.
    """
    return score_images(
        network, dataset, split, batch_size=batch_size, torch_device=torch_device
    ).score


def score_images(
    network: nn.Module,
    dataset: Dataset,
    split: str,
    *,
    batch_size: int = 256,
    torch_device: str | torch.device = "cpu",
) -> ImageScores:
    """Score ``network`` on every image of a split; as :func:`evaluate`.

    Raises:
        DivergedError: the loss is not finite: the weights are broken.
        UsageError: a split the data set does not have.
    """
    device = torch.device(torch_device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    was_training = network.training
    network.eval()
    loss, finite = 0.0, True
    right: list[NDArray[np.bool_]] = []
    every_label: list[NDArray[np.int64]] = []
    with torch.inference_mode():
        for images, labels in dataset.batches((split,), batch_size=batch_size, torch_device=device):
            finite = finite and bool(torch.isfinite(images).all())
            logits = network(images)
            loss += functional.cross_entropy(logits, labels, reduction="sum").item()
            right.append((logits.argmax(1) == labels).cpu().numpy())
            every_label.append(labels.cpu().numpy())
    network.train(was_training)
    if not math.isfinite(loss):
        cause = (
            "the weights are broken. Next: train again with a lower learning rate"
            if finite
            else "images hold NaN or infinite values. Next: repair the data"
        )
        raise DivergedError(f"the loss on {split} is {loss}: {cause}.")
    labels_of_all = np.concatenate(every_label)
    return ImageScores(np.concatenate(right), labels_of_all, loss / len(labels_of_all))
