"""From a folder of images to a run: plan, file, mistakes; examples; searches without a table."""

from __future__ import annotations

import json

import pytest
import yaml

IMAGES = ("run", "photos", "--runtime", "onnxruntime", "--budget-ms", "1000", "--epochs", "1")


def test_a_dry_run_prints_the_plan_and_writes_nothing(shop, hwnas):
    said = hwnas(*IMAGES, "--dry-run")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines()[1:7]] == [
        "profile",
        "search",
        "retrain",
        "export",
        "bench",
        "report",
    ]
    assert "in all about" in said.out
    assert "2 classes, 20 images of about 32 pixels" in said.err
    assert not (shop / "runs").exists()


def test_images_without_a_budget_are_answered_with_the_reach(shop, hwnas):
    said = hwnas("run", "photos", "--runtime", "onnxruntime")
    assert said.code == 2
    assert "--budget-ms is needed: networks of macro-cifar:num_classes=2 take" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "photos", "--budget-ms", "-1"), "must be a number of ms above 0, got -1"),
        (("run", "empty", "--budget-ms", "5"), "it is empty"),
        (("run", "--preset", "demo", "--budget-ms", "5"), "--budget-ms belong to a run from a"),
        (("run", "--resume"), "--resume needs the run's folder"),
        (("init", "photos", "--out", "t.json"), "t.json exists"),
        (("examples", "photos"), "photos exists"),
    ],
)
def test_mistakes_are_answered_with_the_rule(shop, hwnas, arguments, words):
    (shop / "empty").mkdir()
    said = hwnas(*arguments)
    assert said.code in (1, 2)
    assert words in said.err


def test_init_writes_a_file_that_run_accepts(shop, hwnas):
    said = hwnas("init", "photos", "--runtime", "onnxruntime")
    assert said.code == 0, said.err
    content = yaml.safe_load((shop / "photos.yaml").read_text())
    assert content["targets"][0]["budget_ms"] > 0
    assert "Next: hwnas run photos.yaml" in said.out
    from hwnas.pipeline.config.run import load_config

    assert load_config(shop / "photos.yaml").space == "macro-cifar:num_classes=2"


def test_examples_are_listed_and_copied(shop, hwnas):
    listed = hwnas("examples").out.split()
    assert "plugins/operation.py" in listed
    assert hwnas("examples", "mine").code == 0
    assert (shop / "mine" / "plugins" / "operation.py").is_file()


def test_a_search_without_a_table_profiles_the_device_first(shop, hwnas, monkeypatch):
    asked = []

    def search_run(config, out, *, resume):
        asked.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("hwnas.pipeline.commands.runs.search_run", search_run)
    hwnas(
        *("search", "--space", "tiny", "--device", "host", "--runtime", "onnxruntime"),
        *("--budget-ms", "1", "--data", "digits", "--out", "new"),
    )
    target = asked[0].targets[0]
    assert (target.table, target.device, target.runtime) == (None, "host", "onnxruntime")
    assert target.calibrate == 16
    both = hwnas(
        *("search", "--space", "tiny", "--lut", "t.json", "--runtime", "litert"),
        *("--budget-ms", "1", "--data", "digits", "--out", "new"),
    )
    assert "--runtime is for a device that is profiled now" in both.err


def test_resuming_needs_the_folder_only(shop, hwnas):
    (shop / "t.json").unlink()  # the run has its copy
    (shop / "r").rename(shop / "moved")
    again = hwnas("search", "--resume", "--out", "moved", "--json")
    assert again.code == 0, again.err
    assert again.json == json.loads((shop / "moved" / "result.json").read_text())
    whole = hwnas("run", "--resume", "--out", "moved", "--json")
    assert whole.code == 0, whole.err
    assert whole.json["verdict"]["level"] in ("good", "undecided", "bad")
