"""Every strategy that asks and is told, in a run: within limits, resumed, by every evaluator."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import HwnasError, InputError, UsageError
from hwnas.io.journal import Journal
from hwnas.pipeline.commands.evaluate import evaluate_run
from hwnas.pipeline.commands.runs import retrain_run, search_run
from hwnas.protocols import Evaluation, Objective
from hwnas.report.page import write_report
from hwnas.search.loop import SearchLoop
from hwnas.search.strategies.rl import PolicySettings
from hwnas.space.catalogue import load_space
from hwnas.space.cells.nasbench201 import all_codes

TINY = load_space("tiny")
BUDGET_MS = 0.08
STRATEGIES = ("random", "evolution", "nsga2", "local", "rl", "exhaustive", "combined-moves")


def _scores() -> dict[str, float]:
    """A made-up accuracy of every network of ``tiny``, by arch_id: work helps, and so does luck."""
    sizes = [len(choice.options) for choice in TINY.choices]
    codes = np.stack(np.unravel_index(np.arange(1024), sizes), axis=1).astype(np.int16)
    values = 0.5 + 0.05 * codes.sum(axis=1) / 3 + 0.01 * np.sin(codes @ [3, 5, 7, 11, 13])
    return {arch.arch_id: float(v) for arch, v in zip(TINY.decode(codes), values, strict=True)}


@pytest.fixture(scope="module")
def accuracies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All accuracies as a file of lines."""
    scores = _scores()
    sizes = [len(choice.options) for choice in TINY.choices]
    codes = np.stack(np.unravel_index(np.arange(1024), sizes), axis=1).astype(np.int16)
    path = tmp_path_factory.mktemp("accuracies") / "known.jsonl"
    path.write_text(
        "".join(
            json.dumps({"arch": arch.to_json(), "top1": scores[arch.arch_id]}) + "\n"
            for arch in TINY.decode(codes)
        )
    )
    return path


def _search(strategy: str, accuracies: Path, **changes: Any) -> dict[str, Any]:
    count = {"exhaustive": 1024, "combined-moves": 1000}.get(strategy, 40)
    return {
        "strategy": strategy,
        "evaluator": f"table:{accuracies}",
        "evaluations": count,
        **changes,
    }


def _evaluated(run: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in r.items() if k not in ("time", "cost")}
        for r in Journal(run / "journal.jsonl").records()
        if r["event"] == "evaluation"
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_keeps_the_limit_and_evaluates_nothing_twice(
    strategy, make_config, accuracies, tmp_path, content
):
    config = make_config(search=_search(strategy, accuracies), data=None)
    result = search_run(config, tmp_path / "run").to_json()
    records = _evaluated(tmp_path / "run")
    assert len({r["network_id"] for r in records}) == len(records) > 10
    assert all(r["latency_ms"] <= BUDGET_MS * 0.9 + 1e-9 for r in records)
    known = _scores()
    assert all(
        r["objectives"]["top1"]["value"] == pytest.approx(known[r["arch_id"]]) for r in records
    )
    best = max(r["objectives"]["top1"]["value"] for r in records)
    assert result["answers"][0]["best"]["objectives"]["top1"]["value"] == best
    assert (tmp_path / "run" / "evaluator.jsonl").read_bytes() == accuracies.read_bytes()
    assert bool(content(tmp_path / "run", "finalists.json")["answers"][0]["random"]) == (
        strategy != "random"
    )


@pytest.mark.parametrize("strategy", ["exhaustive", "combined-moves"])
def test_what_sees_everything_finds_the_best(strategy, make_config, accuracies, tmp_path):
    config = make_config(search=_search(strategy, accuracies), data=None)
    result = search_run(config, tmp_path / "run").to_json()
    run = make_config(search=_search("exhaustive", accuracies), data=None)
    every = search_run(run, tmp_path / "every").to_json()
    assert (
        result["answers"][0]["best"]["objectives"]["top1"]
        == (every["answers"][0]["best"]["objectives"]["top1"])
    )


class Killed(Exception):
    """Ends a search where it stands."""


@pytest.mark.parametrize("strategy", ["evolution", "nsga2", "local", "rl"])
def test_a_search_killed_goes_on_as_if_it_had_not_been(
    strategy, make_config, accuracies, tmp_path, monkeypatch
):
    surrogate = strategy in ("evolution", "local", "rl")
    monkeypatch.setattr(
        "hwnas.search.strategies.rl.PolicySettings", partial(PolicySettings, hidden=8)
    )
    config = make_config(search=_search(strategy, accuracies, surrogate=surrogate), data=None)
    search_run(config, tmp_path / "whole")
    record = SearchLoop._event

    def dying(self, index, evaluation):
        if index == 23:
            raise Killed
        return record(self, index, evaluation)

    with monkeypatch.context() as patch:
        patch.setattr(SearchLoop, "_event", dying)
        with pytest.raises(Killed):
            search_run(config, tmp_path / "run")
    assert len(_evaluated(tmp_path / "run")) == 23
    search_run(config, tmp_path / "run", resume=True)
    assert _evaluated(tmp_path / "run") == _evaluated(tmp_path / "whole")


