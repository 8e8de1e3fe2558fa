"""From evaluations to answers: best first, each network once, ties in one order."""

from __future__ import annotations

import itertools

import pytest

from hwnas.artifacts.events import EvaluationEvent
from hwnas.search.result import (
    finalists,
    front,
    rank_key,
    shadow_price,
    total_cost,
)


def _id(name):
    """An id whose order is that of the names (a to f)."""
    return f"{sum(ord(letter) << 8 * (6 - n) for n, letter in enumerate(name[:6])):016x}"


def _score(value, unit="fraction", direction="max"):
    return {"value": value, "unit": unit, "direction": direction, "source": "scratch"}


def _event(network, top1, loss=None, latency_ms=1.0, code="", epochs=None, **choices):
    objectives = {"top1": _score(top1)}
    if loss is not None:
        objectives["loss"] = _score(loss, "nats", "min")
    if epochs is not None:
        objectives["epochs"] = _score(epochs, "epochs")
    return EvaluationEvent.from_json(
        {
            "event": "evaluation",
            "index": 0,
            "arch": {"schema": 1, "space": "tiny", "choices": choices},
            "arch_id": _id(network + code),
            "network_id": _id(network),
            "latency_ms": latency_ms,
            "latency_source": "lut",
            "objectives": objectives,
            "cost": {"core_s": 2.0},
            "time": "2026-01-01T00:00:00+00:00",
        }
    )


def test_the_order_is_by_top1_then_loss_then_network_whatever_order_they_came_in():
    best_first = [
        _event("d", 0.9, 0.2),
        _event("a", 0.8, 0.1),
        _event("b", 0.8, 0.3),
        _event("c", 0.8, 0.3),
        _event("e", 0.1, 0.0),
    ]
    for shuffled in itertools.permutations(best_first):
        assert sorted(shuffled, key=rank_key) == best_first
        assert [f.network_id for f in finalists(shuffled, 3)] == list(map(_id, "dab"))


def test_scores_without_a_loss_are_ranked_by_top1_and_network():
    records = [_event("b", 0.5), _event("a", 0.5), _event("c", 0.7)]
    assert [r.network_id for r in sorted(records, key=rank_key)] == list(map(_id, "cab"))


def test_finalists_are_distinct_networks_at_their_best():
    records = [
        _event("a", 0.7, 0.5, code="1"),
        _event("b", 0.8, 0.5),
        _event("a", 0.9, 0.5, code="2"),
        _event("c", 0.1, 0.5),
    ]
    found = finalists(records, 3)
    assert [f.arch_id for f in found] == [_id("a2"), _id("b"), _id("c")]
    assert found[0] == records[2].candidate
    assert finalists(records, 10) == found
    assert finalists(records, 1) == found[:1]
    assert finalists([], 3) == ()


def test_an_answer_holds_what_result_files_promise_and_nothing_of_the_journal():
    answer = _event("a", 0.7, 0.5).candidate.to_json()
    assert set(answer) == {"arch", "arch_id", "network_id", "latency_ms", "objectives"}
    assert answer["objectives"]["top1"]["source"] == "scratch"


def test_the_front_holds_every_network_and_marks_those_no_other_beats():
    records = [
        _event("slow", 0.9, latency_ms=3.0),
        _event("worse", 0.7, latency_ms=2.5),
        _event("middle", 0.8, latency_ms=2.0),
        _event("fast", 0.5, latency_ms=1.0),
        _event("beaten", 0.4, latency_ms=1.0),
    ]
    points = front(records)
    assert [(p.network_id, p.on_front) for p in points] == [
        (_id("fast"), True),
        (_id("beaten"), False),
        (_id("middle"), True),
        (_id("worse"), False),
        (_id("slow"), True),
    ]
    assert points[0].to_json() == {
        "arch_id": _id("fast"),
        "network_id": _id("fast"),
        "latency_ms": 1.0,
        "top1": 0.5,
        "on_front": True,
    }
    assert front([]) == ()


def test_costs_are_summed_by_name():
    records = [{"core_s": 1.5, "images_trained": 10.0}, {"core_s": 2.0}, {"device_s": 4.0}]
    assert total_cost(records) == pytest.approx(
        {"core_s": 3.5, "images_trained": 10.0, "device_s": 4.0}
    )
    assert total_cost([]) == {}


def test_the_shadow_price_is_the_slope_to_the_next_better_network_and_what_changes():
    best = _event("best", 0.80, latency_ms=20.0, depth=2, kernel=3, width=1)
    records = [
        best,
        _event("worse", 0.79, latency_ms=20.5, depth=2, kernel=5, width=1),
        _event("next", 0.82, latency_ms=22.0, depth=3, kernel=3, width=1, extra="k5"),
        _event("beaten", 0.81, latency_ms=22.0, depth=4, kernel=3, width=1),
        _event("far", 0.90, latency_ms=30.0, depth=4, kernel=7, width=1),
        _event("fast", 0.95, latency_ms=10.0, depth=2, kernel=3, width=1),  # not slower: no price
    ]
    price = shadow_price(best.candidate, records)
    assert price.network_id == _id("next")
    assert price.top1_per_ms == pytest.approx(0.01)
    assert price.to_json()["changes"] == [
        {"choice": "depth", "from": 2, "to": 3},
        {"choice": "extra", "from": None, "to": "k5"},
    ]
    assert shadow_price(records[-2].candidate, records) is None


def test_failed_evaluations_are_no_answers():
    failed = _event("failed", 0.9).model_copy(update={"objectives": {}, "error": "diverged"})
    good = _event("good", 0.5)
    assert [f.network_id for f in finalists([failed, good], 2)] == [_id("good")]
    assert [p.network_id for p in front([failed, good])] == [_id("good")]
    assert shadow_price(good.candidate, [failed, good]) is None


def test_networks_trained_for_longer_come_first():
    short, long = _event("short", 0.9, epochs=1.0), _event("long", 0.6, epochs=9.0)
    assert [f.network_id for f in finalists([short, long], 2)] == [_id("long"), _id("short")]
