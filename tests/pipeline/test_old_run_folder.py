"""A run folder of version 0.1, with its names of keys and kinds, is opened by every command."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from hwnas.artifacts.benched import BenchFile
from hwnas.artifacts.search import FinalistsFile, FrontFile, ResultFile
from hwnas.artifacts.training import RetrainedFile
from hwnas.artifacts.winner import WinnerFile
from hwnas.pipeline.commands.runs import bench_run, export_run, retrain_run, whole_run
from hwnas.pipeline.config.run import load_config
from hwnas.report.page import write_report

RECORDED = Path(__file__).parents[1] / "golden" / "run_folder_0_1"  # by the code of that version
OLD_KEYS = {
    "margin": "guard",
    "baselines": "shelf",
    "anchors": "sentinels",
    "other_precisions": "also",
}
MADE = ("winner.json", "bench/host-onnxruntime-fp32.json", "export/index.json", "retrained.json")


def in_old_words(value):
    """Return a file's content with the keys and kinds that version 0.1 wrote."""
    if isinstance(value, list):
        return [in_old_words(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {OLD_KEYS.get(key, key): in_old_words(item) for key, item in value.items()}
    return {**renamed, "kind": "shelf"} if value.get("kind") == "baseline" else renamed


@pytest.fixture
def old(copied) -> Path:
    """A finished run as version 0.1 would have left it, with a baseline that it benched."""
    bench = copied / "bench" / "host-onnxruntime-fp32.json"
    content = json.loads(bench.read_text())
    row = {
        **{key: item for key, item in content["rows"][0].items() if key != "arch_id"},
        "kind": "baseline",
        "name": "mobilenet_v2 x0.5",
        "known": "mobilenet_v2",
        "width_mult": 0.5,
    }
    content["rows"].append(row)
    bench.write_text(json.dumps(content))
    for path in (*copied.glob("*.json"), *copied.glob("bench/*.json")):
        if not path.name.startswith("table"):
            path.write_text(json.dumps(in_old_words(json.loads(path.read_text())), indent=2))
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("baselines:", "shelf:"))
    return copied


def old_names(caplog) -> set[str]:
    texts = [record.getMessage() for record in caplog.records]
    return {text.partition(": ")[2] for text in texts if "is called" in text}


def test_old_names_are_read_and_each_is_reported_with_the_new_one(old, caplog):
    with caplog.at_level(logging.WARNING):
        assert ResultFile.load(old).margin == (None,)
        assert WinnerFile.load(old).baselines == ()
        (bench,) = BenchFile.load_all(old)
        assert bench.rows[-1].kind == "baseline"
        assert load_config(old / "config.yaml").bench.baselines == ()
    rest = "; the old name is read for one more version"
    assert old_names(caplog) == {
        f"the key guard is called margin now{rest}",
        f"the key shelf is called baselines now{rest}",
        f"the key rows.also is called other_precisions now{rest}",
        f"the kind of row 'shelf' is called baseline now{rest}",
        f"the key bench.shelf is called baselines now{rest}",
    }


def test_files_of_old_names_say_what_those_of_today_say(old, finished):
    for kind in (ResultFile, FinalistsFile, FrontFile, RetrainedFile, WinnerFile):
        assert kind.load(old).to_json() == kind.load(finished).to_json()


def test_a_report_shows_an_old_run(old):
    page = write_report(old).read_text()
    assert WinnerFile.load(old).arch_id in page


def test_an_old_finished_run_is_not_worked_on_again(old, make_config):
    before = {path: path.read_bytes() for path in old.glob("*.json")}
    answer = whole_run(make_config(), old, resume=True)
    assert answer.winner == WinnerFile.load(old)
    assert retrain_run(old).finalists
    assert export_run(old, formats=("onnx",)).models
    assert bench_run(old).rows
    assert {path: path.read_bytes() for path in old.glob("*.json")} == before


@pytest.mark.parametrize("num_missing", range(1, len(MADE) + 1))
def test_stages_that_an_old_run_lacks_are_carried_out(old, make_config, content, num_missing):
    """The last stages of an old run are repeated: with its weights, to the same networks."""
    winner = WinnerFile.load(old)
    for name in MADE[:num_missing]:
        (old / name).unlink()
    if num_missing == 1:  # the baseline of the bench file was never trained
        bench = content(old, MADE[1])
        bench["rows"].pop()
        (old / MADE[1]).write_text(json.dumps(bench))
    made = whole_run(make_config(), old, resume=True).winner
    assert {made.arch_id, winner.arch_id} <= {
        one.arch_id for one in RetrainedFile.load(old).finalists
    }
    assert "baselines" in content(old, "winner.json")


@pytest.mark.parametrize("recorded", sorted(RECORDED.glob("*/config.yaml")), ids=str)
def test_a_run_that_version_0_1_recorded_is_opened(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(recorded.parent, tmp_path / recorded.parent.name))
    shutil.copyfile(run / "table.json", "table.json")  # the file that the run was begun with
    config = load_config(run / "config.yaml")
    answer = whole_run(config, run, resume=True)
    assert answer.winner == WinnerFile.load(run)
    assert retrain_run(run).finalists == RetrainedFile.load(run).finalists
    assert bench_run(run).rows == BenchFile.load_all(run)[0].rows
    assert Path(answer.report).is_file()
