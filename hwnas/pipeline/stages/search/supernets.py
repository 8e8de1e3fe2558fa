"""Trainings of the search stage: supernets by sampled paths, and supernets with their gates."""

from __future__ import annotations

from hwnas.artifacts.events import SupernetEpochEvent, SupernetEvent, read_events
from hwnas.errors import UsageError
from hwnas.io.journal import write_whole
from hwnas.io.progress import report
from hwnas.nn.supernet import Supernet
from hwnas.pipeline.config.search import SearchConfig, SupernetConfig
from hwnas.pipeline.context import Context
from hwnas.pipeline.stages.published import supernet_start
from hwnas.rng import derived_seed
from hwnas.search.evaluators.supernet_tasks import SupernetTask, train_supernets
from hwnas.search.gates.gate_search import GateSearch, GateSettings
from hwnas.search.gates.supernet_problem import SupernetProblem
from hwnas.search.problem.limits import LimitedSpace
from hwnas.search.strategies.registry import GateStrategy
from hwnas.train.engine import EpochReport, TrainResult, fit
from hwnas.train.recipe import Recipe

Cost = dict[str, float]


def train_copies(context: Context, settings: SupernetConfig) -> Cost:
    """Train independent supernets by sampled paths, several at a time."""
    cost = Cost()
    recipe = settings.recipe.recipe()
    start = supernet_start(context, settings)
    if start is not None and not settings.train:
        if not context.folder.supernet(0).is_file():
            write_whole(context.folder.supernet(0), start.read_bytes())
        return cost
    tasks = {
        str(number): SupernetTask(
            space=context.space,
            source=context.data.source,
            recipe=recipe,
            seed=derived_seed(context.execution.seed, "supernet", number),
            sampling=settings.sampling,
            sharing=settings.sharing_of(number),
            torch_device=context.execution.torch_device,
            weights=context.folder.supernet(number),
            checkpoint=context.folder.supernet_state(number),
            initial=start,
        )
        for number in range(settings.copies)
    }
    report("training supernets", 0, len(tasks))
    outcomes = {}
    for key, outcome in train_supernets(tasks, workers=context.execution.workers):
        outcomes[int(key)] = outcome
        report("training supernets", len(outcomes), len(tasks))
    with context.folder.journal() as journal:
        recorded = read_events(journal.records(), SupernetEvent, journal.path)
        written = {event.number for event in recorded}
        for number, outcome in sorted(outcomes.items()):
            spent = _cost(outcome.result, outcome.macs)
            cost = sum_costs(cost, spent)
            if number not in written:
                event = SupernetEvent(
                    number=number,
                    epochs=outcome.result.epochs,
                    loss=outcome.result.final_loss,
                    cost=dict(spent),
                )
                journal.append(event.to_json())
    return cost


def train_gates(
    context: Context, settings: SearchConfig, limited: LimitedSpace, number: int
) -> tuple[GateSearch, Cost]:
    """Train a supernet and its gates below budget ``number``; return the search and its cost."""
    recipe = settings.supernet.recipe.recipe()
    seed = derived_seed(context.execution.seed, "gates", number)
    supernet = Supernet(context.space, seed=seed, sharing=settings.supernet.sharing_of(0))
    dataset = context.data.dataset.without_test()
    problem = SupernetProblem(
        supernet,
        dataset,
        batch_size=recipe.batch_size,
        seed=seed,
        torch_device=context.execution.torch_device,
    )
    steps = len(dataset.batch_sizes(("train",), batch_size=recipe.batch_size, training=True))
    gate_settings = GateSettings(
        seed=seed,
        epochs=recipe.epochs,
        warmup_epochs=settings.warmup_epochs,
        steps_per_epoch=steps,
        every=settings.gates.every,
        alpha_lr=settings.gates.alpha_lr,
    )
    if steps * (recipe.epochs - settings.warmup_epochs) < settings.gates.every:
        raise UsageError(
            f"gates.every is {settings.gates.every}, but after the warm-up there are "
            f"only {steps * (recipe.epochs - settings.warmup_epochs)} weight steps: "
            "nothing would be searched. Next: lower it, or train for more epochs"
        )
    assert isinstance(settings.entry, GateStrategy)  # the other kinds train no gates
    rule = settings.entry.rule(settings.strategy_settings())
    search = GateSearch(limited, problem, gate_settings, rule)
    result = _fit(context, supernet, search, recipe, seed, number, "searching")
    return search, _cost(result, search.macs)


def _fit(
    context: Context,
    supernet: Supernet,
    companion: GateSearch,
    recipe: Recipe,
    seed: int,
    number: int,
    name: str,
) -> TrainResult:
    """Train with a checkpoint and the journal; a training that was finished is only read back."""
    state, weights = context.folder.supernet_state(number), context.folder.supernet(number)
    report(name, 0, recipe.epochs)
    with context.folder.journal() as journal:
        recorded = read_events(journal.records(), SupernetEpochEvent, journal.path)
        written = {(event.number, event.epoch) for event in recorded}

        def note(epoch: EpochReport) -> None:
            report(name, epoch.epoch, recipe.epochs)
            if (number, epoch.epoch) not in written:
                event = SupernetEpochEvent.from_json(
                    {
                        "number": number,
                        "epoch": epoch.epoch,
                        "loss": epoch.loss,
                        "lr": epoch.lr,
                        **epoch.record,
                    }
                )
                journal.append(event.to_json())

        result = fit(
            supernet,
            context.data.dataset.without_test(),
            ("train",),
            recipe,
            seed=seed,
            torch_device=context.execution.torch_device,
            checkpoint=state,
            weights=weights,
            on_epoch=note,
            companion=companion,
        )
    return result


def _cost(result: TrainResult, macs: int) -> Cost:
    """Return a training's cost; ``macs`` of one image, summed over steps, is of whole batches."""
    return {
        "images_trained": float(result.images_trained),
        "macs_images": macs * result.images_trained / max(1, result.steps),
        "core_s": round(result.core_s, 3),
        "wall_s": round(result.wall_s, 3),
    }


def sum_costs(left: Cost, right: Cost) -> Cost:
    """Return the sum of two costs by name."""
    return {key: left.get(key, 0.0) + right.get(key, 0.0) for key in dict.fromkeys([*left, *right])}
