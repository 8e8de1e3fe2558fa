"""Successive halving of networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from hwnas.arch import Arch
from hwnas.io.journal import Journal
from hwnas.protocols import Evaluation, Objective
from hwnas.rng import stream
from hwnas.search.evaluators.halving import HalvingEvaluator, rungs
from hwnas.search.loop import SearchLoop
from hwnas.search.records import evaluation_event
from hwnas.search.result import finalists
from hwnas.space.catalogue import load_space

SPACE = load_space("tiny")


class Killed(Exception):
    """Ends a search where it stands."""


@dataclass
class Learner:
    """Quality grows with epochs; ``trained`` notes what was trained for how long."""

    epochs: int
    trained: list[tuple[str, int]]
    failing: frozenset[str] = frozenset()
    most: float = field(default=float("inf"))

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        for place in reversed(range(len(archs))):
            arch = archs[place]
            network_id = SPACE.network_id(arch)
            if len(self.trained) >= self.most:
                raise Killed
            self.trained.append((network_id, self.epochs))
            cost = {"images_trained": 100.0 * self.epochs}
            if network_id in self.failing:
                yield place, Evaluation(arch, {}, cost, "diverged")
                continue
            final = float(stream(3, network_id).random())
            noise = 0.05 * float(stream(4, network_id, self.epochs).random())
            top1 = final * (1 - 0.5 / self.epochs) + noise / self.epochs
            yield (
                place,
                Evaluation(arch, {"top1": Objective(top1, "fraction", "max", "scratch")}, cost),
            )


def _archs(count: int) -> list[Arch]:
    sizes = [len(choice.options) for choice in SPACE.choices]
    codes = np.stack(np.unravel_index(np.arange(count) * 37 % 1024, sizes), axis=1)
    return SPACE.decode(codes.astype(np.int16))


def _evaluated(path, archs, trained, *, most=float("inf"), failing=frozenset()):
    with Journal(path) as journal:
        evaluator = HalvingEvaluator(
            SPACE, lambda epochs: Learner(epochs, trained, failing, most), (1, 3, 9), 3, journal
        )
        return dict(evaluator.evaluate(archs))


@pytest.mark.parametrize(
    ("epochs", "eta", "least", "expected"),
    [
        (27, 3, 1, (1, 3, 9, 27)),
        (8, 2, 2, (2, 4, 8)),
        (8, 3, 1, (1, 3, 8)),
        (5, 4, 5, (5,)),
    ],
)
def test_rungs_are_geometric_and_end_at_the_recipes_epochs(epochs, eta, least, expected):
    assert rungs(epochs, eta, least) == expected


def test_rungs_refuse_what_cannot_be():
    with pytest.raises(ValueError, match="eta >= 2"):
        rungs(8, 1, 1)
    with pytest.raises(ValueError, match="least_epochs 9"):
        rungs(8, 3, 9)


def test_a_third_goes_on_at_every_rung_the_best_of_the_rung_before(tmp_path):
    trained: list[tuple[str, int]] = []
    archs = _archs(20)
    found = _evaluated(tmp_path / "j.jsonl", archs, trained)
    assert sorted(found) == list(range(20))
    assert [sum(epochs == e for _, epochs in trained) for e in (1, 3, 9)] == [20, 7, 3]
    first = {
        n: dict(Learner(1, []).evaluate([a]))[0].objectives["top1"].value
        for a in archs
        for n in [SPACE.network_id(a)]
    }
    promoted = {n for n, epochs in trained if epochs == 3}
    assert promoted == set(sorted(first, key=first.get, reverse=True)[:7])


def test_costs_are_those_of_all_rungs_and_the_longest_trained_is_the_answer(tmp_path):
    found = _evaluated(tmp_path / "j.jsonl", _archs(20), [])
    by_epochs = {e.objectives["epochs"].value: e.cost["images_trained"] for e in found.values()}
    assert by_epochs == {1: 100.0, 3: 400.0, 9: 1300.0}
    records = [evaluation_event(place, SPACE, found[place], 1.0, "lut") for place in found]
    best = finalists(records, 4)
    assert [r.objectives["epochs"].value for r in best] == [9, 9, 9, 3]


def test_a_search_killed_anywhere_goes_on_to_the_same_end(tmp_path):
    archs = _archs(20)
    whole = _evaluated(tmp_path / "whole.jsonl", archs, [])
    for most in (0, 5, 20, 24, 29):
        path = tmp_path / f"{most}.jsonl"
        before: list[tuple[str, int]] = []
        with pytest.raises(Killed):
            _evaluated(path, archs, before, most=most)
        after: list[tuple[str, int]] = []
        assert _evaluated(path, archs, after) == whole
        assert len(before) + len(after) == 30
        assert not set(before) & set(after)


def test_a_network_that_fails_is_dropped_and_said_so(tmp_path):
    archs = _archs(20)
    whole = _evaluated(tmp_path / "whole.jsonl", archs, [])
    best = max(
        whole.values(), key=lambda e: (e.objectives["epochs"].value, e.objectives["top1"].value)
    )
    failing = frozenset([SPACE.network_id(best.arch)])
    found = _evaluated(tmp_path / "f.jsonl", archs, [], failing=failing)
    failed = [e for e in found.values() if e.error]
    assert [SPACE.network_id(e.arch) for e in failed] == list(failing)
    assert not failed[0].objectives
    reached = [e.objectives["epochs"].value for e in found.values() if not e.error]
    assert [reached.count(epochs) for epochs in (9, 3, 1)] == [3, 4, 12]


def test_a_network_that_stands_twice_is_trained_once(tmp_path):
    trained: list[tuple[str, int]] = []
    found = _evaluated(tmp_path / "j.jsonl", _archs(1) * 2, trained)
    assert len(trained) == 3
    assert found[0].objectives == found[1].objectives
    assert found[1].cost == {"images_trained": 0.0}


class Flat:
    """Predicts one latency for all."""

    source = "lut"

    def predict_arch_ms(self, arch):
        return 1.0


class Once:
    """Asks for these networks, all at once."""

    def __init__(self, archs):
        """Take the networks."""
        self.archs = archs

    def ask(self, count):
        asked, self.archs = self.archs[:count], self.archs[count:]
        return asked

    def tell(self, evaluations):
        """Learn nothing."""


def _looped(path, archs, trained, monkeypatch, *, killed_at=None):
    """Search with the loop; it is killed where evaluation ``killed_at`` would be written."""
    record = SearchLoop._event

    def dying(self, index, evaluation):
        if index == killed_at:
            raise Killed
        return record(self, index, evaluation)

    with Journal(path) as journal, monkeypatch.context() as patch:
        patch.setattr(SearchLoop, "_event", dying)
        evaluator = HalvingEvaluator(
            SPACE, lambda epochs: Learner(epochs, trained), (1, 3, 9), 3, journal
        )
        loop = SearchLoop(SPACE, Flat(), evaluator, journal)
        records = loop.run(Once(archs), len(archs), batch=10)
    return [{k: v for k, v in one.to_json().items() if k != "time"} for one in records]


@pytest.mark.parametrize("killed_at", [1, 4, 9, 15])
def test_a_search_killed_between_the_results_of_one_call_goes_on_to_the_same_end(
    killed_at, tmp_path, monkeypatch
):
    archs = _archs(20)
    trained: list[tuple[str, int]] = []
    whole = _looped(tmp_path / "whole.jsonl", archs, trained, monkeypatch)
    before: list[tuple[str, int]] = []
    with pytest.raises(Killed):
        _looped(tmp_path / "j.jsonl", archs, before, monkeypatch, killed_at=killed_at)
    assert _looped(tmp_path / "j.jsonl", archs, before, monkeypatch) == whole
    assert sorted(before) == sorted(trained)


def test_a_rung_costs_once_however_many_calls_its_network_is_in(tmp_path, monkeypatch):
    archs, trained = _archs(9), list[tuple[str, int]]()
    with Journal(tmp_path / "j.jsonl") as journal:
        evaluator = HalvingEvaluator(
            SPACE, lambda epochs: Learner(epochs, trained), (1, 3, 9), 3, journal
        )
        found = [one for _ in range(2) for _, one in evaluator.evaluate(archs)]
        found += [one for _, one in evaluator.evaluate(archs[:3])]
    spent = sum(one.cost["images_trained"] for one in found)
    assert spent == sum(100.0 * epochs for _, epochs in trained)
