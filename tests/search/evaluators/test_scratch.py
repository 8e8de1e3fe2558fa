from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from hwnas.arch import Arch
from hwnas.errors import InputError
from hwnas.executor.local import TaskError
from hwnas.nn.build import build
from hwnas.protocols import Evaluation
from hwnas.rng import derived_seed
from hwnas.search.evaluators.scratch import ScratchEvaluator
from hwnas.space.catalogue import load_space
from hwnas.train import Recipe, evaluate, fit
from hwnas.train.engine import DivergedError
from hwnas.train.task import DataSource, TrainOutcome, TrainTask, train

SPACE = load_space("tiny:input_size=16,stem_channels=4")
SOURCE = DataSource("digits", None, 16)
RECIPE = Recipe(epochs=1, batch_size=64, warmup_epochs=0.5)
FIRST, SECOND = (0, 0, 0, 0, 0), (0, 0, 1, 0, 0)


def _archs(*codes: tuple[int, ...]) -> list[Arch]:
    return SPACE.decode(np.array(codes, dtype=np.int16))


def _in_order(evaluator: ScratchEvaluator, archs: list[Arch]) -> list[Evaluation]:
    found = dict(evaluator.evaluate(archs))
    assert sorted(found) == list(range(len(archs)))
    return [found[place] for place in range(len(archs))]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[TrainTask]:
    """Trainings are done in this process, the last first, and noted here."""
    done: list[TrainTask] = []

    def train_here(
        tasks: Mapping[str, TrainTask], *, workers: int | None
    ) -> Iterator[tuple[str, TrainOutcome]]:
        for key, task in reversed(tasks.items()):
            done.append(task)
            yield key, train(task)

    monkeypatch.setattr("hwnas.search.evaluators.scratch.train_all", train_here)
    return done


Make = Callable[..., ScratchEvaluator]


@pytest.fixture
def make(trained: list[TrainTask]) -> Make:
    def make(seed: int = 0, **kwargs: object) -> ScratchEvaluator:
        return ScratchEvaluator(SPACE, SOURCE, RECIPE, seed=seed, **kwargs)  # type: ignore[arg-type]

    return make


def test_a_score_is_that_of_the_network_trained_on_train_and_scored_on_val(make: Make) -> None:
    (arch,) = _archs(FIRST)
    (found,) = _in_order(make(seed=4), [arch])
    digits = SOURCE.load()
    seed = derived_seed(4, f"scratch:{SPACE.network_id(arch)}")
    network = build(SPACE, arch, seed=seed)
    fit(network, digits, ("train",), RECIPE, seed=seed)
    score = evaluate(network, digits, "val")
    assert found.arch == arch
    assert asdict(found.objectives["top1"]) == {
        "value": score.top1,
        "unit": "fraction",
        "direction": "max",
        "source": "scratch",
    }
    assert found.objectives["loss"].value == score.loss
    assert found.objectives["loss"].direction == "min"