@pytest.mark.parametrize(
    ("strategy", "evaluator"),
    [
        ("evolution", "supernet"),
        ("nsga2", "scratch"),
        ("local", "scratch"),
        ("rl", "supernet"),
    ],
)
def test_strategies_run_on_images_by_both_evaluators(
    strategy, evaluator, make_config, tmp_path, monkeypatch
):
    def run_here(function: Any, tasks: Any, **_: Any) -> Any:
        return ((key, function(task, None)) for key, (task, _) in tasks.items())

    monkeypatch.setattr("hwnas.search.evaluators.supernet_tasks.run_tasks", run_here)
    short = {"epochs": 1, "batch_size": 256, "warmup_epochs": 0}
    training = (
        {"recipe": short}
        if evaluator == "scratch"
        else {"supernet": {"recipe": short, "calibration_images": 64}}
    )
    search = {"strategy": strategy, "evaluator": evaluator, "evaluations": 4, **training}
    retrain = {"top": 1, "recipe": short}
    result = search_run(make_config(search=search, retrain=retrain), tmp_path / "run").to_json()
    assert result["num_evaluations"] == 4
    assert all(r["latency_ms"] <= BUDGET_MS * 0.9 + 1e-9 for r in _evaluated(tmp_path / "run"))


def test_halving_trains_few_for_long_and_the_longest_trained_wins(make_config, tmp_path):
    search = {
        "evaluations": 4,
        "recipe": {"epochs": 2, "batch_size": 256, "warmup_epochs": 0},
        "halving": {"eta": 2},
    }
    result = search_run(make_config(search=search), tmp_path / "run").to_json()
    records = _evaluated(tmp_path / "run")
    epochs = sorted(r["objectives"]["epochs"]["value"] for r in records)
    assert epochs == [1.0, 1.0, 2.0, 2.0]
    assert result["answers"][0]["best"]["objectives"]["epochs"]["value"] == 2.0


def test_a_search_from_a_table_needs_no_images_and_says_what_does(
    make_config, accuracies, tmp_path
):
    run = tmp_path / "run"
    search_run(make_config(search=_search("evolution", accuracies), data=None), run)
    with pytest.raises(UsageError, match="was begun without images"):
        retrain_run(run)
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps(_evaluated(run)[0]["arch"]) + "\n")
    found = [one.to_json() for one in evaluate_run(run, lines)]
    assert found == [
        {
            "arch_id": _evaluated(run)[0]["arch_id"],
            "source": "table",
            "top1": pytest.approx(_evaluated(run)[0]["objectives"]["top1"]["value"]),
        }
    ]


def test_a_table_with_holes_fails_those_evaluations_alone(make_config, accuracies, tmp_path):
    half = tmp_path / "half.jsonl"
    half.write_text("".join(accuracies.read_text().splitlines(keepends=True)[::2]))
    result = search_run(
        make_config(search=_search("evolution", half), data=None), tmp_path / "run"
    ).to_json()
    records = _evaluated(tmp_path / "run")
    failed = [r for r in records if "error" in r]
    assert 0 < len(failed) < len(records)
    assert all(not r["objectives"] for r in failed)
    assert result["answers"][0]["best"]["arch_id"] not in {r["arch_id"] for r in failed}


def test_archs_of_a_file_are_scored_first_and_those_beyond_the_limit_are_said(
    make_config, accuracies, tmp_path, said
):
    smallest = TINY.arch({c.name: "identity" for c in TINY.choices})
    largest = TINY.arch({c.name: "mb6_k3" for c in TINY.choices})
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("".join(json.dumps(a.to_json()) + "\n" for a in (largest, smallest)))
    search = _search("evolution", accuracies, seed_archs=str(seeds))
    search_run(make_config(search=search, data=None), tmp_path / "run")
    assert _evaluated(tmp_path / "run")[0]["arch_id"] == smallest.arch_id
    assert any("line 1 has latency_ms" in text for text in said)


