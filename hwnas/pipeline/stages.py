"""The stages of a run up to the export: search, retrain, export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.data import Dataset
from hwnas.errors import UsageError
from hwnas.export.bundle import write_bundle
from hwnas.journal import write_json
from hwnas.network import build
from hwnas.pipeline.searching import carry_out
from hwnas.pipeline.setup import Run
from hwnas.rng import derived_seed
from hwnas.search.audit import audit
from hwnas.search.fitted_predictor import LEAST_NETWORKS, fit_predictor
from hwnas.search.limits import LimitedSpace
from hwnas.search.ranking import RankAgreement, rank_agreement
from hwnas.search.result import (
    answer_of,
    finalists,
    front,
    rank_key,
    shadow_price,
    total_cost,
)
from hwnas.space.catalogue import load_space, with_params
from hwnas.train.checkpoint import load_weights, read_tensors, save_tensors
from hwnas.train.ofa_weights import load_ofa_supernet, num_classes
from hwnas.train.task import TrainOutcome, TrainTask, train_all

PARITY_IMAGES = 64
RETRAIN_SPLITS = ("train", "arch")

# the commands that write a run's files; the folder follows
SEARCHED = "hwnas search (as the run was begun) --resume --out"
RETRAINED = "hwnas retrain --run"
EXPORTED = "hwnas export --run"
BENCHED = "hwnas bench"

Content = tuple[Any, Mapping[str, float]]


def search(run: Run) -> bool:
    """Search under every budget; write result.json, finalists.json and front.json."""
    folder = run.folder

    def work() -> Content:
        asked = [run.limits(budget_ms) for budget_ms in run.budgets_ms]
        searched = [run.searched(limits) for limits in asked]
        run.check_limits()  # an impossible limit ends the run before any work
        for restriction in searched[0].restricted:
            run.say(f"not used: {restriction}")
        outcome = carry_out(run, searched)
        records = [record for found in outcome.records for record in found]
        answers, lists = [], []
        for limits, limited, own, baseline in zip(asked, searched, outcome.records,
                                                  outcome.baselines, strict=True):
            # scores of different supernets are not comparable
            comparable = own if run.config.search.trains_gates else records
            inside = [r for r in comparable
                      if r["objectives"] and _is_within(run, limited, r)]
            stated = [limit.to_json() for limit in limits]
            best = answer_of(min(inside, key=rank_key)) if inside else None
            price = shadow_price(best, comparable) if best else None
            answers.append({"limits": stated, "best": best, "shadow_price": price})
            lists.append({"limits": stated,
                          "finalists": finalists(inside, run.config.retrain.top),
                          "random": [answer_of(record) for record in baseline]})
        cost = total_cost([*records, *(r for found in outcome.baselines for r in found),
                           {"cost": outcome.cost}])
        result = {
            "schema": 1,
            "strategy": run.config.search.strategy,
            "space": run.space.name,
            "seed": run.config.seed,
            "restricted": [r.to_json() for r in searched[0].restricted],
            "num_evaluations": len(records),
            "wall_s": cost.get("wall_s", 0.0),
            "cost": cost,
            "headroom": [run.headroom(n) for n in range(len(run.config.targets))],
            "audit": audit(run.limited(asked[0])).to_json(),
            "answers": answers,
        }
        fit_accuracies(run, records)
        write_json(folder.file("finalists.json"), {"schema": 1, "answers": lists})
        write_json(folder.file("front.json"), {"schema": 1, "points": front(records)})
        return result, cost

    return folder.stage("search", "result.json", work)


def fit_accuracies(run: Run, records: Sequence[Mapping[str, Any]]) -> None:
    """Write predictor.json, fitted to the evaluations, where there are enough that compare.

    Scores of a file are no evaluations, those of different supernets or rungs do not compare.
    """
    search = run.config.search
    good = [record for record in records if record["objectives"]]
    if (search.evaluator_file is not None or search.halving is not None
            or (search.trains_gates and len(run.budgets_ms) > 1)
            or len({record["network_id"] for record in good}) < LEAST_NETWORKS):
        return
    top1 = np.array([record["objectives"]["top1"]["value"] for record in good])
    if np.ptp(top1) == 0:
        return
    fitted = fit_predictor(run.space, [run.arch(record["arch"]) for record in good], top1,
                           seed=run.config.seed)
    fitted.save(run.folder.file("predictor.json"))
    run.say(f"predictor.json: fitted to {len(fitted.codes)} networks, Kendall tau "
            f"{fitted.kendall_tau:.2f} by cross-validation")


def _is_within(run: Run, limited: LimitedSpace, record: Mapping[str, Any]) -> bool:
    codes = run.space.encode([run.arch(record["arch"])]).astype("int64")
    return bool(limited.within(codes)[0])


def retrain(run: Run, top: int | None = None, init: Path | None = None) -> bool:
    """Train the finalists of every answer on train + arch; write retrained.json.

    They begin from scratch, or with their share of the published supernet's weights in ``init``.

    Raises:
        UsageError: the run's space has no published supernet.
        InputError: ``init`` is not a supernet of the space; lists all differences.
    """
    lists = run.folder.read("finalists.json", SEARCHED)["answers"]
    wanted = {
        finalist["network_id"]: finalist
        for answer in lists
        for finalist in answer["finalists"][: top or run.config.retrain.top]
    }
    drawn = {
        finalist["network_id"]: finalist
        for answer in lists
        for finalist in answer.get("random", [])[: top or run.config.retrain.top]
    }

    def work() -> Content:
        every = {**drawn, **wanted}
        tasks = {
            network_id: retrain_task(run, network_id, finalist["arch"])
            for network_id, finalist in every.items()
        }
        check_beginning(run, every, init)
        if init is not None:
            begin = published_weights(run, init, {n: f["arch"] for n, f in every.items()})
            tasks = {n: replace(task, initial=begin[n]) for n, task in tasks.items()}
        outcomes = train_networks(run, tasks, "retraining finalists")
        rows = _trained_rows(wanted, outcomes)
        random = _trained_rows(drawn, outcomes)
        trained = _trained_rows(every, outcomes)
        content = {
            "schema": 1,
            "recipe": run.config.retrain.recipe.model_dump(),
            "seed": run.config.seed,
            "splits": list(RETRAIN_SPLITS),
            "init": None if init is None else file_record(init),
            "finalists": rows,
            "random": random,
            "ranking": _ranking(run, trained).to_json(),
        }
        return content, total_cost(trained)

    return run.folder.stage("retrain", "retrained.json", work)


def _trained_rows(
    wanted: Mapping[str, Mapping[str, Any]], outcomes: Mapping[str, TrainOutcome]
) -> list[dict[str, Any]]:
    """Return what retrained.json says of each network, best on ``val`` first."""
    rows = [
        {
            **{k: f[k] for k in ("arch", "arch_id", "network_id", "latency_ms")},
            "search_top1": f["objectives"]["top1"]["value"],
            "search_source": f["objectives"]["top1"]["source"],
            "val": _val(outcomes[network_id]),
            "checkpoint": f"checkpoints/{network_id}.safetensors",
            "cost": outcomes[network_id].cost,
        }
        for network_id, f in wanted.items()
    ]
    return sorted(rows, key=lambda row: (-row["val"]["top1"], row["val"]["loss"],
                                         row["network_id"]))


def _ranking(run: Run, rows: Sequence[Mapping[str, Any]]) -> RankAgreement:
    macs = [sum(op.macs for op in run.space.layers(run.arch(row["arch"]))) for row in rows]
    return rank_agreement([row["search_top1"] for row in rows],
                          [row["val"]["top1"] for row in rows], macs, seed=run.config.seed)


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


def check_beginning(run: Run, network_ids: Iterable[str], init: Path | None) -> None:
    """Raise UsageError where trainings of these networks were begun in the other way.

    A retraining that was stopped goes on as it began: from scratch, or from published weights.
    """
    folder = run.folder
    begun = [n for n in network_ids
             if folder.training_state(n).exists() or folder.weights(n).exists()]
    published = [n for n in network_ids if folder.initial(n).exists()]
    if init is None and published:
        raise UsageError(f"the retraining in {folder.path} was begun with --init. Next: give the "
                         "same file again, or search into another folder")
    if init is not None and begun and not published:
        raise UsageError(f"the retraining in {folder.path} was begun from scratch. Next: go on "
                         "without --init, or search into another folder")


def published_weights(
    run: Run, init: Path, archs: Mapping[str, dict[str, Any]]
) -> dict[str, Path]:
    """Write each network's share of a published supernet; return the files by network_id.

    Where the supernet has other classes than the run's data, its classifier is left out.

    Raises:
        UsageError: the retraining was begun with other weights.
    """
    classes = num_classes(init)
    space = load_space(with_params(run.config.space, num_classes=classes))
    supernet = load_ofa_supernet(init, space)
    found = {}
    for network_id, value in archs.items():
        state = supernet.extract(space.arch(value["choices"])).state_dict()
        if classes != run.space.num_classes:
            run.say(f"{init} has {classes} classes, the data {run.space.num_classes}: the "
                    "classifier is trained from scratch")
            *_, weight, bias = state
            del state[weight], state[bias]
        path = found[network_id] = run.folder.initial(network_id)
        if not path.exists():
            save_tensors(state, path)
        elif not _same_tensors(read_tensors(path), state):
            raise UsageError(f"the retraining in {run.folder.path} was begun with other weights "
                             f"than those of {init}. Next: give the same file again, or search "
                             "into another folder")
    return found


def _same_tensors(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return set(left) == set(right) and all(torch.equal(left[name], right[name]) for name in left)


def file_record(path: Path) -> dict[str, str]:
    """Return the name and hash of a file that a stage read."""
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def train_networks(
    run: Run, tasks: Mapping[str, TrainTask], stage: str
) -> dict[str, TrainOutcome]:
    """Return the outcomes of these trainings, several at a time."""
    outcomes: dict[str, TrainOutcome] = {}
    run.progress(stage, 0, len(tasks))
    for key, outcome in train_all(tasks, workers=run.config.workers):
        outcomes[key] = outcome
        run.progress(stage, len(outcomes), len(tasks))
    return outcomes


def _val(outcome: TrainOutcome) -> dict[str, Any]:
    return {"top1": outcome.val.top1, "loss": outcome.val.loss,
            "num_images": outcome.val.num_images, "source": "scratch"}


def export(run: Run) -> bool:
    """Export every retrained finalist; write export/<arch_id>/ and export/index.json."""
    rows = run.folder.read("retrained.json", RETRAINED)["finalists"]

    def work() -> Content:
        exported = []
        for place, row in enumerate(rows):
            run.progress("exporting", place, len(rows))
            exported.append(_export_one(run, row))
        run.progress("exporting", len(rows), len(rows))
        return {"schema": 1, "networks": exported}, {}

    return run.folder.stage("export", "export/index.json", work)


def _export_one(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    arch = run.arch(row["arch"])
    layers = run.space.layers(arch)
    dataset = run.dataset_for(layers)
    network = build(run.space, arch)
    weights = run.folder.weights(row["network_id"])
    load_weights(network, weights)
    written = write_bundle(
        run.folder.file("export"),
        network=network,
        layers=layers,
        wiring=run.space.wiring(arch),
        arch_json=arch.to_json(),
        weights=weights,
        images=_parity_images(dataset.without_test()),
        preprocessing=dataset.preprocessing.to_json(),
        cache=run.cache,
        formats=run.config.formats,
    )
    return {"arch_id": arch.arch_id, "network_id": row["network_id"],
            "formats": written["formats"]}


def _parity_images(dataset: Dataset) -> torch.Tensor:
    """Return PARITY_IMAGES images of ``val``, filled up from ``train`` where it has fewer."""
    images = dataset.images("val", PARITY_IMAGES)
    if len(images) == PARITY_IMAGES:
        return images
    return torch.cat([images, dataset.images("train", PARITY_IMAGES - len(images))])
