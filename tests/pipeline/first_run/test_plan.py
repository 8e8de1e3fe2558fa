from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import InfeasibleError
from hwnas.pipeline.config.run import parse_config
from hwnas.pipeline.first_run.images import FolderFacts
from hwnas.pipeline.first_run.plan import (
    AMOUNTS,
    amount_of,
    candidates,
    choose_space,
    config_for,
    times_of,
)
from hwnas.pipeline.first_run.reach import Reach, ends_of, macs_of
from hwnas.space.catalogue import load_space


def facts(train: int, side: int, classes: int = 3) -> FolderFacts:
    splits = {"train": train, "arch": train // 9, "val": train // 9, "test": train // 4}
    return FolderFacts(
        Path("photos"), {f"c{n}": train // classes for n in range(classes)}, splits, side
    )


def at_speed(macs_a_ms: float):
    """A device whose latency is the multiply-accumulates over a speed."""

    def measure(space):
        low, high = (macs_of(space, arch) / macs_a_ms for arch in ends_of(space))
        return Reach(space.name, low, high)

    return measure


@pytest.mark.parametrize(
    ("train", "side", "first"),
    [
        (200, 32, "macro-cifar:num_classes=3"),
        (200, 300, "proxyless:input_size=96,num_classes=3,width_mult=0.5"),
        (200, 70, "proxyless:input_size=64,num_classes=3,width_mult=0.5"),
        (5_000, 300, "proxyless:input_size=160,num_classes=3,width_mult=1"),
        (200_000, 500, "proxyless:input_size=224,num_classes=3,width_mult=1"),
    ],
)
def test_the_space_suits_size_and_number_of_the_images(train, side, first):
    names = candidates(facts(train, side))
    assert names[0] == first
    macs = [macs_of(space, ends_of(space)[1]) for space in map(load_space, names)]
    assert macs == sorted(macs, reverse=True)


def test_the_largest_space_with_choice_below_the_budget_is_taken():
    names = candidates(facts(5_000, 300))
    fast = choose_space(names, 50.0, load_space, at_speed(5e6))
    assert fast.space.name == load_space(names[0]).name
    assert fast.passed == ()
    slow = choose_space(names, 50.0, load_space, at_speed(5e5))
    assert slow.reach.low_ms <= 0.8 * 50.0
    assert len(slow.passed) > 0
    larger = load_space(slow.passed[-1])
    assert at_speed(5e5)(larger).low_ms > 0.8 * 50.0


def test_a_budget_that_no_space_reaches_is_refused_with_what_is_reached():
    names = candidates(facts(200, 300))
    with pytest.raises(InfeasibleError, match=r"a budget of 0\.001 ms is too small .* reaches"):
        choose_space(names, 0.001, load_space, at_speed(5e6))


def test_without_a_budget_the_first_space_is_measured():
    names = candidates(facts(200, 300))
    assert (
        choose_space(names, None, load_space, at_speed(1.0)).space.name == load_space(names[0]).name
    )


def test_trainings_follow_the_number_of_images():
    assert [amount_of(number) for number in (10, 500, 9_999, 99_999, 10**7)] == list(AMOUNTS)
    for one in AMOUNTS[:-1]:
        assert one.retrain_epochs * one.below / one.batch_size < 20_000
    config = config_for(facts(200, 300), "tiny", 5.0, device="host", runtime="onnxruntime")
    assert config.retrain.recipe.epochs == 40
    assert config.retrain.recipe.batch_size == 16
    assert config.targets[0].budget_ms == 5.0
    assert Path(str(config.data)).is_absolute()
    assert parse_config(config.model_dump(mode="json", by_alias=True), what="again") == config


def test_epochs_that_are_asked_for_are_those_of_every_training():
    config = config_for(facts(200, 300), "tiny", 5.0, device="host", runtime="litert", epochs=1)
    assert config.retrain.recipe.epochs == config.search.supernet.recipe.epochs == 1
    assert config.retrain.recipe.warmup_epochs == 0


def test_estimated_times_follow_the_work():
    names = candidates(facts(200, 300))
    choice = choose_space(names, 5.0, load_space, at_speed(5e6))

    def seconds(epochs, image_s):
        config = config_for(
            facts(200, 300), choice.space.name, 5.0, device="host", runtime="litert", epochs=epochs
        )
        found = times_of(config, facts(200, 300), choice, image_s, num_ops=60, protocol_rounds=60)
        return {one.stage: one.seconds for one in found}

    short, long, slow = seconds(1, 0.01), seconds(10, 0.01), seconds(10, 0.1)
    assert list(short) == ["profile", "search", "retrain", "export", "bench", "report"]
    # three networks' training a step, of which each costs half of the largest
    assert long["search"] - short["search"] == pytest.approx(9 * 200 * 3 * 0.01 / 2)
    assert slow["search"] == pytest.approx(10 * long["search"])
    assert slow["profile"] == short["profile"] > 0
