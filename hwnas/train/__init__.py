"""Training one network: recipe, loop, checkpoints, weights."""

from hwnas.train.checkpoint import load_weights, save_weights
from hwnas.train.engine import (
    DivergedError,
    EpochReport,
    Score,
    TrainResult,
    core_seconds,
    evaluate,
    fit,
)
from hwnas.train.recipe import Recipe, RecipeSchema

__all__ = [
    "DivergedError",
    "EpochReport",
    "Recipe",
    "RecipeSchema",
    "Score",
    "TrainResult",
    "core_seconds",
    "evaluate",
    "fit",
    "load_weights",
    "save_weights",
]
