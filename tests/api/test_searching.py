from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
from typer.testing import CliRunner

import hwnas
from hwnas.cli import app
from hwnas.protocols import Evaluation, Objective


@pytest.mark.parametrize("strategy", ["random", "evolution", "nsga2", "local", "rl"])
def test_a_search_is_that_of_the_command_line(space, latency, scores, shop, strategy):
    where = ["--space", "tiny", "--lut", "table.json", "--budget-ms", "0.08", "--headroom", "0"]
    how = ["--strategy", strategy, "--evaluator", "table:scores.jsonl", "--evaluations", "40"]
    out = ["--seed", "7", "--out", "r", "--json"]
    done = CliRunner().invoke(app, ["search", *where, *how, *out])
    assert done.exit_code == 0, done.output
    best = json.loads(done.stdout)["answers"][0]["best"]
    limits: hwnas.Limits = {"latency_ms": (latency, 0.08)}
    options = {"strategy": strategy, "evaluations": 40, "seed": 7}
    by_function = hwnas.search(space, limits, evaluate=lambda a: scores[a.arch_id], **options)
    by_file = hwnas.search(space, limits, evaluate="table:scores.jsonl", **options)
    recorded = [event.arch_id for event in hwnas.open_run("r").evaluations]
    assert [trial.arch.arch_id for trial in by_function.trials] == recorded
    assert [trial.arch for trial in by_file.trials] == [trial.arch for trial in by_function.trials]
    assert by_function.best.arch.arch_id == best["arch_id"]
    assert by_function.best.latency_ms == pytest.approx(best["latency_ms"])


def test_combined_moves_are_those_of_the_command_line(space, latency, shop):
    where = ["--space", "tiny", "--lut", "table.json", "--budget-ms", "0.08", "--headroom", "0"]
    how = ["--strategy", "combined-moves", "--evaluator", "table:scores.jsonl"]
    out = ["--evaluations", "1000", "--seed", "7", "--out", "r", "--json"]
    done = CliRunner().invoke(app, ["search", *where, *how, *out])
    assert done.exit_code == 0, done.output
    result = hwnas.search(
        space,
        {"latency_ms": (latency, 0.08)},
        strategy="combined-moves",
        evaluate="table:scores.jsonl",
        evaluations=1000,
        seed=7,
    )
    recorded = [event.arch_id for event in hwnas.open_run("r").evaluations]
    assert [trial.arch.arch_id for trial in result.trials] == recorded


def test_a_search_starts_from_given_networks(space, latency, scores):
    limits: hwnas.Limits = {"latency_ms": (latency, 0.08)}
    start = space.sample(3, limits=limits, distinct=True)
    options = {"evaluate": lambda arch: scores[arch.arch_id], "evaluations": 20}
    result = hwnas.search(space, limits, start=start, **options)
    assert [trial.arch for trial in result.trials[:3]] == start
    slow = max(space.sample(1000, distinct=True), key=lambda arch: latency.predict([arch])[0])
    with pytest.raises(hwnas.UsageError, match="cannot start from these networks"):
        hwnas.search(space, limits, start=[slow], **options)


def test_settings_and_prior_change_what_is_proposed(space, latency, scores):
    def proposed(**options: object) -> list[hwnas.Arch]:
        study = hwnas.Study(space, {"latency_ms": (latency, 0.08)}, strategy="rl", **options)
        return study.ask_batch(20)

    assert proposed() == proposed(prior="macs", settings={"algorithm": "reinforce"})
    with pytest.raises(hwnas.InputError, match="algorithm"):
        proposed(settings={"algorithm": "sgd"})
    evolution = {
        prior: hwnas.Study(space, {"latency_ms": (latency, 0.08)}, prior=prior).ask_batch(10)
        for prior in ("macs", "none")
    }
    assert evolution["macs"] != evolution["none"]


def test_progress_is_reported(space):
    seen = []
    with hwnas.reporting(lambda stage, done, total: seen.append((stage, done, total))):
        hwnas.search(space, {}, evaluate=lambda arch: 1.0, evaluations=4, strategy="random")
    assert seen[-1] == ("evaluating", 4, 4)


def test_failed_evaluations_are_recorded_and_do_not_end_the_search(space, latency):
    def fragile(arch):
        if arch.choices["layer1"] == "identity":
            raise MemoryError("too large")
        return {"score": float(space.macs([arch])[0]), "loss": 0.1}

    result = hwnas.search(space, {"latency_ms": (latency, 0.08)}, evaluate=fragile, evaluations=60)
    assert {trial.error for trial in result.failures} == {"MemoryError: too large"}
    assert 0 < len(result.failures) < 60
    assert result.best.values == {"loss": 0.1}
    assert result.best.cost["wall_s"] >= 0


