"""Training one network: recipe, loop, checkpoints, weights."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_PLACES = {
    **dict.fromkeys(("load_weights", "save_weights"), "checkpoint"),
    **dict.fromkeys(("Recipe", "RecipeSchema"), "recipe"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a recipe is read without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"hwnas.train.{_PLACES.get(name, 'engine')}"), name)
