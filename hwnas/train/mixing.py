"""Mixup and CutMix of whole batches through torchvision, decided by (seed, step)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hwnas.rng import derived_seed
from hwnas.train.recipe import Recipe

Mixer = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def mixer(recipe: Recipe, num_classes: int, seed: int) -> Mixer | None:
    """Return a function (images, labels (N,), step) -> (images, label shares (N, num_classes)).

    None where the recipe mixes nothing; with both, each step draws one of them. Mixup: Zhang et
    al., ICLR 2018; CutMix: Yun et al., ICCV 2019.
    """
    if not (recipe.mixup or recipe.cutmix):
        return None
    from torchvision.transforms import v2  # takes seconds to import

    kinds: list[v2.Transform] = []
    if recipe.mixup:
        kinds.append(v2.MixUp(alpha=recipe.mixup, num_classes=num_classes))
    if recipe.cutmix:
        kinds.append(v2.CutMix(alpha=recipe.cutmix, num_classes=num_classes))
    choose = v2.RandomChoice(kinds)

    def mix(images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        # torchvision draws from torch's global generator, which must stay as it was
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derived_seed(seed, "mix", step))
            mixed, shares = choose(images, labels)
        return mixed.contiguous(memory_format=torch.channels_last), shares

    return mix
