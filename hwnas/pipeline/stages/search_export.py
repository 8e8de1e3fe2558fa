"""The stages that search and export; what lies between is in ``retraining.py``."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hwnas.data import Dataset
from hwnas.export.bundle import write_bundle
from hwnas.export.verify.parity import PARITY_IMAGES
from hwnas.io.journal import write_json
from hwnas.io.progress import report
from hwnas.nn.build import build
from hwnas.pipeline.context import Run
from hwnas.pipeline.stages.quantised import calibration_data, file_score
from hwnas.pipeline.stages.search import run_search
from hwnas.search.predictors.fitted import MIN_NETWORKS, fit_predictor
from hwnas.search.problem.audit import audit
from hwnas.search.problem.limits import LimitedSpace
from hwnas.search.result import (
    answer_of,
    finalists,
    front,
    rank_key,
    shadow_price,
    total_cost,
)
from hwnas.train.checkpoint import load_weights

logger = logging.getLogger(__name__)

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
        start = time.perf_counter()
        asked = [run.limits(budget_ms) for budget_ms in run.budgets_ms]
        searched = [run.searched(limits) for limits in asked]
        run.check_limits()  # an impossible limit ends the run before any work
        for restriction in searched[0].restricted:
            logger.info(f"not used: {restriction}")
        outcome = run_search(run, searched)
        records = [record for found in outcome.records for record in found]
        answers, lists = [], []
        for limits, limited, own, baseline in zip(
            asked, searched, outcome.records, outcome.baselines, strict=True
        ):
            # scores of different supernets are not comparable
            comparable = own if run.config.search.trains_gates else records
            inside = [r for r in comparable if r["objectives"] and _is_within(run, limited, r)]
            stated = [limit.to_json() for limit in limits]
            best = answer_of(min(inside, key=rank_key)) if inside else None
            price = shadow_price(best, comparable) if best else None
            answers.append({"limits": stated, "best": best, "shadow_price": price})
            lists.append(
                {
                    "limits": stated,
                    "finalists": finalists(inside, run.config.retrain.top),
                    "random": [answer_of(record) for record in baseline],
                }
            )
        cost = total_cost(
            [*records, *(r for found in outcome.baselines for r in found), {"cost": outcome.cost}]
        )
        result = {
            "schema": 1,
            "strategy": run.config.search.strategy,
            "space": run.space.name,
            "seed": run.config.seed,
            "restricted": [r.to_json() for r in searched[0].restricted],
            "predicted_rows": [predictor.report() for predictor in run.predictors],
            "num_evaluations": len(records),
            "wall_s": round(time.perf_counter() - start, 3),  # of the session that ended it
            "cost": cost,
            "headroom": [run.headroom(n) for n in range(len(run.config.targets))],
            "guard": [guard.to_json() if guard else None for guard in run.guards],
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
    if (
        search.evaluator.entry.at_array_speed
        or search.halving is not None
        or (search.trains_gates and len(run.budgets_ms) > 1)
        or len({record["network_id"] for record in good}) < MIN_NETWORKS
    ):
        return
    top1 = np.array([record["objectives"]["top1"]["value"] for record in good])
    if np.ptp(top1) == 0:
        return
    fitted = fit_predictor(
        run.space, [run.arch(record["arch"]) for record in good], top1, seed=run.config.seed
    )
    fitted.save(run.folder.file("predictor.json"))
    logger.info(
        f"predictor.json: fitted to {len(fitted.codes)} networks, Kendall tau "
        f"{fitted.kendall_tau:.2f} by cross-validation"
    )


def _is_within(run: Run, limited: LimitedSpace, record: Mapping[str, Any]) -> bool:
    codes = run.space.encode([run.arch(record["arch"])]).astype("int64")
    return bool(limited.within(codes)[0])


def export(run: Run) -> bool:
    """Export every retrained finalist; write export/<arch_id>/ and export/index.json."""
    rows = run.folder.read("retrained.json", RETRAINED)["finalists"]

    def work() -> Content:
        exported = []
        for place, row in enumerate(rows):
            report("exporting", place, len(rows))
            exported.append(_export_one(run, row))
        report("exporting", len(rows), len(rows))
        return {"schema": 1, "networks": exported}, {}

    return run.folder.stage("export", "export/index.json", work)


def _export_one(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    arch = run.arch(row["arch"])
    layers = run.space.layers(arch)
    dataset = run.dataset_for(layers)
    network = build(run.space, arch)
    weights = run.folder.weights(row["network_id"])
    load_weights(network, weights)
    precisions = run.config.exported_precisions
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
        precisions=precisions,
        calibration=calibration_data(dataset) if "int8" in precisions else None,
    )
    # what quantisation costs is told by the file that runs, not by the network it is made of
    folder = run.folder.file(f"export/{arch.arch_id}")
    files = {
        key: {**entry, "val": file_score(folder / entry["file"], dataset.without_test(), "val")}
        if entry["precision"] == "int8"
        else entry
        for key, entry in written["formats"].items()
    }
    return {"arch_id": arch.arch_id, "network_id": row["network_id"], "formats": files}


def _parity_images(dataset: Dataset) -> torch.Tensor:
    """Return PARITY_IMAGES images of ``val``, filled up from ``train`` where it has fewer."""
    images = dataset.images("val", PARITY_IMAGES)
    if len(images) == PARITY_IMAGES:
        return images
    return torch.cat([images, dataset.images("train", PARITY_IMAGES - len(images))])
