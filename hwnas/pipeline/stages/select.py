"""The last stage: choose the winner among the finalists that were measured, touch test once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import beta
from torch import nn

from hwnas.arch import Arch
from hwnas.device.runner import Target
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import InputError
from hwnas.export.bundle import file_key
from hwnas.export.formats import PRECISIONS
from hwnas.nn.build import build, build_layers
from hwnas.ops import OpSpec
from hwnas.pipeline.context import Run
from hwnas.pipeline.stages.bench import bench_file
from hwnas.pipeline.stages.quantised import file_score
from hwnas.pipeline.stages.retrain import searched_id
from hwnas.pipeline.stages.search_export import BENCHED, EXPORTED, RETRAINED, SEARCHED, Content
from hwnas.space.zoo.layers import KNOWN
from hwnas.train.checkpoint import load_weights
from hwnas.train.engine import Score, evaluate


def choose_winner(run: Run) -> bool:
    """Take the best finalist that was measured within the budget; score it on test, once.

    Writes winner.json. The finalists of the first budget come in the order of their top-1 on
    ``val``; those measured over the budget are rejected and listed. When all are, the fastest
    stands and the report says so.
    """
    target = run.target(0)
    benched = run.folder.read(bench_file(target), BENCHED)
    trained = run.folder.read("retrained.json", RETRAINED)
    retrained = trained["finalists"]
    exported = run.folder.read("export/index.json", EXPORTED)["networks"]
    answer = run.folder.read("finalists.json", SEARCHED)["answers"][0]
    first = answer["finalists"]
    drawn = {row["network_id"] for row in answer.get("random", ())}
    budget_ms = run.budgets_ms[0]

    def work() -> Content:
        rows = {row["arch_id"]: row for row in benched["rows"] if row["kind"] == "finalist"}
        _require_together(run, [f["arch_id"] for f in retrained], list(rows), exported)
        eligible = {finalist["network_id"] for finalist in first}
        ordered = [rows[f["arch_id"]] for f in retrained if searched_id(f) in eligible]
        if target.precision == "int8":  # what is handed over is judged by its own accuracy
            ordered.sort(key=lambda row: -(row.get("val_top1_int8") or 0.0))
        passing = [row for row in ordered if row["within_budget"]]
        fastest = min(ordered, key=lambda row: row["measurement"]["latency_ms"])
        winner = passing[0] if passing else fastest
        rejected = [
            {
                "arch_id": row["arch_id"],
                "measured_ms": row["measurement"]["latency_ms"],
                "reason": f"measured over the budget of {budget_ms:g} ms",
            }
            for row in ordered[: ordered.index(winner)]
        ]
        arch = run.arch(next(f["arch"] for f in retrained if f["arch_id"] == winner["arch_id"]))
        score = _test_arch(run, arch, winner["network_id"])
        formats = next(e["formats"] for e in exported if e["arch_id"] == winner["arch_id"])
        folder = f"export/{winner['arch_id']}"
        return {
            "schema": 1,
            "arch": arch.to_json(),
            "arch_id": winner["arch_id"],
            "network_id": winner["network_id"],
            "budget_ms": budget_ms,
            "predicted_ms": winner["predicted_ms"],
            "measured_ms": winner["measurement"]["latency_ms"],
            "within_budget": winner["within_budget"],
            "search_top1": _search_top1(retrained, winner["arch_id"]),
            "val_top1": winner["val_top1"],
            "init": _init(trained, winner["arch_id"]),
            "test": _test_json(score),
            "first_try": {"within": len(passing), "of": len(ordered)},
            "first_finalist_passed": ordered[0]["within_budget"],
            "rejected": rejected,
            "layers": [op.to_json() for op in run.space.layers(arch)],
            "macs": winner["macs"],
            "params": winner["params"],
            "parity": {name: entry["parity"] for name, entry in formats.items()},
            "files": {
                **{name: f"{folder}/{entry['file']}" for name, entry in formats.items()},
                "arch": f"{folder}/arch.json",
            },
            "precision": target.precision,
            "precisions": _precisions(run, winner, score, formats, target),
            "random_baseline": _random_baseline(
                run, [row for row in trained.get("random", ()) if searched_id(row) in drawn]
            ),
            "shelf": [_shelf_result(run, row) for row in benched["rows"] if row["kind"] == "shelf"],
        }, {}

    return run.folder.stage("winner", "winner.json", work)


def _init(trained: Mapping[str, Any], arch_id: str) -> dict[str, Any] | None:
    """Return the published weights that a finalist began with, None where it began from scratch."""
    row = next(row for row in trained["finalists"] if row["arch_id"] == arch_id)
    found: dict[str, Any] | None = trained.get("init")
    return found if row["val"].get("source") == "published" else None


def _precisions(
    run: Run,
    winner: Mapping[str, Any],
    fp32: Score,
    formats: Mapping[str, Mapping[str, Any]],
    target: Target,
) -> dict[str, Any]:
    """Return latency and accuracy of the winner in each precision it was exported to.

    For int8 the file is scored that the target's runtime executes, on ``test`` this once.
    """
    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        entry = formats.get(file_key(RUNTIMES[target.runtime].format, precision))
        measured = (
            winner["measurement"]
            if precision == target.precision
            else winner.get("also", {}).get(precision)
        )
        if entry is None and measured is None:
            continue
        if precision == "fp32":
            val, test = winner["val_top1"], _test_json(fp32)
        else:
            if entry is None:
                continue
            layers = run.space.layers(run.arch(_arch_json(run, winner["arch_id"])))
            path = run.folder.file(f"export/{winner['arch_id']}/{entry['file']}")
            scored = file_score(path, run.dataset_for(layers), "test")
            correct = round(scored["top1"] * scored["num_images"])
            val = entry["val"]["top1"]
            test = {
                "top1": scored["top1"],
                "num_images": scored["num_images"],
                "ci95": binomial_interval(correct, scored["num_images"]),
            }
        found[precision] = {
            "measured_ms": measured["latency_ms"] if measured else None,
            "val_top1": val,
            "test": test,
        }
    return found


def _arch_json(run: Run, arch_id: str) -> dict[str, Any]:
    rows = run.folder.read("retrained.json", RETRAINED)["finalists"]
    arch: dict[str, Any] = next(row["arch"] for row in rows if row["arch_id"] == arch_id)
    return arch


def _search_top1(retrained: Sequence[Mapping[str, Any]], arch_id: str) -> dict[str, Any]:
    """Return what the search believed of a finalist, and by which evidence."""
    row = next(row for row in retrained if row["arch_id"] == arch_id)
    return {"value": row["search_top1"], "source": row["search_source"]}


def _random_baseline(run: Run, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the best on ``val`` of the random networks trained like the finalists, with its test.

    What random search with as many trainings would have handed over; None where none were trained.
    """
    if not rows:
        return None
    best = rows[0]
    score = _test_arch(run, run.arch(best["arch"]), best["network_id"])
    return {
        "num_networks": len(rows),
        "arch_id": best["arch_id"],
        "network_id": best["network_id"],
        "predicted_ms": best["latency_ms"],
        "val_top1": best["val"]["top1"],
        "test_top1": score.top1,
    }


