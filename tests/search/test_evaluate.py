from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hwnas.arch import Arch
from hwnas.data import Dataset, load_dataset
from hwnas.errors import InputError, UsageError
from hwnas.network import build
from hwnas.rng import derived_seed
from hwnas.search.evaluate import ScratchEvaluator
from hwnas.space.catalogue import load_space
from hwnas.train import DivergedError, Recipe, evaluate, fit

SPACE = load_space("tiny:input_size=16,stem_channels=4")
RECIPE = Recipe(epochs=1, batch_size=64, warmup_epochs=0.5)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits", input_size=16)


def _archs(*codes: tuple[int, ...]) -> list[Arch]:
    return SPACE.decode(np.array(codes, dtype=np.int16))


def test_a_score_is_that_of_the_network_trained_on_train_and_scored_on_val(
    digits: Dataset,
) -> None:
    (arch,) = _archs((0, 0, 0, 0, 0))
    (found,) = ScratchEvaluator(SPACE, digits, RECIPE, seed=4).evaluate([arch])
    seed = derived_seed(4, f"scratch:{SPACE.network_id(arch)}")
    network = build(SPACE, arch, seed=seed)
    fit(network, digits, ("train",), RECIPE, seed=seed)
    score = evaluate(network, digits, "val")
    assert found.arch == arch
    assert found.objectives["top1"].to_json() == {
        "value": score.top1, "unit": "fraction", "direction": "max", "source": "scratch"}
    assert found.objectives["loss"].value == score.loss
    assert found.objectives["loss"].direction == "min"


def test_the_cost_counts_images_macs_and_seconds(digits: Dataset) -> None:
    (arch,) = _archs((0, 0, 1, 0, 0))
    (found,) = ScratchEvaluator(SPACE, digits, RECIPE, seed=0).evaluate([arch])
    macs = sum(op.macs for op in SPACE.layers(arch))
    assert found.cost["images_trained"] == digits.sizes["train"]
    assert found.cost["macs_images"] == macs * digits.sizes["train"]
    assert 0 < found.cost["wall_s"] < 60
    assert found.cost["core_s"] > 0


def test_results_depend_on_seed_and_network_and_not_on_the_order(digits: Dataset) -> None:
    archs = _archs((0, 0, 0, 0, 0), (0, 0, 1, 0, 0))
    forward = ScratchEvaluator(SPACE, digits, RECIPE, seed=0).evaluate(archs)
    backward = ScratchEvaluator(SPACE, digits, RECIPE, seed=0).evaluate(archs[::-1])[::-1]
    other = ScratchEvaluator(SPACE, digits, RECIPE, seed=1).evaluate(archs)
    assert [e.objectives for e in forward] == [e.objectives for e in backward]
    assert [e.objectives for e in forward] != [e.objectives for e in other]


def test_a_network_is_trained_once_and_free_the_second_time(digits: Dataset) -> None:
    archs = _archs((0, 0, 0, 0, 0), (0, 0, 0, 0, 0))
    evaluator = ScratchEvaluator(SPACE, digits, RECIPE, seed=0)
    first, second = evaluator.evaluate(archs)
    (third,) = evaluator.evaluate(archs[:1])
    assert first.cost["images_trained"] > 0
    assert second.cost == third.cost == dict.fromkeys(first.cost, 0.0)
    assert first.objectives == second.objectives == third.objectives


def test_two_codes_of_one_network_share_the_result_but_keep_their_code(digits: Dataset) -> None:
    class Folded:
        """The tiny space with every code taken for one network."""

        name, choices = SPACE.name, SPACE.choices
        input_shape, num_classes = SPACE.input_shape, SPACE.num_classes
        layers = staticmethod(lambda arch: SPACE.layers(_archs((0, 0, 0, 0, 0))[0]))
        network_id = staticmethod(lambda arch: "0" * 16)

    archs = _archs((0, 0, 0, 0, 0), (1, 0, 0, 0, 0))
    found = ScratchEvaluator(Folded(), digits, RECIPE, seed=0).evaluate(archs)  # type: ignore[arg-type]
    assert [evaluation.arch for evaluation in found] == archs
    assert found[0].objectives == found[1].objectives


def test_the_evaluator_holds_no_test_split(digits: Dataset) -> None:
    evaluator = ScratchEvaluator(SPACE, digits, RECIPE, seed=0)
    with pytest.raises(UsageError, match="never sees test"):
        evaluator.dataset.images("test", 1)


def test_a_space_for_other_images_is_refused_with_both_differences(digits: Dataset) -> None:
    with pytest.raises(InputError) as caught:
        ScratchEvaluator(load_space("tiny:num_classes=7"), digits, RECIPE, seed=0)
    assert len(caught.value.problems) == 2
    assert "7" in caught.value.problems[0]
    assert "(3, 16, 16)" in caught.value.problems[1]


def test_a_divergence_names_the_architecture(digits: Dataset) -> None:
    preprocessing = replace(digits.preprocessing, mean=(math.nan,) * 3)
    broken = replace(digits, preprocessing=preprocessing)
    (arch,) = _archs((0, 0, 0, 0, 0))
    with pytest.raises(DivergedError, match=arch.arch_id):
        ScratchEvaluator(SPACE, broken, RECIPE, seed=0).evaluate([arch])
