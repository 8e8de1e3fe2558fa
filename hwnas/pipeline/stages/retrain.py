"""The stage that trains the finalists: from scratch, or from weights that somebody published."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.errors import UsageError
from hwnas.io.progress import report
from hwnas.pipeline.context import Run
from hwnas.pipeline.stages.outline import RETRAINING
from hwnas.pipeline.stages.published import Init, published_weights
from hwnas.pipeline.stages.search_export import SEARCHED, Content
from hwnas.rng import derived_seed
from hwnas.search.ranking import RankAgreement, rank_agreement
from hwnas.search.result import total_cost
from hwnas.train.task import TrainOutcome, TrainTask, train_all

RETRAIN_SPLITS = ("train", "arch")

Row = dict[str, Any]


def retrain(run: Run) -> bool:
    """Train the finalists of every answer on train + arch as configured; write retrained.json.

    Where the run's data are not those of the search, the networks are those of the same choices
    with the data's classes.

    Raises:
        UsageError: the run's space has no such published weights, or they are to stay as they are
            and have other classes.
        InputError: ``init`` is not a file of such weights; lists all differences.
    """
    lists = run.folder.read("finalists.json", SEARCHED)["answers"]
    config = run.config.retrain
    best, only_calibrate = config.top, not config.train
    init = None if config.init is None else Init(Path(config.init), config.init_arch)
    wanted = _listed(run, [row for answer in lists for row in answer["finalists"][:best]])
    drawn = _listed(run, [row for answer in lists for row in answer.get("random", [])[:best]])
    compared = [
        _listed(run, [*answer["finalists"][:best], *answer.get("random", [])[:best]])
        for answer in lists
    ]
    if not run.config.search.trains_gates:  # one evaluator scored the networks of all budgets
        compared = [{**drawn, **wanted}]

    def work() -> Content:
        every = {**drawn, **wanted}
        tasks = {
            network_id: retrain_task(run, network_id, finalist["arch"])
            for network_id, finalist in every.items()
        }
        check_beginning(run, every, init)
        begun: Sequence[str] = ()
        if init is not None:
            begin = published_weights(
                run, init, {n: f["arch"] for n, f in every.items()}, whole=only_calibrate
            )
            begun = list(begin)
            tasks = {n: replace(task, initial=begin.get(n)) for n, task in tasks.items()}
        if only_calibrate:
            images = run.config.search.supernet.calibration_images
            tasks = {n: replace(task, calibration=images) for n, task in tasks.items()}
        outcomes = train_networks(run, tasks, RETRAINING)
        rows = _trained_rows(wanted, outcomes, begun)
        random = _trained_rows(drawn, outcomes, begun)
        ranked = [_comparable(_trained_rows(group, outcomes, begun), group) for group in compared]
        content = {
            "schema": 1,
            "recipe": run.config.retrain.recipe.model_dump(),
            "seed": run.config.seed,
            "splits": list(RETRAIN_SPLITS),
            "data": {"name": run.config.data, "root": run.config.data_root},
            "init": None if init is None else {**init.record(), "fine_tuned": not only_calibrate},
            "finalists": rows,
            "random": random,
            "ranking": _ranking(run, ranked).to_json(),
        }
        return content, total_cost(_trained_rows(every, outcomes, begun))

    return run.folder.stage("retrain", "retrained.json", work)


def _listed(run: Run, rows: Iterable[Row]) -> dict[str, Row]:
    """Return the networks to train by network_id, of the space of the run's data.

    Where that is not the space of the search, ``searched`` holds the ids they had there. A network
    that comes again is what it was first: a budget's winner keeps its own score.
    """
    found: dict[str, Row] = {}
    for row in rows:
        arch = run.arch(row["arch"])
        if arch.arch_id != row["arch_id"]:
            searched = {key: row[key] for key in ("arch_id", "network_id")}
            row = {
                **row,
                "arch": arch.to_json(),
                "arch_id": arch.arch_id,
                "network_id": run.space.network_id(arch),
                "searched": searched,
            }
        found.setdefault(row["network_id"], row)
    return found


def searched_id(row: Mapping[str, Any]) -> str:
    """Return the network_id that a row of retrained.json has in finalists.json."""
    return str(row.get("searched", row)["network_id"])


def _trained_rows(
    wanted: Mapping[str, Row], outcomes: Mapping[str, TrainOutcome], begun: Sequence[str]
) -> list[Row]:
    """Return what retrained.json says of each network, best on ``val`` first.

    ``begun`` are those that began with published weights.
    """
    rows = [
        {
            **{
                k: f[k]
                for k in ("arch", "arch_id", "network_id", "latency_ms", "searched")
                if k in f
            },
            "search_top1": f["objectives"]["top1"]["value"],
            "search_source": f["objectives"]["top1"]["source"],
            "val": {
                **_val(outcomes[network_id]),
                "source": "published" if network_id in begun else "scratch",
            },
            "checkpoint": f"checkpoints/{network_id}.safetensors",
            "cost": outcomes[network_id].cost,
        }
        for network_id, f in wanted.items()
    ]
    return sorted(
        rows, key=lambda row: (-row["val"]["top1"], row["val"]["loss"], row["network_id"])
    )


def _comparable(rows: Sequence[Row], networks: Mapping[str, Row]) -> list[Row]:
    """Return the rows whose search scores compare: of halving, those trained for longest."""
    epochs = [
        networks[row["network_id"]]["objectives"].get("epochs", {}).get("value") for row in rows
    ]
    most = max((e for e in epochs if e is not None), default=None)
    return [row for row, e in zip(rows, epochs, strict=True) if e == most]


def _ranking(run: Run, groups: Sequence[Sequence[Row]]) -> RankAgreement:
    """Return how the search's scores rank the networks, compared within their groups only."""
    rows = [row for group in groups for row in group]
    macs = [sum(op.macs for op in run.space.layers(run.arch(row["arch"]))) for row in rows]
    places = [place for place, group in enumerate(groups) for _ in group]
    return rank_agreement(
        [row["search_top1"] for row in rows],
        [row["val"]["top1"] for row in rows],
        macs,
        places,
        seed=run.config.seed,
    )


