"""The stages of a whole run, with the trainings that are known beforehand. Imports no torch."""

from __future__ import annotations

from hwnas.io.progress import Stage
from hwnas.pipeline.config.run import RunConfig

RETRAINING = "retraining finalists"
CROSS_VALIDATION = "cross-validating finalists"


def evaluating(place: int, num_budgets: int) -> str:
    """Return what progress reports call the evaluations for budget number ``place`` (from 0)."""
    return f"evaluating for budget {place + 1}" if num_budgets > 1 else "evaluating"


def stages_of(config: RunConfig) -> tuple[Stage, ...]:
    """Return the stages of ``hwnas run`` in their order.

    Epochs of supernets are left out, as they take longer than those of single networks; so are
    those of successive halving, whose number depends on the scores.
    """
    num_budgets = max(1, len(config.targets[0].budgets_ms))
    search, retrain = config.search, config.retrain
    from_scratch = search.evaluator.entry.trains == "networks" and search.halving is None
    each = float(search.recipe.epochs) if from_scratch else 0.0
    retrain_each = float(retrain.recipe.epochs) if retrain.train else 0.0
    num_retrained = num_budgets * retrain.top * (2 if retrain.random_baseline else 1)
    return (
        Stage("profile"),
        Stage(
            "search",
            each * search.evaluations * num_budgets,
            {evaluating(place, num_budgets): each for place in range(num_budgets)},
        ),
        Stage(
            "retrain",
            retrain_each * num_retrained * (1 + retrain.folds),
            {RETRAINING: retrain_each, CROSS_VALIDATION: retrain_each},
        ),
        Stage("export"),
        Stage("bench", len(config.bench.baselines) * float(retrain.recipe.epochs)),
        Stage("select"),
        Stage("report"),
    )
