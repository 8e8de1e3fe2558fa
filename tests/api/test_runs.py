from __future__ import annotations

import pytest
import yaml

import hwnas
from hwnas.api.runs import as_config
from hwnas.executor.local import run_tasks


def test_a_run_gives_its_files_typed(shop, space):
    run = hwnas.open_run("run")
    best = run.result.answers[0].best
    assert best.arch_id == run.finalists.answers[0].finalists[0].arch_id
    assert len(run.evaluations) == 16
    assert run.space == space
    assert run.tables[0].device == "host"
    assert any(point.on_front for point in run.front.points)
    assert run.benchmarks == ()
    with pytest.raises(hwnas.UsageError, match=r"has no retrained\.json yet\. Next: hwnas retrain"):
        run.retrained  # noqa: B018 - the access is what is tested
    with pytest.raises(hwnas.UsageError, match="is not a run folder"):
        hwnas.open_run("nothing")
    assert "result.json" in run._repr_html_()


def test_a_run_scores_as_its_search_does(shop, space, scores):
    archs = space.sample(5, seed=9)
    trials = hwnas.open_run("run").evaluate(archs)
    assert [trial.score for trial in trials] == [scores[arch.arch_id] for arch in archs]


def test_a_configuration_is_a_mapping_a_file_or_a_preset(shop, settings):
    (shop / "run.yaml").write_text(yaml.safe_dump(settings))
    config = as_config(settings)
    assert as_config(shop / "run.yaml") == as_config("run.yaml") == as_config(config) == config
    assert as_config("demo").space == "tiny"
    with pytest.raises(hwnas.UsageError, match="did you mean 'demo'"):
        as_config("dmo")
    with pytest.raises(hwnas.InputError, match="2 problems"):
        as_config({**settings, "spice": 1, "seed": -1})


@pytest.fixture
def in_process(monkeypatch):
    """Train in this process: a fresh one imports torch for seconds."""

    def run_here(function, tasks, **_):
        return run_tasks(function, {key: (task, 1) for key, (task, _) in tasks.items()}, workers=1)

    monkeypatch.setattr("hwnas.train.task.run_tasks", run_here)


@pytest.mark.usefixtures("in_process")
def test_a_whole_run_ends_with_a_winner(shop, settings, space):
    recipe = {"epochs": 1, "warmup_epochs": 0}
    config = {
        **settings,
        "data": "digits",
        "search": {"evaluations": 2, "recipe": recipe},
        "retrain": {"top": 1, "recipe": recipe, "random_baseline": False},
        "bench": {"shelf": []},
        "formats": ["onnx"],
        "workers": 1,
    }
    run = hwnas.run(config, out="runs/mine")
    assert run.winner.measured_ms > 0
    assert [path.name for path in run.export()[0].files.values()] == ["model.onnx"]
    assert run.bench() == run.winner
    assert run.network().arch.arch_id == run.winner.arch_id
    assert run.report().is_file()
    with pytest.raises(hwnas.UsageError, match="resume"):
        hwnas.run(config, out="runs/mine")
    assert hwnas.run(config, out="runs/mine", resume=True).winner == run.winner
