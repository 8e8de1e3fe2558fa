"""A run whose target executes int8: files, parity and accuracy of what runs there."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.pipeline.commands.runs import whole_run
from hwnas.pipeline.stages import quantised
from hwnas.pipeline.stages.quantised import CALIBRATION_IMAGES, calibration_data, file_score
from hwnas.train.engine import evaluate

BENCH = "bench/host-onnxruntime-int8.json"


@pytest.fixture(scope="module")
def int8_run(make_config, make_table, tmp_path_factory, precise_int8):
    """A whole run of an int8 target, with the splits that a file was scored on, in order."""
    folder = tmp_path_factory.mktemp("int8")
    table = make_table(folder / "t.json", precision="int8")
    target = {
        "device": "host",
        "runtime": "onnxruntime",
        "precision": "int8",
        "table": str(table),
        "budget_ms": 0.2,
        "headroom": 0.02,
    }
    recipe = {"epochs": 4, "warmup_epochs": 0, "batch_size": 32}
    config = make_config(
        targets=[target], retrain={"top": 2, "recipe": recipe}, limits={"size_mb": 0.1}
    )
    splits = []

    def watched(model, dataset, split):
        splits.append(split)
        return file_score(model, dataset, split)

    with pytest.MonkeyPatch.context() as patch:
        precise_int8(patch)
        for module in ("export", "select"):
            patch.setattr(f"hwnas.pipeline.stages.{module}.file_score", watched)
        whole_run(config, folder / "run")
    return folder / "run", splits


def test_files_of_both_precisions_are_exported_and_what_int8_costs_is_stated(int8_run, content):
    run, _ = int8_run
    for network in content(run, "export/index.json")["networks"]:
        assert list(network["formats"]) == ["onnx", "onnx-int8"]
        entry = network["formats"]["onnx-int8"]
        assert entry["parity"]["sqnr_db"] > 10
        assert entry["parity"]["float_operations"] == {}
        assert entry["val"]["source"] == "file"
        assert entry["calibration"].startswith(f"{CALIBRATION_IMAGES} images")


def test_the_size_is_that_of_the_int8_file(int8_run, content):
    run, _ = int8_run
    (answer,) = content(run, "result.json")["answers"]
    assert answer["limits"][1] == {
        "metric": "size_mb",
        "table": None,
        "max": 0.1,
        "precision": "int8",
    }
    winner = content(run, "winner.json")
    assert 1.15 * winner["params"] <= 0.1e6


def test_the_winner_is_judged_by_what_runs_and_both_precisions_stand_beside(int8_run, content):
    run, splits = int8_run
    benched, winner = content(run, BENCH), content(run, "winner.json")
    assert benched["precision"] == winner["precision"] == "int8"
    rows = {row["arch_id"]: row for row in benched["rows"]}
    row = rows[winner["arch_id"]]
    assert row["model"] == "model.int8.onnx"
    within = [r for r in rows.values() if r["within_budget"]] or list(rows.values())
    if any(r["within_budget"] for r in rows.values()):
        assert row["val_top1_int8"] == max(r["val_top1_int8"] for r in within)
    found = winner["precisions"]
    assert set(found) == {"fp32", "int8"}
    assert found["int8"]["measured_ms"] == winner["measured_ms"]
    assert found["fp32"]["measured_ms"] == row["other_precisions"]["fp32"]["latency_ms"]
    assert found["int8"]["val_top1"] == row["val_top1_int8"]
    assert found["fp32"]["test"] == winner["test"]
    assert abs(found["int8"]["test"]["top1"] - found["fp32"]["test"]["top1"]) <= 0.1
    assert winner["files"]["onnx-int8"].endswith("model.int8.onnx")
    assert splits == ["val"] * len(rows) + ["test"]  # test once, of the winner
    page = (run / "report.html").read_text()
    assert "In fp32 and in int8" in page
    assert "SQNR" in page


def test_the_score_of_an_fp32_file_is_its_networks(finished, content, make_config, open_run):
    from hwnas.nn.build import build
    from hwnas.train.checkpoint import load_weights

    run = open_run(make_config(), finished)
    (row, *_) = content(finished, "retrained.json")["finalists"]
    arch = run.space.arch(row["arch"]["choices"])
    network = build(run.space, arch)
    load_weights(network, run.folder.weights(row["network_id"]))
    path = finished / "export" / row["arch_id"] / "model.onnx"
    found = file_score(path, run.data.dataset.without_test(), "val")
    assert found.top1 == pytest.approx(evaluate(network, run.data.dataset, "val").top1)


def test_ranges_are_measured_on_training_images_only(make_config, open_run, tmp_path):
    dataset = open_run(make_config(), tmp_path).data.dataset
    data = calibration_data(dataset)
    assert data.count == CALIBRATION_IMAGES == quantised.CALIBRATION_IMAGES
    assert np.array_equal(data.images, dataset.images("train", CALIBRATION_IMAGES).numpy())


def test_a_target_of_another_precision_than_its_table_is_refused(make_config, settings, tmp_path):
    target = {**settings()["targets"][0], "precision": "int8"}
    with pytest.raises(InputError, match="measured with 'fp32', the target has 'int8'"):
        whole_run(make_config(targets=[target]), tmp_path / "run")
