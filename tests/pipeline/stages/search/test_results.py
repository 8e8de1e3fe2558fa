"""Search, retrain and export: the files they write agree, and are the same after a resume."""

from __future__ import annotations

import json

import pytest

from hwnas.data.dataset import Dataset
from hwnas.errors import InputError, UsageError
from hwnas.pipeline.commands.runs import retrain_run, search_run, whole_run
from hwnas.pipeline.stages import bench, export, retrain, select
from hwnas.pipeline.stages.search import results

BUDGET_MS, HEADROOM = 0.08, 0.1


def target(table, **changes):
    return {
        "device": "host",
        "runtime": "onnxruntime",
        "table": str(table),
        "headroom": 0.0,
        **changes,
    }


def do(stage, run, config):
    """Carry out a stage with the settings of a configuration, as the commands do."""
    if stage is results.search:
        return stage(run, config.search, top=config.retrain.top, random_baseline=True)
    if stage is retrain.retrain:
        return stage(run, config.retrain, every_budget=True, calibration_images=100)
    if stage is export.export:
        return stage(run, formats=config.formats, precisions=config.exported_precisions)
    return stage(run, config.bench.baselines, config.retrain.recipe.recipe())


def within(answer, latency_ms):
    return latency_ms <= answer["limits"][0]["max"]


def test_search_answers_with_the_best_evaluated_network_under_budget_and_headroom(
    finished, content
):
    result = content(finished, "result.json")
    lines = (finished / "journal.jsonl").read_text().splitlines()
    evaluations = [record for record in map(json.loads, lines) if record["event"] == "evaluation"]
    assert result["num_evaluations"] == len(evaluations) == 3
    assert len({record["network_id"] for record in evaluations}) == 3
    for record in evaluations:
        assert record["latency_ms"] <= BUDGET_MS * (1 - HEADROOM)
        assert record["latency_source"] == "lut"
        assert record["objectives"]["top1"]["source"] == "scratch"
    (answer,) = result["answers"]
    assert answer["limits"] == [{"metric": "latency_ms", "table": "table.json", "max": BUDGET_MS}]
    best = max(
        evaluations,
        key=lambda r: (r["objectives"]["top1"]["value"], -r["objectives"]["loss"]["value"]),
    )
    assert answer["best"] == {key: best[key] for key in answer["best"]}
    assert result["cost"]["images_trained"] == sum(
        record["cost"]["images_trained"] for record in evaluations
    )


def test_finalists_are_the_distinct_best_of_the_evaluations(finished, content):
    (answer,) = content(finished, "finalists.json")["answers"]
    found = answer["finalists"]
    assert found[0] == content(finished, "result.json")["answers"][0]["best"]
    assert len({finalist["network_id"] for finalist in found}) == len(found) == 2
    scores = [finalist["objectives"]["top1"]["value"] for finalist in found]
    assert scores == sorted(scores, reverse=True)


def test_the_front_holds_every_evaluation_and_marks_those_that_none_beats(finished, content):
    points = content(finished, "front.json")["points"]
    assert len(points) == 3
    for point in points:
        beaten = any(
            other["latency_ms"] <= point["latency_ms"]
            and other["top1"] >= point["top1"]
            and (other["latency_ms"], other["top1"]) != (point["latency_ms"], point["top1"])
            for other in points
        )
        assert point["on_front"] is not beaten


