"""What a budget leaves of a space: how many networks, which latencies, which choices matter."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hwnas.additive.graph import UNREACHABLE, smallest_so_far, smallest_to_go
from hwnas.arch import Option
from hwnas.search.problem.limits import LimitedSpace

SHARES = (0.01, 0.05, 0.1, 0.25, 0.35, 0.5, 0.65, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class ChoiceAudit:
    """One choice under the budget.

    ``spread_ms`` is the difference of the slowest and fastest option, all else equal (for a choice
    that others interact with: of the fastest completions). ``impossible`` options are in no
    network within the budget; ``is_forced`` when one option is left. ``is_negligible`` when the
    spread is below what the fastest network's latency repeats to, so that it never matters.
    """

    name: str
    spread_ms: float
    impossible: tuple[Option, ...]
    is_forced: bool
    is_negligible: bool


@dataclass(frozen=True)
class Audit:
    """What the first limit, a latency budget, leaves of a space.

    The number of feasible codes is exact where ``num_feasible_low == num_feasible_high``, and
    proved to lie between the two otherwise. ``percentiles`` maps percent of all codes to ms.
    """

    num_codes: int
    num_feasible_low: int
    num_feasible_high: int
    budget_ms: float
    fastest_ms: float
    slowest_ms: float
    percentiles: dict[str, float]
    choices: tuple[ChoiceAudit, ...]

    @property
    def share(self) -> float:
        """Feasible share of the codes (the middle of what is proved)."""
        return (self.num_feasible_low + self.num_feasible_high) / 2 / self.num_codes

    def to_json(self) -> dict[str, Any]:
        """Return the object result files hold."""
        return {**asdict(self), "feasible_share": self.share}


def audit(limited: LimitedSpace) -> Audit:
    """Return what the first limit of ``limited`` leaves; the other limits are not looked at."""
    budget_ms = limited.limits[0].maximum
    fastest_ms, slowest_ms = limited.extremes()
    window = limited.window(fastest_ms - 1, min(budget_ms, slowest_ms + 1))
    values = limited.percentiles(SHARES)
    return Audit(
        num_codes=limited.num_codes,
        num_feasible_low=window.num_low,
        num_feasible_high=window.num_high,
        budget_ms=budget_ms,
        fastest_ms=fastest_ms,
        slowest_ms=slowest_ms,
        percentiles={f"{100 * share:g}": ms for share, ms in zip(SHARES, values, strict=True)},
        choices=_choices(limited, min(budget_ms, slowest_ms + 1), fastest_ms),
    )


def _choices(limited: LimitedSpace, budget_ms: float, fastest_ms: float) -> tuple[ChoiceAudit, ...]:
    graph, function = limited.graph, limited.graph.functions[0]
    weights = [step.weights[0] for step in graph.steps]
    before, after = smallest_so_far(graph, weights), smallest_to_go(graph, weights)
    most = function.floor(budget_ms)
    noise_ms = _noise(limited) * fastest_ms
    audits = []
    for number, (choice, step) in enumerate(zip(limited.space.choices, graph.steps, strict=True)):
        through = before[number][:, None] + weights[number] + after[number + 1][step.next_state]
        smallest = np.where(step.allowed, through, UNREACHABLE).min(axis=0)
        options = smallest[: len(choice.options)]
        usable = options[options < UNREACHABLE // 2]  # the others complete no code
        spread_ms = float(usable.max() - usable.min()) / function.scale
        fits = options <= most
        audits.append(
            ChoiceAudit(
                name=choice.name,
                spread_ms=spread_ms,
                impossible=tuple(o for o, f in zip(choice.options, fits, strict=True) if not f),
                is_forced=int(fits.sum()) == 1 and len(choice.options) > 1,
                is_negligible=spread_ms <= noise_ms,
            )
        )
    return tuple(audits)


def _noise(limited: LimitedSpace) -> float:
    """Return the relative difference a table does not resolve: its rows' median repeatability."""
    table = limited.limits[0].table
    if table is None:
        return 0.0
    return limited.predictors[table].repeatability
