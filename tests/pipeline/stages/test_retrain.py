"""Finalists scored by cross-validation where val is small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.artifacts.training import RetrainedFile
from hwnas.pipeline.commands.runs import retrain_run
from hwnas.pipeline.config.run import RetrainConfig
from hwnas.pipeline.stages.retrain import pooled
from hwnas.train import engine
from hwnas.train.engine import Score
from hwnas.train.task import TrainOutcome


def outcome(top1: float, loss: float, num_images: int) -> TrainOutcome:
    return TrainOutcome(Score(top1, loss, num_images), 10, 100.0, 1.0, 2.0)


def test_folds_of_unequal_size_count_by_their_images() -> None:
    first = outcome(0.9, 0.1, 5)
    found = pooled(first, [outcome(0.5, 1.0, 10), outcome(0.8, 4.0, 5)])
    assert found.val == Score(pytest.approx(9 / 15), pytest.approx(2.0), 15)
    assert found.folds == 2
    assert found.cost == {
        "images_trained": 30.0,
        "macs_images": 300.0,
        "core_s": 3.0,
        "wall_s": 6.0,
    }


def emptied(run: Path) -> None:
    (run / "retrained.json").unlink()
    for path in (run / "checkpoints").iterdir():
        path.unlink()


def test_finalists_are_scored_on_every_image_but_those_of_test(copied: Path) -> None:
    before = RetrainedFile.load(copied)
    emptied(copied)
    found = retrain_run(copied, folds=2)
    digits = 1797 - 359  # all but test
    assert {row.val.num_images for row in (*found.finalists, *found.random)} == {digits}
    assert {row.val.folds for row in found.finalists} == {2}
    # the weights are those of the training without folds
    plain = {row.network_id: row for row in before.finalists}
    for row in found.finalists:
        assert row.cost["images_trained"] > 2 * plain[row.network_id].cost["images_trained"]
    assert not list((copied / "checkpoints").glob("*.fold*"))


def test_a_cross_validation_that_is_stopped_goes_on(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied
    emptied(run)
    with monkeypatch.context() as patch:
        patch.setattr("hwnas.pipeline.stages.retrain.pooled", _stop)
        with pytest.raises(KeyboardInterrupt):
            retrain_run(run, folds=2)
    states = {path: path.stat().st_mtime_ns for path in run.glob("checkpoints/*.fold*")}
    assert states
    trained: list[str] = []
    monkeypatch.setattr(engine, "save_checkpoint", lambda path, *_: trained.append(path.name))
    found = retrain_run(run, folds=2)
    assert trained == []  # nothing is trained again
    assert found.finalists[0].val.folds == 2


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_impossible_folds_are_refused(copied: Path, make_config: Callable[..., object]) -> None:
    emptied(copied)
    with pytest.raises(Exception, match=r"retrain\.folds must be 2 or more"):
        RetrainConfig.model_validate_json(json.dumps({"folds": 1}))
    with pytest.raises(Exception, match=r"retrain\.folds trains networks"):
        RetrainConfig.model_validate_json(json.dumps({"folds": 3, "train": False, "init": "f"}))