def test_trainings_in_processes_give_the_scores_of_trainings_here_and_their_cost(
    make: Make, trained: list[TrainTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = _archs(FIRST, SECOND, FIRST)
    here = _in_order(make(), archs)
    assert len(trained) == 2
    monkeypatch.undo()
    apart = _in_order(make(workers=2), archs)
    assert [e.objectives["top1"].value for e in apart] == pytest.approx(
        [e.objectives["top1"].value for e in here], abs=0.05
    )
    num_images = SOURCE.load().sizes["train"]
    for arch, evaluation in zip(archs[:2], apart, strict=False):
        macs = sum(op.macs for op in SPACE.layers(arch))
        assert evaluation.arch == arch
        assert evaluation.cost["images_trained"] == num_images
        assert evaluation.cost["macs_images"] == macs * num_images
        assert 0 < evaluation.cost["wall_s"] < 60
        assert evaluation.cost["core_s"] > 0
    assert set(apart[2].cost.values()) == {0.0}
    assert len(trained) == 2  # none of the later ones here


def test_results_depend_on_seed_and_network_and_not_on_the_order(make: Make) -> None:
    archs = _archs(FIRST, SECOND)
    forward = _in_order(make(), archs)
    backward = _in_order(make(), archs[::-1])[::-1]
    other = _in_order(make(seed=1), archs)
    assert [e.objectives for e in forward] == [e.objectives for e in backward]
    assert [e.objectives for e in forward] != [e.objectives for e in other]


def test_a_network_is_trained_once_and_free_the_second_time(
    make: Make, trained: list[TrainTask]
) -> None:
    archs = _archs(FIRST, FIRST)
    evaluator = make()
    first, second = _in_order(evaluator, archs)
    (third,) = _in_order(evaluator, archs[:1])
    assert len(trained) == 1
    assert first.cost["images_trained"] > 0
    assert second.cost == third.cost == dict.fromkeys(first.cost, 0.0)
    assert first.objectives == second.objectives == third.objectives


def test_two_codes_of_one_network_share_the_result_but_keep_their_code(
    trained: list[TrainTask],
) -> None:
    class Folded:
        """The tiny space with every code taken for one network."""

        name, choices = SPACE.name, SPACE.choices
        input_shape, num_classes = SPACE.input_shape, SPACE.num_classes
        layers = staticmethod(lambda arch: SPACE.layers(_archs(FIRST)[0]))
        wiring = staticmethod(lambda arch: None)
        network_id = staticmethod(lambda arch: "0" * 16)

    archs = _archs(FIRST, (1, 0, 0, 0, 0))
    evaluator = ScratchEvaluator(Folded(), SOURCE, RECIPE, seed=0)  # type: ignore[arg-type]
    found = _in_order(evaluator, archs)
    assert [evaluation.arch for evaluation in found] == archs
    assert found[0].objectives == found[1].objectives
    assert len(trained) == 1


def test_a_training_is_asked_for_with_train_alone_and_keeps_no_files(
    make: Make, trained: list[TrainTask]
) -> None:
    (arch,) = _archs(FIRST)
    list(make(seed=3).evaluate([arch]))
    assert trained == [
        TrainTask(
            layers=SPACE.layers(arch),
            source=SOURCE,
            splits=("train",),
            recipe=RECIPE,
            seed=derived_seed(3, f"scratch:{SPACE.network_id(arch)}"),
        )
    ]


def test_nothing_asked_is_nothing_trained(make: Make, trained: list[TrainTask]) -> None:
    assert list(make().evaluate([])) == []
    assert trained == []


def test_a_space_for_other_images_is_refused_with_both_differences() -> None:
    with pytest.raises(InputError) as caught:
        ScratchEvaluator(load_space("tiny:num_classes=7"), SOURCE, RECIPE, seed=0)
    assert len(caught.value.problems) == 2
    assert "7" in caught.value.problems[0]
    assert "(3, 16, 16)" in caught.value.problems[1]


def test_a_divergence_is_a_failed_evaluation_after_the_others_and_no_end() -> None:
    broken = replace(RECIPE, lr=1e30, grad_clip=0.0)
    evaluator = ScratchEvaluator(SPACE, SOURCE, broken, seed=0, workers=1)
    (found,) = _in_order(evaluator, _archs(FIRST))
    assert not found.objectives
    assert "not finite" in str(found.error) or "loss" in str(found.error)


def test_a_training_that_failed_otherwise_ends_the_call_after_the_others_were_yielded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs = _archs(FIRST, SECOND)

    def failing(tasks: Any, **_: Any) -> Any:
        first, second = tasks
        yield from ()
        raise TaskError(
            "two failed", {first: DivergedError("loss is nan"), second: OSError("disk full")}
        )

    monkeypatch.setattr("hwnas.search.evaluators.scratch.train_all", failing)
    found = []
    with pytest.raises(TaskError, match="two failed"):
        found.extend(make().evaluate(archs))
    assert [(place, one.error) for place, one in found] == [(0, "loss is nan")]


def test_networks_of_an_earlier_session_are_not_trained_again(
    make: Make, trained: list[TrainTask]
) -> None:
    (known,) = _in_order(make(), _archs(FIRST))
    resumed = make()
    resumed.recall([known])
    trained.clear()
    again, new = _in_order(resumed, _archs(FIRST, SECOND))
    assert again.objectives == known.objectives
    assert set(again.cost.values()) == {0.0}
    assert len(trained) == 1
    assert new.cost["images_trained"] > 0
