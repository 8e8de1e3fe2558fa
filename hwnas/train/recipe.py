"""How a network is trained, as a value; its spelling in run files; the learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from pydantic import model_validator

from hwnas.errors import InputError
from hwnas.io.schemas import FileSchema


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum 0.9, linear warm-up, then a cosine to 0, changed every step.

    ``lr`` is the peak learning rate at ``batch_size`` (nothing is rescaled); ``weight_decay`` acts
    on the weights of convolutions and linear layers, not on biases and batch norms; ``grad_clip``
    is the largest global gradient norm, 0 for none. ``randaugment`` is the magnitude (0..30) of
    RandAugment's two operations, ``mixup`` and ``cutmix`` the parameter of their Beta distribution,
    ``ema`` the decay of averaged weights; 0 turns each off. ``amp`` computes in bfloat16 on CUDA
    (on CPU float32 is faster and is kept); ``compile`` runs the network through torch.compile. The
    defaults suit images of about 32 pixels.

    Raises:
        InputError: lists every value that is out of range.
    """

    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.1
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    grad_clip: float = 5.0
    warmup_epochs: float = 1.0
    augment: bool = True
    randaugment: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    amp: bool = True
    compile: bool = False

    def __post_init__(self) -> None:
        rules = (
            ("epochs", self.epochs >= 1, "at least 1"),
            # batch norm needs two images in training
            ("batch_size", self.batch_size >= 2, "at least 2"),
            ("lr", 0 < self.lr < math.inf, "above 0 and finite"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0 and finite"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            ("grad_clip", 0 <= self.grad_clip < math.inf, "at least 0 (none) and finite"),
            ("randaugment", 0 <= self.randaugment <= 30, "from 0 (none) to 30"),
            ("mixup", 0 <= self.mixup < math.inf, "at least 0 (none) and finite"),
            ("cutmix", 0 <= self.cutmix < math.inf, "at least 0 (none) and finite"),
            ("ema", 0 <= self.ema < 1, "at least 0 (none) and below 1"),
            ("warmup_epochs", 0 <= self.warmup_epochs <= self.epochs, "from 0 to epochs"),
        )
        problems = [
            f"{name} must be {rule}, got {getattr(self, name)}"
            for name, holds, rule in rules
            if not holds
        ]
        if problems:
            raise InputError("training recipe", problems)

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """Return the learning rate of a step, counted from 0 over the whole training.

        Warm-up as Goyal et al. (arXiv:1706.02677, §2.2), cosine as Loshchilov & Hutter
        (ICLR 2017, eq. 5) without restarts.
        """
        total = self.epochs * steps_per_epoch
        warmup = round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup)))


class RecipeSchema(FileSchema):
    """A recipe in a run file; every key may be left out."""

    epochs: int = Recipe.epochs
    batch_size: int = Recipe.batch_size
    lr: float = Recipe.lr
    weight_decay: float = Recipe.weight_decay
    label_smoothing: float = Recipe.label_smoothing
    grad_clip: float = Recipe.grad_clip
    warmup_epochs: float = Recipe.warmup_epochs
    augment: bool = Recipe.augment
    randaugment: int = Recipe.randaugment
    mixup: float = Recipe.mixup
    cutmix: float = Recipe.cutmix
    ema: float = Recipe.ema
    amp: bool = Recipe.amp
    compile: bool = Recipe.compile

    @model_validator(mode="after")
    def _in_range(self) -> RecipeSchema:
        try:
            self.recipe()
        except InputError as error:
            raise ValueError("; ".join(error.problems)) from error
        return self

    def recipe(self) -> Recipe:
        """Return the value the library works with."""
        return Recipe(**self.model_dump())

    @staticmethod
    def of(recipe: Recipe) -> RecipeSchema:
        """Return the file's spelling of a recipe."""
        return RecipeSchema(**asdict(recipe))
