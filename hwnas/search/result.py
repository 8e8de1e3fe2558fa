"""From evaluations to answers: the best within each budget, the finalists, the front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from hwnas.artifacts.events import EvaluationEvent
from hwnas.artifacts.networks import Candidate
from hwnas.artifacts.search import ChangePart, FrontPoint, ShadowPricePart
from hwnas.search.pareto import non_dominated


class Valued(Protocol):
    """Anything with a value: a score in a file, or one of an evaluation."""

    @property
    def value(self) -> float:
        """The score."""


class Scored(Protocol):
    """A network with its scores."""

    @property
    def network_id(self) -> str:
        """The network's id."""

    @property
    def objectives(self) -> Mapping[str, Valued]:
        """Its scores by name; ``top1`` is one of them."""


def rank_key(network: Scored) -> tuple[float, float, float, str]:
    """Sort best first: higher top-1, then lower loss, then the id, so that ties have one order.

    Networks trained for more epochs (successive halving) come before those trained for fewer.
    """
    objectives = network.objectives
    epochs = objectives["epochs"].value if "epochs" in objectives else 0.0
    loss = objectives["loss"].value if "loss" in objectives else 0.0
    return -epochs, -objectives["top1"].value, loss, network.network_id


def finalists(events: Sequence[EvaluationEvent], count: int) -> tuple[Candidate, ...]:
    """Return the best ``count`` evaluated networks with distinct network_id, best first."""
    distinct: dict[str, EvaluationEvent] = {}
    for event in sorted((event for event in events if event.is_scored), key=rank_key):
        distinct.setdefault(event.network_id, event)
    return tuple(event.candidate for event in list(distinct.values())[:count])


def front(events: Sequence[EvaluationEvent]) -> tuple[FrontPoint, ...]:
    """Return every evaluated network with whether it is on the accuracy-latency front."""
    events = [event for event in events if event.is_scored]
    if not events:
        return ()
    # (num_networks, 2), both columns to be minimised
    values = np.array([[e.latency_ms, -e.objectives["top1"].value] for e in events])
    points = [
        FrontPoint(
            arch_id=event.arch_id,
            network_id=event.network_id,
            latency_ms=event.latency_ms,
            top1=event.objectives["top1"].value,
            on_front=bool(on),
        )
        for event, on in zip(events, non_dominated(values), strict=True)
    ]
    return tuple(sorted(points, key=lambda point: (point.latency_ms, -point.top1)))


def shadow_price(best: Candidate, events: Sequence[EvaluationEvent]) -> ShadowPricePart | None:
    """Return what more latency would buy beyond ``best``: the first better network above it.

    Of the front of the evaluated networks, the fastest that is slower and more accurate than
    ``best``, with the difference in accuracy per ms (the discrete counterpart of the budget's
    Lagrange multiplier) and the choices that differ. None where no evaluated network is both.
    """
    better = [
        event
        for event in events
        if event.is_scored
        and event.latency_ms > best.latency_ms
        and event.objectives["top1"].value > best.top1.value
    ]
    if not better:
        return None
    found = min(better, key=lambda event: (event.latency_ms, rank_key(event))).candidate
    more_top1 = found.top1.value - best.top1.value
    more_ms = found.latency_ms - best.latency_ms
    before, after = best.arch.choices, found.arch.choices
    return ShadowPricePart(
        arch=found.arch,
        arch_id=found.arch_id,
        network_id=found.network_id,
        latency_ms=found.latency_ms,
        objectives=found.objectives,
        more_ms=more_ms,
        more_top1=more_top1,
        top1_per_ms=more_top1 / more_ms,
        changes=tuple(
            ChangePart(choice=name, before=before.get(name), after=after.get(name))
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ),
    )


def total_cost(costs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of costs by name."""
    total: dict[str, float] = {}
    for cost in costs:
        for name, value in cost.items():
            total[name] = total.get(name, 0.0) + value
    return total
