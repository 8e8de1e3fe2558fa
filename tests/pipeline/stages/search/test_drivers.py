"""Searches by supernets in a run: what they leave, how they resume, what evaluate says of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.artifacts.events import EvaluationEvent
from hwnas.errors import InputError, UsageError
from hwnas.executor.local import TaskError
from hwnas.io.journal import Journal
from hwnas.pipeline.commands.evaluate import evaluate_run
from hwnas.pipeline.commands.runs import retrain_run, search_run, whole_run
from hwnas.pipeline.config.run import RunConfig
from hwnas.pipeline.context import build_context
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.stages.search import supernets
from hwnas.report.model import read_run
from hwnas.report.page import render
from hwnas.space.catalogue import load_space
from hwnas.train import engine

SUPERNET = {
    "recipe": {"epochs": 4, "batch_size": 128, "warmup_epochs": 0.5},
    "calibration_images": 256,
}
GATES = {
    "strategy": "proxyless",
    "evaluations": 6,
    "supernet": SUPERNET,
    "gates": {"warmup_epochs": 2},
}


def _journal(run: Path, event: str) -> list[dict[str, Any]]:
    return [r for r in Journal(run / "journal.jsonl").records() if r["event"] == event]


def _without_clocks(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in ("time", "cost", "wall_s")} for r in records]


@pytest.fixture(scope="module")
def gates(make_config: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:

    path = tmp_path_factory.mktemp("runs") / "gates"
    whole_run(make_config(search=GATES), path)
    return path


def test_a_gate_search_journals_how_it_goes_and_ends_at_the_target(gates, content) -> None:
    epochs = _journal(gates, "supernet_epoch")
    assert [r["epoch"] for r in epochs] == [1, 2, 3, 4]
    assert [r["num_arch_steps"] > 0 for r in epochs] == [False, False, True, True]
    first, last = epochs[0], epochs[-1]
    assert first["entropy"] == pytest.approx(np.log(4), abs=1e-3)  # warm-up leaves gates uniform
    assert last["entropy"] < 0.7
    for key in ("expected_ms", "argmax_ms"):
        assert last[key] == pytest.approx(last["target_ms"], rel=0.05)
    budget_ms = content(gates, "result.json")["answers"][0]["limits"][0]["max"]
    assert last["target_ms"] == pytest.approx(0.9 * budget_ms)  # less the headroom


def test_its_evaluations_are_of_the_supernet_within_the_limits(gates, content) -> None:
    records = _journal(gates, "evaluation")
    assert len(records) == 6
    assert len({r["network_id"] for r in records}) == 6
    target_ms = _journal(gates, "supernet_epoch")[0]["target_ms"]
    for record in records:
        assert record["objectives"]["top1"]["source"] == "supernet"
        assert record["latency_ms"] <= target_ms + 1e-9
    best = content(gates, "finalists.json")["answers"][0]["finalists"]
    top = sorted((r["objectives"]["top1"]["value"] for r in records), reverse=True)
    assert [f["objectives"]["top1"]["value"] for f in best] == top[:2]


def test_as_many_random_networks_are_trained_beside_the_finalists(gates, content) -> None:
    retrained = content(gates, "retrained.json")
    assert len(retrained["finalists"]) == len(retrained["random"]) == 2
    assert all(row["search_source"] == "supernet" for row in retrained["random"])
    assert retrained["ranking"]["num_networks"] in (3, 4)
    assert "networks are too few" in retrained["ranking"]["statement"] or (
        "nothing can be said" in retrained["ranking"]["statement"]
    )
    winner = content(gates, "winner.json")
    assert winner["random_baseline"]["num_networks"] == 2
    best = max(row["val"]["top1"] for row in retrained["random"])
    assert winner["random_baseline"]["val_top1"] == best
    assert 0 <= winner["random_baseline"]["test_top1"] <= 1
    assert winner["search_top1"]["source"] == "supernet"


def test_the_report_shows_the_baselines_and_the_gap(gates) -> None:
    page = render(read_run(gates))[0]
    assert "best of 2 random networks" in page
    assert "random search" in page
    assert "the mean latency over the gates" in page  # how the search went
    assert "the search was off by" in page
    assert "too few to say" in page or "nothing can be said" in page


def test_the_cost_of_the_supernet_is_in_the_ledger(gates, content) -> None:
    cost = content(gates, "result.json")["cost"]
    space = load_space("tiny")
    codes = np.indices([4] * 5).reshape(5, -1).T[::37].astype(np.int16)
    macs = [sum(op.macs for op in space.layers(a)) for a in space.decode(codes)]
    assert cost["images_trained"] > 0
    assert min(macs) <= cost["macs_images"] / cost["images_trained"] <= 1.5 * max(macs)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("killed_at", [1, 3, 4])
def test_a_search_killed_in_warm_up_or_search_ends_as_the_unbroken_one(
    gates, make_config, tmp_path, monkeypatch, content, killed_at
) -> None:
    """Journal but for clocks, alphas, weights: also if the epoch was not yet written down."""
    save, calls = engine.save_checkpoint, []

    def dying(path, *args) -> None:
        save(path, *args)
        calls.append(path)
        if len(calls) == killed_at:
            raise Killed

    config, run = make_config(search=GATES), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "save_checkpoint", dying)
        with pytest.raises(Killed):
            search_run(config, run)
    assert len(_journal(run, "supernet_epoch")) == killed_at - 1
    search_run(config, run, resume=True)
    for event in ("supernet_epoch", "evaluation"):
        assert _without_clocks(_journal(run, event)) == _without_clocks(_journal(gates, event))
    name = "checkpoints/supernet-1.safetensors"
    assert (run / name).read_bytes() == (gates / name).read_bytes()
    assert content(run, "finalists.json") == content(gates, "finalists.json")


def test_a_checkpoint_of_another_search_is_refused(gates, make_config, tmp_path) -> None:
    run, config = tmp_path / "run", make_config(search=GATES, space="tiny:stem_channels=12")
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(gates / "checkpoints/supernet-1.state", run / "checkpoints")
    opened = build_context(RunFolder(run), config)
    problem = build_context(RunFolder(gates), make_config(search=GATES)).problem
    limited = problem.searched(problem.limits(0.08))
    with pytest.raises(InputError, match="network: the checkpoint has"):
        supernets.train_gates(opened, config.search, limited, 0)


@pytest.mark.parametrize("strategy", ["proxyless-rl", "proxyless"])
def test_the_other_forms_search_too(make_config, tmp_path, strategy) -> None:
    gates = {
        **GATES,
        "strategy": strategy,
        "gates": {"warmup_epochs": 2, "gradient": "full", "samples": 2},
    }
    result = search_run(make_config(search=gates), tmp_path / "run").to_json()
    assert result["strategy"] == strategy
    last = _journal(tmp_path / "run", "supernet_epoch")[-1]
    assert last["expected_ms"] == pytest.approx(last["target_ms"], rel=0.05)


def test_several_budgets_have_a_search_each(make_config, table, tmp_path, content) -> None:
    targets = [
        {
            "device": "host",
            "runtime": "onnxruntime",
            "table": str(table),
            "budget_ms": [0.08, 0.06],
            "headroom": 0.0,
        }
    ]
    short = {
        **GATES,
        "evaluations": 2,
        "supernet": {**SUPERNET, "recipe": {"epochs": 2, "batch_size": 256, "warmup_epochs": 0}},
        "gates": {"warmup_epochs": 1},
    }
    search_run(make_config(search=short, targets=targets), tmp_path / "run")
    numbers = [r["number"] for r in _journal(tmp_path / "run", "supernet_epoch")]
    assert numbers == [0, 0, 1, 1]
    assert [r["target_ms"] for r in _journal(tmp_path / "run", "supernet_epoch")] == [
        0.08,
        0.08,
        0.06,
        0.06,
    ]
    answers = content(tmp_path / "run", "finalists.json")["answers"]
    assert all(f["latency_ms"] <= 0.06 for f in answers[1]["finalists"])
    # the scores of an answer are all of one supernet
    own = {r["arch_id"] for r in _journal(tmp_path / "run", "evaluation") if r["index"] < 2}
    assert {f["arch_id"] for f in answers[0]["finalists"]} <= own


@pytest.fixture(scope="module")
def copies(make_config: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:

    path = tmp_path_factory.mktemp("runs") / "copies"
    search = {
        "strategy": "random",
        "evaluator": "supernet",
        "evaluations": 3,
        "supernet": {
            "copies": 2,
            "calibration_images": 128,
            "recipe": {"epochs": 1, "batch_size": 128, "warmup_epochs": 0},
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.search.evaluators.supernet_tasks.run_tasks", _run_here)
        search_run(make_config(search=search), path)
    return path


def _run_here(function: Callable[..., Any], tasks: Any, **_: Any) -> Any:
    return ((key, function(task, None)) for key, (task, _) in tasks.items())


def _write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def test_a_random_search_by_supernets_averages_them(copies, tmp_path) -> None:
    assert [r["number"] for r in _journal(copies, "supernet")] == [0, 1]
    records = _journal(copies, "evaluation")
    archs = _write(tmp_path / "archs.jsonl", [r["arch"] for r in records])
    both = [one.to_json() for one in evaluate_run(copies, archs)]
    for found, record in zip(both, records, strict=True):
        assert found["top1"] == pytest.approx(record["objectives"]["top1"]["value"])
        assert (found["arch_id"], found["source"]) == (record["arch_id"], "supernet")
    assert EvaluationEvent.from_json(records[0]).evaluation.objectives["loss"].direction == "min"


def test_evaluate_takes_another_width_and_number_of_classes_in_order(copies, tmp_path) -> None:
    own = load_space("tiny")
    other = load_space("tiny:num_classes=7,stem_channels=16")
    codes = np.array([[1, 2, 3, 0, 1], [3, 3, 3, 3, 3]], dtype=np.int16)
    lines = [
        *(a.to_json() for a in own.decode(codes)),
        "not json",
        *(a.to_json() for a in other.decode(codes)),
        {**own.decode(codes)[0].to_json(), "space": "macro-cifar"},
        ["no", "arch"],
        {**own.decode(codes)[0].to_json(), "choices": {"layer1": "mb9"}},
    ]
    found = [one.to_json() for one in evaluate_run(copies, _write(tmp_path / "a.jsonl", lines))]
    assert ["error" in record for record in found] == [
        False,
        False,
        True,
        False,
        False,
        True,
        True,
        True,
    ]
    assert found[0]["top1"] == found[3]["top1"]
    assert found[0]["loss"] == found[3]["loss"]
    assert found[3]["arch_id"] == other.decode(codes)[0].arch_id
    assert "mb9" in found[7]["error"]


def test_an_evaluation_that_fails_is_told_in_its_line_and_the_others_are_kept(
    finished, tmp_path, monkeypatch
) -> None:
    records = _journal(finished, "evaluation")[:2]

    class Failing:
        def evaluate(self, archs):
            yield 0, EvaluationEvent.from_json(records[0]).evaluation
            raise TaskError("the second training ended badly")

    monkeypatch.setattr(
        "hwnas.search.evaluators.scratch.ScratchEvaluator", lambda *_, **__: Failing()
    )
    found = [
        one.to_json()
        for one in evaluate_run(
            finished, _write(tmp_path / "a.jsonl", [r["arch"] for r in records])
        )
    ]
    assert found[0]["top1"] == records[0]["objectives"]["top1"]["value"]
    assert found[1]["error"] == "the second training ended badly"


def test_evaluate_needs_a_finished_search(copies, tmp_path) -> None:
    run = Path(shutil.copytree(copies, tmp_path / "run"))
    archs = _write(tmp_path / "a.jsonl", [_journal(run, "evaluation")[0]["arch"]])
    weights = run / "checkpoints/supernet-2.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="supernet-2"):
        evaluate_run(run, archs)
    (run / "result.json").unlink()
    with pytest.raises(UsageError, match="no finished search"):
        evaluate_run(run, archs)


def test_a_scratch_run_evaluates_by_training(finished, tmp_path) -> None:
    record = _journal(finished, "evaluation")[0]
    found = [
        one.to_json()
        for one in evaluate_run(finished, _write(tmp_path / "a.jsonl", [record["arch"]]))
    ]
    assert found[0]["source"] == "scratch"
    assert found[0]["top1"] == record["objectives"]["top1"]["value"]


def test_finalists_of_supernets_are_trained_from_scratch(copies, tmp_path, content) -> None:
    run = Path(shutil.copytree(copies, tmp_path / "run"))
    found = retrain_run(run).to_json()
    assert all(row["val"]["source"] == "scratch" for row in found["finalists"])
    assert found["random"] == []  # the search is random itself


def test_a_recipe_that_is_given_in_part_keeps_the_rest_of_the_supernets_own(make_config) -> None:
    whole = make_config(search={"strategy": "proxyless"}).search.supernet.recipe
    part = make_config(search={"strategy": "proxyless", "supernet": {"recipe": {"lr": 0.2}}})
    assert (whole.epochs, whole.label_smoothing) == (20, 0.0)
    found = part.search.supernet.recipe
    assert (found.epochs, found.label_smoothing, found.lr) == (20, 0.0, 0.2)


def test_a_search_without_an_architecture_step_is_refused(make_config, tmp_path) -> None:
    config = make_config(search={**GATES, "gates": {"warmup_epochs": 3, "every": 1000}})
    with pytest.raises(UsageError, match="nothing would be searched"):
        search_run(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"strategy": "proxyless", "evaluator": "scratch"}, "evaluator is supernet"),
        ({"strategy": "proxyless", "gates": {"warmup_epochs": 20}}, "must be below"),
        ({"strategy": "proxyless", "supernet": {"copies": 2}}, "copies must be 1"),
        ({"evaluator": "supernet", "supernet": {"recipe": {"compile": True}}}, "compiled anew"),
        ({"strategy": "darts"}, "'random', 'proxyless', 'proxyless-rl', 'evolution'"),
    ],
)
def test_what_does_not_go_together_is_refused(make_config, search, message) -> None:
    with pytest.raises(Exception, match=message):
        make_config(search=search)
