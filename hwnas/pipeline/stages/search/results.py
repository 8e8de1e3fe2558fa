"""The search stage: from a strategy's evaluations to result.json, finalists.json, front.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np

from hwnas.artifacts.events import EvaluationEvent
from hwnas.artifacts.networks import LimitPart
from hwnas.artifacts.search import (
    Answer,
    AuditPart,
    FinalistAnswer,
    FinalistsFile,
    FrontFile,
    MarginPart,
    PredictedRows,
    RestrictionPart,
    ResultFile,
)
from hwnas.pipeline.config.search import SearchConfig
from hwnas.pipeline.context import Context
from hwnas.pipeline.stages.search.drivers import SearchOutcome, run_search
from hwnas.search.predictors.fitted import MIN_NETWORKS, fit_predictor
from hwnas.search.problem.audit import audit
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.result import finalists, front, rank_key, shadow_price, total_cost

logger = logging.getLogger(__name__)


def search(context: Context, settings: SearchConfig, *, top: int, random_baseline: bool) -> bool:
    """Search under every budget; write result.json, finalists.json and front.json.

    Each budget gets ``top`` finalists and, with ``random_baseline``, as many random networks.
    """

    def work() -> tuple[ResultFile, Mapping[str, float]]:
        start = time.perf_counter()
        asked = [context.problem.limits(budget_ms) for budget_ms in context.problem.budgets_ms]
        searched = [context.problem.searched(limits) for limits in asked]
        context.problem.check_limits()  # an impossible limit ends the run before any work
        for restriction in searched[0].restricted:
            logger.info(f"not used: {restriction}")
        outcome = run_search(
            context, settings, searched, num_baselines=top if random_baseline else 0
        )
        events = [event for own in outcome.events for event in own]
        answers = _answers(
            context, asked, searched, outcome, top, every_budget=not settings.trains_gates
        )
        drawn = [event for own in outcome.baselines for event in own]
        cost = total_cost([*(event.cost for event in (*events, *drawn)), outcome.cost])
        result = ResultFile(
            strategy=settings.strategy,
            space=context.space.name,
            seed=context.execution.seed,
            restricted=tuple(
                RestrictionPart.from_json(r.to_json()) for r in searched[0].restricted
            ),
            predicted_rows=tuple(
                tuple(PredictedRows.from_json(rows) for rows in predictor.report())
                for predictor in context.problem.predictors
            ),
            num_evaluations=len(events),
            wall_s=round(time.perf_counter() - start, 3),
            cost=cost,
            headroom=tuple(
                context.problem.headroom(n) for n in range(len(context.problem.targets))
            ),
            margin=tuple(
                MarginPart.from_json(margin.to_json()) if margin else None
                for margin in context.problem.margins
            ),
            audit=AuditPart.from_json(audit(context.problem.limited(asked[0])).to_json()),
            answers=tuple(answer for answer, _ in answers),
        )
        fit_accuracies(context, settings, events)
        FinalistsFile(answers=tuple(listed for _, listed in answers)).save(context.folder.path)
        FrontFile(points=front(events)).save(context.folder.path)
        return result, cost

    return context.folder.stage("search", ResultFile.path(context.folder.path), work)


def _answers(
    context: Context,
    asked: Sequence[tuple[Limit, ...]],
    searched: Sequence[LimitedSpace],
    outcome: SearchOutcome,
    top: int,
    *,
    every_budget: bool,
) -> list[tuple[Answer, FinalistAnswer]]:
    """Return for each budget what result.json and finalists.json hold of it.

    ``every_budget``: the networks evaluated for one budget answer the others as well.
    """
    every = [event for own in outcome.events for event in own]
    found = []
    for limits, limited, own, drawn in zip(
        asked, searched, outcome.events, outcome.baselines, strict=True
    ):
        # scores of different supernets are not comparable
        comparable = every if every_budget else own
        inside = [e for e in comparable if e.objectives and _is_within(context, limited, e)]
        stated = tuple(LimitPart.from_json(limit.to_json()) for limit in limits)
        best = min(inside, key=rank_key).candidate if inside else None
        price = shadow_price(best, comparable) if best else None
        found.append(
            (
                Answer(limits=stated, best=best, shadow_price=price),
                FinalistAnswer(
                    limits=stated,
                    finalists=finalists(inside, top),
                    random=tuple(event.candidate for event in drawn),
                ),
            )
        )
    return found


def fit_accuracies(
    context: Context, settings: SearchConfig, events: Sequence[EvaluationEvent]
) -> None:
    """Write predictor.json, fitted to the evaluations, where there are enough that compare.

    Scores of a file are no evaluations, those of different supernets or rungs do not compare.
    """
    good = [event for event in events if event.objectives]
    if (
        settings.evaluator.entry.at_array_speed
        or settings.halving is not None
        or (settings.trains_gates and len(context.problem.budgets_ms) > 1)
        or len({event.network_id for event in good}) < MIN_NETWORKS
    ):
        return
    top1 = np.array([event.objectives["top1"].value for event in good])
    if np.ptp(top1) == 0:
        return
    archs = [context.data.arch(event.arch) for event in good]
    fitted = fit_predictor(context.space, archs, top1, seed=context.execution.seed)
    fitted.save(context.folder.file("predictor.json"))
    logger.info(
        f"predictor.json: fitted to {len(fitted.codes)} networks, Kendall tau "
        f"{fitted.kendall_tau:.2f} by cross-validation"
    )


def _is_within(context: Context, limited: LimitedSpace, event: EvaluationEvent) -> bool:
    codes = context.space.encode([context.data.arch(event.arch)]).astype("int64")
    return bool(limited.within(codes)[0])