def _require_together(
    run: Run, trained: Sequence[str], benched: Sequence[str], exported: Sequence[Mapping[str, Any]]
) -> None:
    """Raise InputError unless the same finalists were trained, exported and measured."""
    problems = [
        f"{name} has {', '.join(found) or 'none'}, but retrained.json has {', '.join(trained)}"
        for name, found in (
            (bench_file(run.target(0)), benched),
            ("export/index.json", [entry["arch_id"] for entry in exported]),
        )
        if set(found) != set(trained)
    ]
    if problems:
        raise InputError(
            str(run.folder.path),
            problems,
            "remove what is out of date and repeat hwnas export and hwnas bench",
        )


def _test_arch(run: Run, arch: Arch, network_id: str) -> Score:
    return _test(run, build(run.space, arch), run.space.layers(arch), network_id)


def _test(run: Run, network: nn.Module, layers: Sequence[OpSpec], network_id: str) -> Score:
    """Score trained weights on ``test``, its images at the input size of ``layers``."""
    load_weights(network, run.folder.weights(network_id))
    return evaluate(network, run.dataset_for(layers), "test", torch_device=run.config.torch_device)


def _test_json(score: Score) -> dict[str, Any]:
    correct = round(score.top1 * score.num_images)
    return {
        "top1": score.top1,
        "loss": score.loss,
        "num_images": score.num_images,
        "ci95": binomial_interval(correct, score.num_images),
    }


def binomial_interval(correct: int, total: int) -> list[float]:
    """Return the exact 95 % interval of a share (Clopper and Pearson, Biometrika 1934)."""
    low = float(beta.ppf(0.025, correct, total - correct + 1)) if correct else 0.0
    high = float(beta.ppf(0.975, correct + 1, total - correct)) if correct < total else 1.0
    return [low, high]


def _shelf_result(run: Run, row: Mapping[str, Any]) -> dict[str, Any]:
    layers = KNOWN[row["known"]](
        width_mult=row["width_mult"],
        # older bench files do not tell: it was the space's
        input_size=row.get("input_size", run.space.input_shape[1]),
        num_classes=run.space.num_classes,
    )
    score = _test(run, build_layers(layers), layers, row["network_id"])
    return {
        "name": row["name"],
        "width_mult": row["width_mult"],
        "measured_ms": row["measurement"]["latency_ms"],
        "within_budget": row["within_budget"],
        "val_top1": row["val_top1"],
        "test_top1": score.top1,
        "macs": row["macs"],
        "params": row["params"],
        "note": row["note"],
    }
