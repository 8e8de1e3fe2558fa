from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.nn.supernet import Supernet, calibrate
from hwnas.search.evaluators import supernet as evaluate_supernet
from hwnas.search.evaluators import supernet_tasks
from hwnas.search.evaluators.supernet import SupernetEvaluator
from hwnas.space.catalogue import load_space
from hwnas.train import evaluate, save_weights
from hwnas.train.task import DataSource

SPACE = load_space("tiny:input_size=16,stem_channels=4")
SOURCE = DataSource("digits", None, 16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("supernets")
    for seed in (0, 1):
        save_weights(Supernet(SPACE, seed=seed), folder / f"{seed}.safetensors")
    return [folder / "0.safetensors", folder / "1.safetensors"]


def _archs(count: int):
    codes = np.random.default_rng(0).integers(0, 4, (count, 5)).astype(np.int16)
    return SPACE.decode(codes)


def test_a_score_is_the_mean_over_the_supernets_of_calibrated_networks(weights) -> None:
    evaluator = SupernetEvaluator(SPACE, SOURCE, weights, calibration_images=200)
    arch = _archs(1)[0]
    ((_, found),) = evaluator.evaluate([arch])
    losses, dataset = [], SOURCE.load().without_test()
    for seed in (0, 1):
        network = Supernet(SPACE, seed=seed).extract(arch)
        calibrate(network, dataset, num_images=200)
        losses.append(evaluate(network, dataset, "val").loss)
    assert found.objectives["loss"].value == pytest.approx(np.mean(losses), rel=1e-6)
    macs = sum(op.macs for op in SPACE.layers(arch))
    assert found.cost["macs_images"] == 2 * macs * (200 + dataset.sizes["val"])
    ((_, again),) = evaluator.evaluate([arch])
    assert set(again.cost.values()) == {0.0}


def test_workers_score_as_this_process_does_and_in_the_same_order(weights, monkeypatch) -> None:
    archs = _archs(6)
    here = list(SupernetEvaluator(SPACE, SOURCE, weights, calibration_images=100).evaluate(archs))
    monkeypatch.setattr(evaluate_supernet, "PAYING_MACS", 0.0)
    monkeypatch.setattr(supernet_tasks, "CHUNK", 2)
    monkeypatch.setattr(evaluate_supernet, "CHUNK", 2)
    evaluator = SupernetEvaluator(SPACE, SOURCE, weights, calibration_images=100, workers=2)
    there = list(evaluator.evaluate(archs))
    assert [place for place, _ in there] == [place for place, _ in here]
    assert [e.objectives for _, e in there] == [e.objectives for _, e in here]


def test_supernets_of_both_kinds_of_sharing_are_scored_together(weights, tmp_path) -> None:
    save_weights(Supernet(SPACE, seed=2, sharing="nested"), tmp_path / "nested.safetensors")
    arch = _archs(1)[0]
    mixed = SupernetEvaluator(
        SPACE,
        SOURCE,
        [weights[0], tmp_path / "nested.safetensors"],
        calibration_images=200,
        sharings=["own", "nested"],
    )
    ((_, found),) = mixed.evaluate([arch])
    losses, dataset = [], SOURCE.load().without_test()
    for supernet in (Supernet(SPACE, seed=0), Supernet(SPACE, seed=2, sharing="nested")):
        network = supernet.extract(arch)
        calibrate(network, dataset, num_images=200)
        losses.append(evaluate(network, dataset, "val").loss)
    assert found.objectives["loss"].value == pytest.approx(np.mean(losses), rel=1e-6)
    with pytest.raises(InputError, match="missing"):
        list(
            SupernetEvaluator(
                SPACE, SOURCE, [tmp_path / "nested.safetensors"], sharings=["own"]
            ).evaluate([arch])
        )
