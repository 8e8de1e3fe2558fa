"""Which strategy ``hwnas search`` takes where none is named, and why."""

from __future__ import annotations

from typing import NamedTuple

from hwnas.search.evaluators.registry import EvaluatorEntry
from hwnas.search.strategies.registry import STRATEGIES


class DefaultStrategy(NamedTuple):
    """A strategy's name and why it is the default here."""

    name: str
    reason: str


def default_strategy(
    *,
    evaluator: EvaluatorEntry | None,
    evaluations: int,
    trains_gates: bool,
    starts_from_weights: bool = False,
    needs_evolution: str | None = None,
) -> DefaultStrategy:
    """Return the strategy to take with what was given.

    Args:
        evaluator: the evaluator that was asked for; None: none was.
        evaluations: how many networks may be scored for each budget.
        trains_gates: whether gates can be trained over the choices of the space.
        starts_from_weights: whether the supernet starts from published weights.
        needs_evolution: the name of an option that only goes with strategies like evolution.

    The choices follow measurements in ``benchmarks/``: on published accuracy predictors,
    combined-moves finds better networks than evolution (``ofa_note10.py``); in 200 and 500
    evaluations, evolution loses less than random search under every budget (``nasbench201.py``).
    With images, one supernet with gates costs less than training networks one by one.
    """
    if needs_evolution is not None:
        return DefaultStrategy("evolution", f"the strategy for {needs_evolution}")
    at_array_speed = evaluator is not None and evaluator.at_array_speed
    if at_array_speed and evaluations >= STRATEGIES["combined-moves"].min_evaluations:
        return DefaultStrategy(
            "combined-moves", f"the best where {evaluations:,} networks are scored in seconds"
        )
    by_supernet = evaluator is None or evaluator.trains == "supernet"
    if by_supernet and trains_gates and not starts_from_weights:
        return DefaultStrategy(
            "proxyless", "trains one supernet instead of many networks, and ends at the budget"
        )
    return DefaultStrategy(
        "evolution", "finds better networks than random search in as many evaluations"
    )
