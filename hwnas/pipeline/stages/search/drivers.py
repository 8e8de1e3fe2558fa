"""What each kind of strategy does in a run: train what it needs, choose networks, score them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwnas.artifacts.events import (
    BaselineEvent,
    EvaluationEvent,
    read_events,
)
from hwnas.errors import HwnasError, UsageError
from hwnas.io.journal import Journal
from hwnas.pipeline.config.search import SearchConfig
from hwnas.pipeline.context import Context
from hwnas.pipeline.stages.outline import evaluating
from hwnas.pipeline.stages.search.evaluators import (
    code_evaluator,
    keep_file,
    search_evaluator,
    supernet_evaluator,
)
from hwnas.pipeline.stages.search.searchers import (
    FixedList,
    build_searcher,
    random_search,
    search_problem,
)
from hwnas.pipeline.stages.search.supernets import Cost, sum_costs, train_copies, train_gates
from hwnas.protocols import Evaluator, Searcher
from hwnas.rng import derived_seed
from hwnas.search.evaluators.memo import Remembers
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.loop import SearchLoop, to_repeat
from hwnas.search.problem.limits import LimitedSpace
from hwnas.search.records import baseline_event
from hwnas.search.strategies.registry import (
    AskTellStrategy,
    BatchStrategy,
    GateStrategy,
    StrategyEntry,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchOutcome:
    """The result of a strategy: evaluations and random networks of each budget, and the cost.

    ``baselines`` are networks drawn at random from the same window, scored like the others; none
    where the strategy is random search itself.
    """

    events: list[list[EvaluationEvent]]
    baselines: list[list[BaselineEvent]]
    cost: Cost


@dataclass(frozen=True)
class SearchStage:
    """What the search stage works on: the run, its settings, how many random networks it scores."""

    context: Context
    settings: SearchConfig
    num_baselines: int


def run_search(
    context: Context,
    settings: SearchConfig,
    searched: Sequence[LimitedSpace],
    *,
    num_baselines: int,
) -> SearchOutcome:
    """Search under each of the limits by the run's strategy.

    ``num_baselines`` random networks are scored for each budget, to compare the others with.

    Raises:
        UsageError: the strategy found no network to ask for.
        HwnasError: every evaluation failed.
    """
    found = _DRIVERS[type(settings.entry)](SearchStage(context, settings, num_baselines), searched)
    if not any(found.events):
        raise UsageError("the searcher had no network to ask for")
    events = [event for own in found.events for event in own]
    failed = [event for event in events if not event.objectives]
    if failed:
        text = (
            f"{len(failed)} of {len(events)} evaluations failed, the first with: {failed[0].error}"
        )
        if len(failed) == len(events):
            raise HwnasError(
                f"{text}. Next: another evaluator, its settings or its file, into another folder"
            )
        logger.warning(text)
    return found


def _ask_tell(stage: SearchStage, searched: Sequence[LimitedSpace]) -> SearchOutcome:
    """Ask the strategy for networks below each budget, evaluate them, tell it their scores.

    A strategy with ``one_front`` (NSGA-II) searches once, below the largest budget: the answers to
    all budgets are taken from its front.
    """
    context, settings, entry = stage.context, stage.settings, stage.settings.entry
    assert isinstance(entry, AskTellStrategy)
    keep_file(context.folder, settings)
    # before any training: what a searcher cannot do ends the run
    searchers = [
        build_searcher(context, settings, limited, place) for place, limited in enumerate(searched)
    ]
    trains_supernets = settings.evaluator.entry.trains == "supernet"
    cost = train_copies(context, settings.supernet) if trains_supernets else Cost()
    events: list[list[EvaluationEvent]] = []
    baselines: list[list[BaselineEvent]] = []
    loosest = max(range(len(searched)), key=lambda place: searched[place].limits[0].maximum)
    with context.folder.journal() as journal:
        evaluator = search_evaluator(context, settings, journal)
        for place, (limited, asking) in enumerate(zip(searched, searchers, strict=True)):
            if entry.one_front and place != loosest:
                events.append([])
            else:
                events.append(
                    _evaluate(
                        context,
                        journal,
                        evaluator,
                        asking.searcher,
                        settings.evaluations,
                        first_index=sum(map(len, events)),
                        place=place,
                        places=len(searched),
                        batch=asking.batch,
                    )
                )
            if entry.is_random:
                baselines.append([])
            else:
                baselines.append(_baseline(stage, limited, evaluator, journal, place))
    return SearchOutcome(events, baselines, cost)


def _batch(stage: SearchStage, searched: Sequence[LimitedSpace]) -> SearchOutcome:
    """Let the strategy search at array speed; journal the best networks of each budget.

    The search of a budget starts from the best networks of the budget before.
    """
    context, settings, entry = stage.context, stage.settings, stage.settings.entry
    assert isinstance(entry, BatchStrategy)
    keep_file(context.folder, settings)
    scores = code_evaluator(context, settings)
    evaluator = PredictorEvaluator(context.space, scores)
    events: list[list[EvaluationEvent]] = []
    baselines: list[list[BaselineEvent]] = []
    known, predicted = None, 0
    with context.folder.journal() as journal:
        for place, limited in enumerate(searched):
            best = entry.search(search_problem(context, settings, limited, place, scores)).run(
                settings.evaluations, known
            )
            known, predicted = best.codes, predicted + best.num_evaluations
            events.append(
                _evaluate(
                    context,
                    journal,
                    evaluator,
                    FixedList(context.space.decode(best.codes)),
                    len(best.codes),
                    first_index=sum(map(len, events)),
                    place=place,
                    places=len(searched),
                )
            )
            baselines.append(_baseline(stage, limited, evaluator, journal, place))
    return SearchOutcome(events, baselines, {"networks_predicted": float(predicted)})


def _gates(stage: SearchStage, searched: Sequence[LimitedSpace]) -> SearchOutcome:
    """Train a supernet and its gates for each budget, then score the likeliest networks."""
    context, settings, cost = stage.context, stage.settings, Cost()
    events: list[list[EvaluationEvent]] = []
    baselines: list[list[BaselineEvent]] = []
    for place, limited in enumerate(searched):
        search, spent = train_gates(context, settings, limited, place)
        cost = sum_costs(cost, spent)
        evaluator = supernet_evaluator(context, settings, [place])
        with context.folder.journal() as journal:
            searcher = FixedList(search.candidates(settings.evaluations))
            events.append(
                _evaluate(
                    context,
                    journal,
                    evaluator,
                    searcher,
                    settings.evaluations,
                    first_index=sum(map(len, events)),
                    place=place,
                    places=len(searched),
                )
            )
            if isinstance(evaluator, Remembers):
                evaluator.recall(event.evaluation for event in events[-1])
            baselines.append(_baseline(stage, limited, evaluator, journal, place))
    return SearchOutcome(events, baselines, cost)


_DRIVERS: dict[
    type[StrategyEntry], Callable[[SearchStage, Sequence[LimitedSpace]], SearchOutcome]
] = {
    AskTellStrategy: _ask_tell,
    BatchStrategy: _batch,
    GateStrategy: _gates,
}
"""How each kind of strategy is run."""


def _baseline(
    stage: SearchStage, limited: LimitedSpace, evaluator: Evaluator, journal: Journal, number: int
) -> list[BaselineEvent]:
    """Score random networks of the same window, ``stage.num_baselines`` of them.

    They are in the journal as ``baseline`` of budget ``number``; no answer is taken from them.
    """
    context = stage.context
    if not stage.num_baselines:
        return []
    searcher = random_search(
        limited, derived_seed(context.execution.seed, "random baseline"), stage.settings.low_share
    )
    archs = searcher.ask(stage.num_baselines)
    predictor = context.problem.predictors[0]
    recorded = read_events(journal.records(), BaselineEvent, journal.path)
    known = {event.arch_id: event for event in recorded if event.number == number}
    missing = [place for place, arch in enumerate(archs) if arch.arch_id not in known]
    asked = to_repeat(evaluator, len(archs), missing)
    for position, found in evaluator.evaluate([archs[p] for p in asked]) if asked else ():
        place, arch = asked[position], archs[asked[position]]
        if arch.arch_id in known:
            continue
        event = baseline_event(
            place, number, context.space, found, predictor.predict_arch_ms(arch), predictor.source
        )
        known[arch.arch_id] = event
        journal.append(event.to_json())
    return [known[arch.arch_id] for arch in archs if known[arch.arch_id].objectives]


def _evaluate(
    context: Context,
    journal: Journal,
    evaluator: Evaluator,
    searcher: Searcher,
    count: int,
    *,
    first_index: int,
    place: int,
    places: int,
    batch: int | None = None,
) -> list[EvaluationEvent]:
    stage = evaluating(place, places)
    loop = SearchLoop(context.space, context.problem.predictors[0], evaluator, journal, stage)
    return loop.run(searcher, count, batch=batch or count, first_index=first_index)
