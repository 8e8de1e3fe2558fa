"""What each kind of strategy does in a run: train what it needs, choose networks, score them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.errors import HwnasError, UsageError
from hwnas.io.journal import Journal, write_whole
from hwnas.io.progress import report
from hwnas.nn.supernet import Supernet
from hwnas.pipeline.context import Run
from hwnas.pipeline.stages.evaluators import (
    code_evaluator,
    keep_file,
    search_evaluator,
    supernet_evaluator,
)
from hwnas.pipeline.stages.outline import evaluating
from hwnas.pipeline.stages.published import supernet_start
from hwnas.pipeline.stages.searchers import (
    FixedList,
    build_searcher,
    random_search,
    search_problem,
)
from hwnas.protocols import Evaluator, Searcher
from hwnas.rng import derived_seed
from hwnas.search.evaluators.memo import Remembers
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.evaluators.supernet_tasks import SupernetTask, train_supernets
from hwnas.search.gates.gate_search import GateSearch, GateSettings
from hwnas.search.gates.supernet_problem import SupernetProblem
from hwnas.search.loop import SearchLoop, to_repeat
from hwnas.search.problem.limits import LimitedSpace
from hwnas.search.records import evaluation_of, evaluation_record
from hwnas.search.strategies.registry import (
    AskTellStrategy,
    BatchStrategy,
    GateStrategy,
    StrategyEntry,
)
from hwnas.train.checkpoint import save_weights
from hwnas.train.engine import EpochReport, TrainResult, fit
from hwnas.train.recipe import Recipe

logger = logging.getLogger(__name__)

Record = dict[str, Any]
Cost = dict[str, float]


@dataclass(frozen=True)
class SearchOutcome:
    """The result of a strategy: evaluations and random networks of each budget, and the cost.

    ``baselines`` are networks drawn at random from the same window, scored like the others; none
    where the strategy is random search itself.
    """

    records: list[list[Record]]
    baselines: list[list[Record]]
    cost: Cost


def run_search(run: Run, searched: Sequence[LimitedSpace]) -> SearchOutcome:
    """Search under each of the limits by the run's strategy.

    Raises:
        UsageError: the strategy found no network to ask for.
        HwnasError: every evaluation failed.
    """
    found = _DRIVERS[type(run.config.search.entry)](run, searched)
    if not any(found.records):
        raise UsageError("the searcher had no network to ask for")
    records = [record for own in found.records for record in own]
    failed = [record for record in records if not record["objectives"]]
    if failed:
        text = (
            f"{len(failed)} of {len(records)} evaluations failed, the first with: "
            f"{failed[0]['error']}"
        )
        if len(failed) == len(records):
            raise HwnasError(
                f"{text}. Next: another evaluator, its settings or its file, into another folder"
            )
        logger.warning(text)
    return found


def _ask_tell(run: Run, searched: Sequence[LimitedSpace]) -> SearchOutcome:
    """Ask the strategy for networks below each budget, evaluate them, tell it their scores.

    A strategy with ``one_front`` (NSGA-II) searches once, below the largest budget: the answers to
    all budgets are taken from its front.
    """
    config, entry = run.config.search, run.config.search.entry
    assert isinstance(entry, AskTellStrategy)
    keep_file(run)
    # before any training: what a searcher cannot do ends the run
    searchers = [build_searcher(run, limited, place) for place, limited in enumerate(searched)]
    trains_supernets = config.evaluator.entry.trains == "supernet"
    cost = _train_copies(run) if trains_supernets else Cost()
    records: list[list[Record]] = []
    baselines: list[list[Record]] = []
    loosest = max(range(len(searched)), key=lambda place: searched[place].limits[0].maximum)
    with run.folder.journal() as journal:
        evaluator = search_evaluator(run, journal)
        for place, (limited, asking) in enumerate(zip(searched, searchers, strict=True)):
            if entry.one_front and place != loosest:
                records.append([])
            else:
                records.append(
                    _evaluate(
                        run,
                        journal,
                        evaluator,
                        asking.searcher,
                        config.evaluations,
                        first_index=sum(map(len, records)),
                        place=place,
                        places=len(searched),
                        batch=asking.batch,
                    )
                )
            if entry.is_random:
                baselines.append([])
            else:
                baselines.append(_baseline(run, limited, evaluator, journal, place))
    return SearchOutcome(records, baselines, cost)


def _batch(run: Run, searched: Sequence[LimitedSpace]) -> SearchOutcome:
    """Let the strategy search at array speed; journal the best networks of each budget.

    The search of a budget starts from the best networks of the budget before.
    """
    config, entry = run.config.search, run.config.search.entry
    assert isinstance(entry, BatchStrategy)
    keep_file(run)
    scores = code_evaluator(run)
    evaluator = PredictorEvaluator(run.space, scores)
    records: list[list[Record]] = []
    baselines: list[list[Record]] = []
    known, predicted = None, 0
    with run.folder.journal() as journal:
        for place, limited in enumerate(searched):
            best = entry.search(search_problem(run, limited, place, scores)).run(
                config.evaluations, known
            )
            known, predicted = best.codes, predicted + best.num_evaluations
            records.append(
                _evaluate(
                    run,
                    journal,
                    evaluator,
                    FixedList(run.space.decode(best.codes)),
                    len(best.codes),
                    first_index=sum(map(len, records)),
                    place=place,
                    places=len(searched),
                )
            )
            baselines.append(_baseline(run, limited, evaluator, journal, place))
    return SearchOutcome(records, baselines, {"networks_predicted": float(predicted)})


def _gates(run: Run, searched: Sequence[LimitedSpace]) -> SearchOutcome:
    """Train a supernet and its gates for each budget, then score the likeliest networks."""
    config, cost = run.config.search, Cost()
    records: list[list[Record]] = []
    baselines: list[list[Record]] = []
    for place, limited in enumerate(searched):
        search, spent = _train_gates(run, limited, place)
        cost = _sum(cost, spent)
        evaluator = supernet_evaluator(run, [place])
        with run.folder.journal() as journal:
            searcher = FixedList(search.candidates(config.evaluations))
            records.append(
                _evaluate(
                    run,
                    journal,
                    evaluator,
                    searcher,
                    config.evaluations,
                    first_index=sum(map(len, records)),
                    place=place,
                    places=len(searched),
                )
            )
            if isinstance(evaluator, Remembers):
                evaluator.recall(evaluation_of(record) for record in records[-1])
            baselines.append(_baseline(run, limited, evaluator, journal, place))
    return SearchOutcome(records, baselines, cost)


_DRIVERS: dict[type[StrategyEntry], Callable[[Run, Sequence[LimitedSpace]], SearchOutcome]] = {
    AskTellStrategy: _ask_tell,
    BatchStrategy: _batch,
    GateStrategy: _gates,
}
"""How each kind of strategy is run."""


def _baseline(
    run: Run, limited: LimitedSpace, evaluator: Evaluator, journal: Journal, number: int
) -> list[Record]:
    """Score random networks of the same window, as many as there will be finalists.

    They are in the journal as ``baseline`` of budget ``number``; no answer is taken from them.
    """
    if not run.config.retrain.random_baseline:
        return []
    searcher = random_search(
        limited, derived_seed(run.config.seed, "random baseline"), run.config.search.low_share
    )
    archs = searcher.ask(run.config.retrain.top)
    predictor = run.predictors[0]
    known = {
        r["arch_id"]: r
        for r in journal.records()
        if r.get("event") == "baseline" and r["number"] == number
    }
    missing = [place for place, arch in enumerate(archs) if arch.arch_id not in known]
    asked = to_repeat(evaluator, len(archs), missing)
    for position, found in evaluator.evaluate([archs[p] for p in asked]) if asked else ():
        place, arch = asked[position], archs[asked[position]]
        if arch.arch_id in known:
            continue
        record = evaluation_record(
            place, run.space, found, predictor.predict_arch_ms(arch), predictor.source
        )
        known[arch.arch_id] = {**record, "event": "baseline", "number": number}
        journal.append(known[arch.arch_id])
    return [known[arch.arch_id] for arch in archs if known[arch.arch_id]["objectives"]]


def _evaluate(
    run: Run,
    journal: Journal,
    evaluator: Evaluator,
    searcher: Searcher,
    count: int,
    *,
    first_index: int,
    place: int,
    places: int,
    batch: int | None = None,
) -> list[Record]:
    stage = evaluating(place, places)
    loop = SearchLoop(run.space, run.predictors[0], evaluator, journal, stage)
    return loop.run(searcher, count, batch=batch or count, first_index=first_index)


def _train_copies(run: Run) -> Cost:
    """Train independent supernets by sampled paths, several at a time."""
    config, cost = run.config.search.supernet, Cost()
    recipe = config.recipe.recipe()
    start = supernet_start(run)
    if start is not None and not config.train:
        if not run.folder.supernet(0).is_file():
            write_whole(run.folder.supernet(0), start.read_bytes())
        return cost
    tasks = {
        str(number): SupernetTask(
            space=run.space,
            source=run.source,
            recipe=recipe,
            seed=derived_seed(run.config.seed, "supernet", number),
            sampling=config.sampling,
            sharing=config.sharing_of(number),
            torch_device=run.config.torch_device,
            weights=run.folder.supernet(number),
            checkpoint=run.folder.supernet_state(number),
            initial=start,
        )
        for number in range(config.copies)
    }
    report("training supernets", 0, len(tasks))
    outcomes = {}
    for key, outcome in train_supernets(tasks, workers=run.config.workers):
        outcomes[int(key)] = outcome
        report("training supernets", len(outcomes), len(tasks))
    with run.folder.journal() as journal:
        written = {r["number"] for r in journal.records() if r.get("event") == "supernet"}
        for number, outcome in sorted(outcomes.items()):
            spent = _cost(outcome.result, outcome.macs)
            cost = _sum(cost, spent)
            if number not in written:
                journal.append(
                    {
                        "event": "supernet",
                        "number": number,
                        "epochs": outcome.result.epochs,
                        "loss": outcome.result.final_loss,
                        "cost": spent,
                    }
                )
    return cost


def _train_gates(run: Run, limited: LimitedSpace, number: int) -> tuple[GateSearch, Cost]:
    config = run.config.search
    recipe = config.supernet.recipe.recipe()
    seed = derived_seed(run.config.seed, "gates", number)
    supernet = Supernet(run.space, seed=seed, sharing=config.supernet.sharing_of(0))
    dataset = run.dataset.without_test()
    problem = SupernetProblem(
        supernet,
        dataset,
        batch_size=recipe.batch_size,
        seed=seed,
        torch_device=run.config.torch_device,
    )
    steps = len(dataset.batch_sizes(("train",), batch_size=recipe.batch_size, training=True))
    settings = GateSettings(
        seed=seed,
        epochs=recipe.epochs,
        warmup_epochs=config.warmup_epochs,
        steps_per_epoch=steps,
        every=config.gates.every,
        alpha_lr=config.gates.alpha_lr,
    )
    if steps * (recipe.epochs - config.warmup_epochs) < config.gates.every:
        raise UsageError(
            f"gates.every is {config.gates.every}, but after the warm-up there are "
            f"only {steps * (recipe.epochs - config.warmup_epochs)} weight steps: "
            "nothing would be searched. Next: lower it, or train for more epochs"
        )
    assert isinstance(config.entry, GateStrategy)  # the other kinds train no gates
    rule = config.entry.rule(config.strategy_settings())
    search = GateSearch(limited, problem, settings, rule)
    result = _fit(run, supernet, search, recipe, seed, number, "searching")
    return search, _cost(result, search.macs)


def _fit(
    run: Run,
    supernet: Supernet,
    companion: GateSearch,
    recipe: Recipe,
    seed: int,
    number: int,
    name: str,
) -> TrainResult:
    """Train with a checkpoint and the journal; a training that was finished is only read back."""
    state, weights = run.folder.supernet_state(number), run.folder.supernet(number)
    report(name, 0, recipe.epochs)
    with run.folder.journal() as journal:
        written = {
            (r["number"], r["epoch"])
            for r in journal.records()
            if r.get("event") == "supernet_epoch"
        }

        def note(epoch: EpochReport) -> None:
            report(name, epoch.epoch, recipe.epochs)
            if (number, epoch.epoch) not in written:
                journal.append(
                    {
                        "event": "supernet_epoch",
                        "number": number,
                        "epoch": epoch.epoch,
                        "loss": epoch.loss,
                        "lr": epoch.lr,
                        **epoch.record,
                    }
                )

        result = fit(
            supernet,
            run.dataset.without_test(),
            ("train",),
            recipe,
            seed=seed,
            torch_device=run.config.torch_device,
            checkpoint=state,
            on_epoch=note,
            companion=companion,
        )
    if not weights.is_file():
        save_weights(supernet, weights)
    return result


def _cost(result: TrainResult, macs: int) -> Cost:
    """Return a training's cost; ``macs`` of one image, summed over steps, is of whole batches."""
    return {
        "images_trained": float(result.images_trained),
        "macs_images": macs * result.images_trained / max(1, result.steps),
        "core_s": round(result.core_s, 3),
        "wall_s": round(result.wall_s, 3),
    }


def _sum(left: Cost, right: Cost) -> Cost:
    return {key: left.get(key, 0.0) + right.get(key, 0.0) for key in dict.fromkeys([*left, *right])}
