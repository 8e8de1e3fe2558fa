"""``hwnas runs``: lists, shows and compares run folders."""

from __future__ import annotations

import shutil

import pytest
import yaml


@pytest.fixture
def runs(shop):
    """The finished run ``r``, a begun one that differs in two settings, and a broken one."""
    (shop / "deep/er").mkdir(parents=True)
    begun = shop / "deep/er/begun"
    begun.mkdir()
    for name in ("env.json", "config.yaml"):
        shutil.copy(shop / "r" / name, begun)
    config = yaml.safe_load((begun / "config.yaml").read_text())
    config["seed"], config["targets"][0]["budget_ms"] = 7, 0.2
    (begun / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.copytree(begun, shop / "broken")
    (shop / "broken/config.yaml").write_text("space: [")
    return shop


def test_list_shows_every_run_below_a_folder_and_what_is_wrong_with_broken_ones(runs, hwnas):
    answer = hwnas("runs", "list", ".")
    assert answer.code == 0
    first, second = sorted(answer.out.splitlines()[1:])
    assert first.split()[:4] == ["deep/er/begun", "begun", "tiny", "random"]
    assert second.split()[:4] == ["r", "done", "tiny", "random"]
    assert "warning: broken: " in answer.err
    listed = hwnas("runs", "list", ".", "--json").json
    assert [(run["path"], run.get("state")) for run in listed] == [
        ("broken", None),
        ("deep/er/begun", "begun"),
        ("r", "done"),
    ]
    assert "config.yaml" in listed[0]["error"]
    assert listed[1]["budgets_ms"] == [0.2]
    assert listed[1]["measured_ms"] is None
    assert listed[2]["measured_ms"] > 0
    assert 0 <= listed[2]["test_top1"] <= 1


def test_list_names_a_folder_that_is_not_there(shop, hwnas):
    answer = hwnas("runs", "list")
    assert answer.code == 2
    assert "there is no folder runs. Next: hwnas runs list FOLDER" in answer.err


def test_show_tells_a_run_in_words_and_json(runs, hwnas):
    out = hwnas("runs", "show", "r").out
    for words in (
        "run:",
        "tiny, images digits, seed 0",
        "host onnxruntime fp32",
        "retrain",
        "winner:",
    ):
        assert words in out
    found = hwnas("runs", "show", "r", "--json").json
    assert {"search", "retrain", "export", "bench"} < set(found["stages"])
    assert found["winner"] in out
    assert "none is done" in hwnas("runs", "show", "deep/er/begun").out


def test_compare_lists_differing_settings_and_results(runs, hwnas):
    out = hwnas("runs", "compare", "r", "deep/er/begun").out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert lines["seed"] == ["0", "7"]
    assert lines["targets[0].budget_ms"] == ["0.1", "0.2"]
    assert "space" not in lines
    assert lines["state"] == ["done", "begun"]
    found = hwnas("runs", "compare", "r", "deep/er/begun", "--json").json
    assert found["settings"] == {"targets[0].budget_ms": [0.1, 0.2], "seed": [0, 7]}
    assert [run["state"] for run in found["runs"]] == ["done", "begun"]
    assert "all settings are the same" in hwnas("runs", "compare", "r", "r").out
    assert hwnas("runs", "compare", "r").code == 2