def test_a_missing_or_broken_file_is_an_error_before_any_work(make_config, tmp_path):
    config = make_config(search=_search("evolution", tmp_path / "none.jsonl"), data=None)
    with pytest.raises(InputError, match="there is no such file"):
        search_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "bad.jsonl").write_text('{"arch": 1}\nnot json\n')
    config = make_config(search=_search("evolution", tmp_path / "bad.jsonl"), data=None)
    with pytest.raises(InputError, match="2 problems"):
        search_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"evaluator": "oracle"}, "must be scratch, supernet, table:FILE or predictor:FILE"),
        ({"evaluator": "table:"}, "must be scratch"),
        ({"strategy": "combined-moves"}, "its evaluator is table:FILE or predictor:FILE"),
        (
            {"strategy": "random", "surrogate": True},
            "goes with strategy evolution, rl or local",
        ),
        (
            {"strategy": "exhaustive", "seed_archs": "known"},
            "seed_archs goes with strategy evolution, nsga2, rl or local, not with exhaustive",
        ),
        ({"strategy": "local", "prior": "none"}, "prior goes with strategy evolution or rl"),
        (
            {"strategy": "evolution", "settings": {"a": 1}},
            "goes with strategy of a plugin",
        ),
        ({"strategy": "proxyless", "seed_archs": "known"}, "seed_archs goes with strategy"),
        (
            {"evaluator": "supernet", "halving": {}},
            "halving goes with evaluator scratch",
        ),
        ({"recipe": {"epochs": 2}, "halving": {"least_epochs": 3}}, "halving.least_epochs"),
        ({"evaluator": "table:a", "recipe": {"epochs": 2}}, "recipe goes with evaluator scratch"),
        (
            {"evaluator": "supernet", "recipe": {"epochs": 2}},
            "goes with evaluator scratch, not",
        ),
        ({"supernet": {"copies": 2}}, "supernet goes with evaluator supernet, not with scratch"),
        (
            {"gates": {"every": 2}},
            "gates goes with strategy proxyless or proxyless-rl, not with random",
        ),
        (
            {"strategy": "local", "controller": {"algorithm": "ppo"}},
            "goes with strategy rl, not with",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make_config, search, message):
    with pytest.raises(Exception, match=message):
        make_config(search=search)