def test_retrained_holds_every_finalist_best_first_with_its_weights(finished, content):
    retrained = content(finished, "retrained.json")
    rows = retrained["finalists"]
    (answer,) = content(finished, "finalists.json")["answers"]
    assert {row["network_id"] for row in rows} == {
        finalist["network_id"] for finalist in answer["finalists"]
    }
    scores = [row["val"]["top1"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert retrained["splits"] == ["train", "arch"]
    for row in rows:
        assert (finished / row["checkpoint"]).is_file()
        assert row["latency_ms"] <= BUDGET_MS * (1 - HEADROOM)


def test_every_retrained_finalist_is_exported_and_equals_torch(finished, content):
    networks = content(finished, "export/index.json")["networks"]
    assert {network["arch_id"] for network in networks} == {
        row["arch_id"] for row in content(finished, "retrained.json")["finalists"]
    }
    for network in networks:
        entry = network["formats"]["onnx"]
        model = finished / "export" / network["arch_id"] / entry["file"]
        assert model.stat().st_size == entry["bytes"]
        assert entry["parity"]["max_rel"] < 1e-4
        assert entry["parity"]["num_images"] == export.PARITY_IMAGES


def test_several_budgets_have_an_answer_each(table, make_config, tmp_path, content):
    config = make_config(
        targets=[target(table, budget_ms=[0.06, 0.08])],
        search={"evaluations": 1, "recipe": {"epochs": 1, "warmup_epochs": 0}},
    )
    result = search_run(config, tmp_path / "run").to_json()
    assert [answer["limits"][0]["max"] for answer in result["answers"]] == [0.06, 0.08]
    lists = content(tmp_path / "run", "finalists.json")["answers"]
    for answer, listed in zip(result["answers"], lists, strict=True):
        assert within(answer, answer["best"]["latency_ms"])
        assert listed["limits"] == answer["limits"]
        assert listed["finalists"][0] == answer["best"]
        assert all(within(answer, finalist["latency_ms"]) for finalist in listed["finalists"])
    assert result["num_evaluations"] == 2


def test_a_second_target_limits_the_search_too(table, make_table, make_config, tmp_path, content):
    slow = make_table(tmp_path / "slow.json", factor=2.0)
    config = make_config(
        targets=[target(table, budget_ms=0.08), target(slow, budget_ms=0.12)],
        search={"evaluations": 2, "recipe": {"epochs": 1, "warmup_epochs": 0}},
    )
    result = search_run(config, tmp_path / "run").to_json()
    assert [limit["table"] for limit in result["answers"][0]["limits"]] == [
        "table.json",
        "table-2.json",
    ]
    for finalist in content(tmp_path / "run", "finalists.json")["answers"][0]["finalists"]:
        assert finalist["latency_ms"] <= 0.12 / 2 + 1e-9  # the slow table says twice as much


def test_a_search_killed_between_its_evaluations_ends_with_the_same_answers(
    finished, copied, make_config, content
):
    lines = (copied / "journal.jsonl").read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if '"event":"evaluation"' in line)
    torn = lines[first + 1][:40]  # the second evaluation was being written
    (copied / "journal.jsonl").write_text("".join(lines[: first + 1]) + torn)
    for name in ("result.json", "finalists.json", "front.json"):
        (copied / name).unlink()
    search_run(make_config(), copied, resume=True)
    assert content(copied, "front.json") == content(finished, "front.json")
    assert content(copied, "finalists.json") == content(finished, "finalists.json")
    assert content(copied, "result.json")["answers"] == content(finished, "result.json")["answers"]


@pytest.mark.parametrize(
    "deleted",
    [
        ("winner.json",),
        ("winner.json", "export/index.json"),
        ("winner.json", "export/index.json", "retrained.json"),
    ],
)
def test_deleted_stages_come_back_with_the_same_answers(
    finished, copied, make_config, content, deleted
):
    for name in deleted:
        (copied / name).unlink()
    whole_run(make_config(), copied, resume=True)
    for name in deleted:
        before, after = content(finished, name), content(copied, name)
        for found in (before, after):
            for row in found.get("finalists", ()):
                row.pop("cost")  # seconds differ
        assert after == before


def test_a_finished_run_is_not_worked_on_again(copied, make_config, content, monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise AssertionError("a finished stage was carried out again")

    monkeypatch.setattr(retrain, "train_all", forbidden)
    monkeypatch.setattr(export, "write_bundle", forbidden)
    monkeypatch.setattr(bench, "open_runner", forbidden)
    monkeypatch.setattr(select, "score_images", forbidden)
    before = content(copied, "winner.json")
    assert whole_run(make_config(), copied, resume=True).winner.to_json() == before


def test_retraining_takes_as_many_as_asked_for_and_records_its_recipe(copied, content):
    (copied / "retrained.json").unlink()
    for path in (copied / "checkpoints").iterdir():  # those of the run's own recipe
        path.unlink()
    found = retrain_run(copied, top=1, epochs=2)
    (answer,) = content(copied, "finalists.json")["answers"]
    assert [row.network_id for row in found.finalists] == [answer["finalists"][0]["network_id"]]
    assert found.recipe.epochs == 2


def test_stages_out_of_order_name_the_command_that_is_missing(make_config, open_run, tmp_path):
    config = make_config()
    run = open_run(config, tmp_path / "run")
    run.folder.begin(config)
    with pytest.raises(UsageError, match=r"no finalists.json yet. Next: hwnas search"):
        do(retrain.retrain, run, config)
    with pytest.raises(UsageError, match=r"no retrained.json yet. Next: hwnas retrain --run "):
        do(export.export, run, config)


@pytest.mark.parametrize("stage", ["retrain", "export"])
def test_an_id_that_leaves_the_folder_is_refused(copied, make_config, open_run, content, stage):
    name, made = {
        "retrain": ("finalists.json", "retrained.json"),
        "export": ("retrained.json", "export/index.json"),
    }[stage]
    (copied / made).unlink()
    changed = content(copied, name)
    answer = changed["answers"][0] if stage == "retrain" else changed
    answer["finalists"][0]["network_id"] = "../../../outside"
    (copied / name).write_text(json.dumps(changed))
    work = {"retrain": retrain.retrain, "export": export.export}[stage]
    with pytest.raises(InputError, match=r"network_id.*(16 hex digits|\{16\})"):
        do(work, open_run(make_config(), copied), make_config())
    assert not (copied.parent / "outside.safetensors").exists()


def test_only_the_winner_is_scored_on_the_test_split_and_only_once(
    copied, make_config, open_run, monkeypatch
):
    asked = []
    real_batches, real_images = Dataset.batches, Dataset.images

    def batches(self, splits, **kwargs):
        asked.append(tuple(splits))
        return real_batches(self, splits, **kwargs)

    def images(self, split, count):
        asked.append((split,))
        return real_images(self, split, count)

    monkeypatch.setattr(Dataset, "batches", batches)
    monkeypatch.setattr(Dataset, "images", images)
    for name in (
        "result.json",
        "finalists.json",
        "front.json",
        "journal.jsonl",
        "retrained.json",
        "export/index.json",
        "winner.json",
    ):
        (copied / name).unlink()
    for state in (copied / "checkpoints").iterdir():
        state.unlink()
    (copied / "bench" / "host-onnxruntime-fp32.json").unlink()
    config = make_config()
    run = open_run(config, copied)
    for stage in (results.search, retrain.retrain, export.export, bench.bench_finalists):
        assert do(stage, run, config)
    assert ("train",) in asked
    assert ("train", "arch") in asked
    assert not any("test" in splits for splits in asked)
    assert select.select_winner(run)
    assert [splits for splits in asked if "test" in splits] == [("test",)]
