"""What every evaluator promises (hwnas.protocols.Evaluator), for all there are."""

from __future__ import annotations

import atexit
import functools
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.arch import Arch
from hwnas.nn.supernet import Supernet
from hwnas.protocols import Codes, Evaluation, Evaluator, Objective, SearchSpace
from hwnas.rng import stream
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.evaluators.scratch import ScratchEvaluator
from hwnas.search.evaluators.supernet import SupernetEvaluator
from hwnas.space.catalogue import load_space
from hwnas.train import Recipe, save_weights
from hwnas.train.task import DataSource, TrainOutcome, TrainTask, train

SPACE = load_space("tiny:input_size=16,stem_channels=4")
CODES = np.array([(0, 0, 0, 0, 0), (0, 0, 1, 0, 0), (1, 0, 0, 0, 0)], dtype=np.int16)
SOURCES = {"measured", "lut", "lut-uncalibrated", "predictor", "table", "supernet", "scratch"}


@dataclass
class TableLike:
    """The smallest evaluator: a score drawn from the network, in the reverse of the order asked."""

    space: SearchSpace

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        for place in reversed(range(len(archs))):
            score = float(stream(0, self.space.network_id(archs[place])).random())
            objectives = {"top1": Objective(score, "fraction", "max", "table")}
            yield place, Evaluation(archs[place], objectives, {"core_s": 0.0})


def _scratch() -> Evaluator:
    recipe = Recipe(epochs=1, batch_size=64, warmup_epochs=0.5)
    return ScratchEvaluator(SPACE, DataSource("digits", None, 16), recipe, seed=0)


@functools.cache
def _supernet_weights() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="hwnas-supernet-"))
    atexit.register(shutil.rmtree, folder)
    save_weights(Supernet(SPACE, seed=1), folder / "w.safetensors")
    return folder / "w.safetensors"


def _supernet() -> Evaluator:
    return SupernetEvaluator(
        SPACE, DataSource("digits", None, 16), [_supernet_weights()], calibration_images=128
    )


@dataclass
class Sum:
    """A predictor of codes: a weighted sum of the options."""

    source = "predictor"

    def score(self, codes: Codes) -> NDArray[np.float64]:
        return np.asarray(codes @ np.array([0.1, 0.05, 0.02, 0.01, 0.03]))


EVALUATORS: dict[str, Callable[[], Evaluator]] = {
    "table-like": lambda: TableLike(SPACE),
    "scratch": _scratch,
    "supernet": _supernet,
    "predictor": lambda: PredictorEvaluator(SPACE, Sum()),
}


def _train_here(
    tasks: Mapping[str, TrainTask], *, workers: int | None
) -> Iterator[tuple[str, TrainOutcome]]:
    """Trainings in this process: processes have tests of their own."""
    return ((key, train(task)) for key, task in tasks.items())


@pytest.fixture(scope="module", params=EVALUATORS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[], Evaluator]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.search.evaluators.scratch.train_all", _train_here)
        yield EVALUATORS[request.param]


@pytest.fixture(scope="module")
def archs() -> list[Arch]:
    return SPACE.decode(CODES)


@pytest.fixture(scope="module")
def found(make, archs) -> list[tuple[int, Evaluation]]:
    return list(make().evaluate(archs))


def _objectives(found) -> list[Mapping[str, Objective]]:
    return [evaluation.objectives for _, evaluation in sorted(found, key=lambda pair: pair[0])]


def test_every_architecture_gets_one_evaluation_with_its_position(found, archs):
    assert sorted(place for place, _ in found) == [0, 1, 2]
    assert all(evaluation.arch == archs[place] for place, evaluation in found)


def test_every_value_says_what_it_is_and_where_it_is_from(found):
    for _, evaluation in found:
        assert evaluation.objectives
        for objective in evaluation.objectives.values():
            assert math.isfinite(objective.value)
            assert objective.unit
            assert objective.direction in ("max", "min")
            assert objective.source in SOURCES


def test_top1_is_a_fraction_of_which_more_is_better(found):
    for _, evaluation in found:
        top1 = evaluation.objectives["top1"]
        assert 0.0 <= top1.value <= 1.0
        assert (top1.unit, top1.direction) == ("fraction", "max")


def test_costs_are_named_and_never_negative(found):
    for _, evaluation in found:
        assert evaluation.cost
        assert all(math.isfinite(v) and v >= 0 for v in evaluation.cost.values())


def test_evaluations_differ_between_networks(found):
    values = {tuple(objective.value for objective in e.values()) for e in _objectives(found)}
    assert len(values) > 1


def test_another_evaluator_says_the_same_in_any_order_and_any_parts(make, found, archs):
    evaluator = make()
    parts = dict(evaluator.evaluate(archs[2:]))
    rest = dict(evaluator.evaluate([archs[1], archs[0]]))
    again = [rest[1].objectives, rest[0].objectives, parts[0].objectives]
    assert again == _objectives(found)


def test_an_architecture_asked_twice_gets_two_equal_evaluations(make, found, archs):
    twice = dict(make().evaluate([archs[0], archs[0]]))
    assert sorted(twice) == [0, 1]
    assert twice[0].objectives == twice[1].objectives == _objectives(found)[0]


def test_nothing_asked_is_nothing_evaluated(make):
    assert list(make().evaluate([])) == []