@pytest.mark.parametrize(
    ("space", "search", "message"),
    [
        (
            "nasbench201",
            {"strategy": "proxyless"},
            "need a chain of layers.*evaluator scratch, table",
        ),
        ("nasbench201", {"evaluator": "supernet"}, "those of ofa-mbv3, mobile, tiny"),
        (
            "ofa-mbv3:width_mult=0.1",
            {"strategy": "proxyless"},
            "evaluator supernet, scratch, table",
        ),
    ],
)
def test_a_space_whose_networks_cannot_share_weights_so_is_told_before_any_work(
    make_config, tmp_path, space, search, message
):
    config = make_config(space=space, search=search)
    with pytest.raises(UsageError, match=message):
        search_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_exhaustive_search_of_a_large_space_is_refused_with_its_size(
    make_config, accuracies, tmp_path
):
    config = make_config(search={**_search("exhaustive", accuracies), "evaluations": 20}, data=None)
    with pytest.raises(UsageError, match="exhaustive search evaluates every network"):
        search_run(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run")


def test_a_search_of_enough_networks_leaves_a_predictor_that_another_search_uses(
    make_config, accuracies, tmp_path, monkeypatch, said
):
    known = _scores()

    class Known:
        """Stands for trainings, whose scores are these."""

        def evaluate(self, archs):
            for place, arch in enumerate(archs):
                top1 = Objective(known[arch.arch_id], "fraction", "max", "scratch")
                yield place, Evaluation(arch, {"top1": top1}, {"core_s": 0.0})

        def recall(self, evaluations):
            """Remember nothing."""

    monkeypatch.setattr(
        "hwnas.search.evaluators.scratch.ScratchEvaluator", lambda *_, **__: Known()
    )
    first = search_run(make_config(search={"evaluations": 60}), tmp_path / "first").to_json()
    assert any("predictor.json: fitted to 60 networks, Kendall tau" in text for text in said)
    search = {
        "strategy": "combined-moves",
        "evaluations": 1000,
        "evaluator": f"predictor:{tmp_path / 'first' / 'predictor.json'}",
    }
    result = search_run(make_config(search=search, data=None), tmp_path / "second").to_json()
    best = result["answers"][0]["best"]
    assert best["objectives"]["top1"]["source"] == "predictor"
    assert best["objectives"]["top1_std"]["value"] > 0
    # what it predicts best is truly as good as the best of those it was fitted to
    found = first["answers"][0]["best"]["objectives"]["top1"]["value"]
    assert known[best["arch_id"]] >= found - 0.005


def test_one_front_of_nsga2_serves_all_budgets(make_config, accuracies, tmp_path):
    budgets = (BUDGET_MS, 0.8 * BUDGET_MS, 1.2 * BUDGET_MS)
    config = make_config(search=_search("nsga2", accuracies), data=None)
    target = config.targets[0].model_copy(update={"budget_ms": budgets})
    result = search_run(
        config.model_copy(update={"targets": (target,)}), tmp_path / "run"
    ).to_json()
    records = _evaluated(tmp_path / "run")
    assert len(records) == result["num_evaluations"] == 40
    assert max(r["latency_ms"] for r in records) > BUDGET_MS
    for budget_ms, answer in zip(budgets, result["answers"], strict=True):
        inside = [r for r in records if r["latency_ms"] <= budget_ms * 0.9 + 1e-9]
        best = max(r["objectives"]["top1"]["value"] for r in inside)
        assert answer["best"]["objectives"]["top1"]["value"] == best
        assert answer["best"]["latency_ms"] <= budget_ms


def test_a_space_of_cells_is_searched_by_a_table_of_accuracies(make_config, make_table, tmp_path):
    space = load_space("nasbench201")
    codes = all_codes()
    top1 = 0.5 + 0.01 * codes.sum(axis=1) + 0.001 * np.sin(codes @ [3, 5, 7, 11, 13, 17])
    lines = [
        json.dumps({"arch": arch.to_json(), "top1": value}) + "\n"
        for arch, value in zip(space.decode(codes), top1.tolist(), strict=True)
    ]
    (tmp_path / "known.jsonl").write_text("".join(lines))
    target = {
        "device": "host",
        "runtime": "onnxruntime",
        "budget_percentile": 30.0,
        "table": str(make_table(tmp_path / "cells.json", space="nasbench201")),
    }
    config = make_config(
        space="nasbench201",
        data=None,
        targets=[target],
        search=_search("evolution", tmp_path / "known.jsonl"),
    )
    result = search_run(config, tmp_path / "run").to_json()
    records, [answer] = _evaluated(tmp_path / "run"), result["answers"]
    assert len({r["network_id"] for r in records}) == len(records) == 40
    best = answer["best"]
    assert best["latency_ms"] <= answer["limits"][0]["max"]
    # a network has the mean of its codes' accuracies
    keys = space.network_keys(codes)
    own = space.network_keys(space.encode([space.arch(best["arch"]["choices"])]))
    assert best["objectives"]["top1"]["value"] == pytest.approx(
        top1[(keys == own).all(axis=1)].mean()
    )
    points = json.loads((tmp_path / "run" / "front.json").read_text())["points"]
    assert len(points) == 40
    assert any(point["on_front"] for point in points)
    write_report(tmp_path / "run")
    assert "nasbench201" in (tmp_path / "run" / "report.html").read_text()


def test_a_table_that_knows_no_network_is_an_error_that_says_so(make_config, tmp_path):
    path = tmp_path / "other.jsonl"
    arch = TINY.arch({choice.name: "mb6_k3" for choice in TINY.choices})  # beyond the budget
    path.write_text(json.dumps({"arch": arch.to_json(), "top1": 0.5}) + "\n")
    config = make_config(search=_search("evolution", path), data=None)
    with pytest.raises(HwnasError, match=r"40 of 40 evaluations failed.*no score"):
        search_run(config, tmp_path / "run")


def test_a_file_of_seeds_is_read_before_any_work_and_kept(make_config, accuracies, tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    search = _search("evolution", accuracies, seed_archs=str(seeds))
    with pytest.raises(InputError, match="seeds"):
        search_run(make_config(search=search, data=None), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    arch = TINY.arch({choice.name: "identity" for choice in TINY.choices})
    seeds.write_text(json.dumps(arch.to_json()) + "\n")
    config = make_config(search=search, data=None)
    search_run(config, tmp_path / "run")
    first = _evaluated(tmp_path / "run")
    assert first[0]["arch_id"] == arch.arch_id
    seeds.unlink()
    (tmp_path / "run" / "result.json").unlink()
    search_run(config, tmp_path / "run", resume=True)
    assert _evaluated(tmp_path / "run") == first


def test_what_a_searcher_cannot_do_is_said_before_a_supernet_is_trained(
    make_config, tmp_path, monkeypatch
):
    def training(*_: Any, **__: Any) -> Any:
        raise AssertionError("a supernet was trained")

    monkeypatch.setattr("hwnas.pipeline.stages.search.supernets.train_supernets", training)
    search = {"strategy": "exhaustive", "evaluator": "supernet", "evaluations": 2}
    with pytest.raises(UsageError, match="exhaustive"):
        search_run(make_config(search=search), tmp_path / "run")