def retrain_task(run: Run, network_id: str, arch: dict[str, Any]) -> TrainTask:
    """Return the from-scratch training of one finalist."""
    return TrainTask(
        layers=run.space.layers(run.arch(arch)),
        source=run.source,
        splits=RETRAIN_SPLITS,
        recipe=run.config.retrain.recipe.recipe(),
        seed=derived_seed(run.config.seed, f"retrain:{network_id}"),
        torch_device=run.config.torch_device,
        weights=run.folder.weights(network_id),
        checkpoint=run.folder.training_state(network_id),
        wiring=run.space.wiring(run.arch(arch)),
    )


def check_beginning(run: Run, network_ids: Iterable[str], init: Init | None) -> None:
    """Raise UsageError where trainings of these networks were begun in the other way.

    A retraining that was stopped goes on as it began: from scratch, or from published weights.
    """
    folder = run.folder
    begun = [
        n for n in network_ids if folder.training_state(n).exists() or folder.weights(n).exists()
    ]
    published = [n for n in network_ids if folder.initial(n).exists()]
    if init is None and published:
        raise UsageError(
            f"the retraining in {folder.path} was begun with --init. Next: give the "
            "same file again, or search into another folder"
        )
    if init is not None and begun and not published:
        raise UsageError(
            f"the retraining in {folder.path} was begun from scratch. Next: go on "
            "without --init, or search into another folder"
        )


def train_networks(run: Run, tasks: Mapping[str, TrainTask], stage: str) -> dict[str, TrainOutcome]:
    """Return the outcomes of these trainings, several at a time."""
    outcomes: dict[str, TrainOutcome] = {}
    report(stage, 0, len(tasks))
    for key, outcome in train_all(tasks, workers=run.config.workers):
        outcomes[key] = outcome
        report(stage, len(outcomes), len(tasks))
    return outcomes


def _val(outcome: TrainOutcome) -> dict[str, Any]:
    return {
        "top1": outcome.val.top1,
        "loss": outcome.val.loss,
        "num_images": outcome.val.num_images,
    }