def test_a_search_of_failures_only_is_an_error(space):
    with pytest.raises(hwnas.HwnasError, match="all 8 evaluations failed, the first with: Zero"):
        hwnas.search(space, {}, evaluate=lambda arch: 1 / 0, evaluations=8)


def test_impossible_limits_end_a_search_before_any_evaluation(space, latency):
    def never(arch):
        raise AssertionError("evaluated")

    with pytest.raises(hwnas.InfeasibleError, match="no network of tiny meets latency_ms"):
        hwnas.search(space, {"latency_ms": (latency, 0.001)}, evaluate=never)


def test_evaluators_are_objects_too(space):
    class Batches:
        calls = 0

        def evaluate(self, archs):
            self.calls += 1
            for place, arch in enumerate(archs):
                yield place, Evaluation(arch, {"top1": Objective(0.5, "", "max", "mine")}, {})

    class Codes:
        source = "mine"

        def score(self, codes):
            return codes.sum(axis=1) / 100

    batches = Batches()
    hwnas.search(space, {}, evaluate=batches, evaluations=20, strategy="random")
    assert batches.calls == 1
    best = hwnas.search(space, {}, evaluate=Codes(), evaluations=1024, strategy="exhaustive").best
    assert best.score == pytest.approx(15 / 100)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "proxyless"}, r"hwnas\.run"),
        ({"strategy": "combined-moves", "evaluations": 1000}, "must be a CodeEvaluator"),
        ({"strategy": "combined-moves"}, "needs 1000 evaluations or more"),
        ({"strategy": "evolutoin"}, "did you mean 'evolution'"),
        ({"strategy": "random", "surrogate": True}, "goes with evolution, rl, local"),
        ({"strategy": "random", "settings": {"a": 1}}, "has no settings"),
        ({"prior": "flops"}, "prior must be macs or none"),
        ({"low_share": 1.0}, "low_share must be"),
        ({"evaluate": "scratch"}, r"hwnas\.run"),
        ({"evaluate": "tables:x"}, "table:FILE"),
        ({"evaluate": 3}, "evaluate must be a function"),
        ({"evaluations": 0}, "evaluations must be 1 or more"),
    ],
)
def test_wrong_uses_say_what_is_allowed(space, options, words):
    with pytest.raises(hwnas.UsageError, match=words):
        hwnas.search(space, {}, **{"evaluate": lambda arch: 1.0, **options})


@pytest.fixture(scope="module")
def result(space, latency, scores):
    return hwnas.search(
        space,
        {"latency_ms": (latency, 0.1), "params": 60_000},
        evaluate=lambda arch: scores[arch.arch_id],
        evaluations=80,
        strategy="random",
    )


def test_the_front_holds_what_nothing_dominates(result):
    points = np.array([(t.latency_ms, -t.score) for t in result.finalists])
    expected = {
        trial.network_id
        for trial, point in zip(result.finalists, points, strict=True)
        if not ((points <= point).all(1) & (points < point).any(1)).any()
    }
    assert {trial.network_id for trial in result.front} == expected
    assert [t.latency_ms for t in result.front] == sorted(t.latency_ms for t in result.front)


def test_finalists_are_distinct_and_sorted(result):
    scores = [trial.score for trial in result.finalists]
    assert scores == sorted(scores, reverse=True)
    assert len({trial.network_id for trial in result.finalists}) == len(result.finalists)


def test_a_result_prints_its_best_networks(result):
    assert repr(result).splitlines()[0] == (
        "SearchResult(random on tiny, seed 0, latency_ms <= 0.1 on host-onnxruntime-fp32-t1 and "
        "params <= 60000: 80 evaluations)"
    )
    assert len(repr(result).splitlines()) == 6
    assert "<script" not in result._repr_html_()
    assert "latency_ms &lt;= 0.1" in result._repr_html_()


def test_a_frame_holds_every_trial(result):
    pd = pytest.importorskip("pandas")
    frame = result.frame()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 80
    assert {"score", "latency_ms", "macs", "params", "layer1", "error"} <= set(frame.columns)
    assert frame["latency_ms"].max() <= 0.1


def test_without_pandas_a_frame_says_what_to_do(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(hwnas.UsageError, match="Next: pip install pandas"):
        result.frame()
    fake = types.ModuleType("pandas")
    fake.DataFrame = list
    monkeypatch.setitem(sys.modules, "pandas", fake)
    assert result.frame()[0]["number"] == 0
