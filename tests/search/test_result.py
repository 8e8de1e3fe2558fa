"""From evaluations to answers: best first, each network once, ties in one order."""

from __future__ import annotations

import itertools

import pytest

from hwnas.search.result import (
    answer_of,
    finalists,
    front,
    rank_key,
    shadow_price,
    total_cost,
)


def _record(network, top1, loss=None, latency_ms=1.0, code=""):
    objectives = {
        "top1": {"value": top1, "unit": "fraction", "direction": "max", "source": "scratch"}
    }
    if loss is not None:
        objectives["loss"] = {
            "value": loss,
            "unit": "nats",
            "direction": "min",
            "source": "scratch",
        }
    return {
        "event": "evaluation",
        "index": 0,
        "arch": {"code": network + code},
        "arch_id": f"arch-{network}{code}",
        "network_id": network,
        "latency_ms": latency_ms,
        "latency_source": "lut",
        "objectives": objectives,
        "cost": {"core_s": 2.0},
        "time": "2026-01-01T00:00:00+00:00",
    }


def test_the_order_is_by_top1_then_loss_then_network_whatever_order_they_came_in():
    best_first = [
        _record("d", 0.9, 0.2),
        _record("a", 0.8, 0.1),
        _record("b", 0.8, 0.3),
        _record("c", 0.8, 0.3),
        _record("e", 0.1, 0.0),
    ]
    for shuffled in itertools.permutations(best_first):
        assert sorted(shuffled, key=rank_key) == best_first
        assert [f["network_id"] for f in finalists(shuffled, 3)] == ["d", "a", "b"]


def test_scores_without_a_loss_are_ranked_by_top1_and_network():
    records = [_record("b", 0.5), _record("a", 0.5), _record("c", 0.7)]
    assert [r["network_id"] for r in sorted(records, key=rank_key)] == ["c", "a", "b"]


def test_finalists_are_distinct_networks_at_their_best():
    records = [
        _record("a", 0.7, 0.5, code="1"),
        _record("b", 0.8, 0.5),
        _record("a", 0.9, 0.5, code="2"),
        _record("c", 0.1, 0.5),
    ]
    found = finalists(records, 3)
    assert [f["arch_id"] for f in found] == ["arch-a2", "arch-b", "arch-c"]
    assert found[0] == answer_of(records[2])
    assert finalists(records, 10) == found
    assert finalists(records, 1) == found[:1]
    assert finalists([], 3) == []


def test_an_answer_holds_what_result_files_promise_and_nothing_of_the_journal():
    answer = answer_of(_record("a", 0.7, 0.5))
    assert set(answer) == {"arch", "arch_id", "network_id", "latency_ms", "objectives"}
    assert answer["objectives"]["top1"]["source"] == "scratch"


def test_the_front_holds_every_network_and_marks_those_no_other_beats():
    records = [
        _record("slow", 0.9, latency_ms=3.0),
        _record("worse", 0.7, latency_ms=2.5),
        _record("middle", 0.8, latency_ms=2.0),
        _record("fast", 0.5, latency_ms=1.0),
        _record("beaten", 0.4, latency_ms=1.0),
    ]
    points = front(records)
    assert [(p["network_id"], p["on_front"]) for p in points] == [
        ("fast", True),
        ("beaten", False),
        ("middle", True),
        ("worse", False),
        ("slow", True),
    ]
    assert points[0] == {
        "arch_id": "arch-fast",
        "network_id": "fast",
        "latency_ms": 1.0,
        "top1": 0.5,
        "on_front": True,
    }
    assert front([]) == []


def test_costs_are_summed_by_name():
    records = [
        {"cost": {"core_s": 1.5, "images_trained": 10.0}},
        {"cost": {"core_s": 2.0}},
        {"cost": {"device_s": 4.0}},
    ]
    assert total_cost(records) == pytest.approx(
        {"core_s": 3.5, "images_trained": 10.0, "device_s": 4.0}
    )
    assert total_cost([]) == {}


def _coded(network, top1, latency_ms, **choices):
    return {**_record(network, top1, latency_ms=latency_ms), "arch": {"choices": choices}}


def test_the_shadow_price_is_the_slope_to_the_next_better_network_and_what_changes():
    best = _coded("best", 0.80, 20.0, depth=2, kernel=3, width=1)
    records = [
        best,
        _coded("worse", 0.79, 20.5, depth=2, kernel=5, width=1),
        _coded("next", 0.82, 22.0, depth=3, kernel=3, width=1, extra="k5"),
        _coded("beaten", 0.81, 22.0, depth=4, kernel=3, width=1),
        _coded("far", 0.90, 30.0, depth=4, kernel=7, width=1),
        _coded("fast", 0.95, 10.0, depth=2, kernel=3, width=1),  # not slower: no price
    ]
    price = shadow_price(answer_of(best), records)
    assert price["network_id"] == "next"
    assert price["top1_per_ms"] == pytest.approx(0.01)
    assert price["changes"] == [
        {"choice": "depth", "from": 2, "to": 3},
        {"choice": "extra", "from": None, "to": "k5"},
    ]
    assert shadow_price(answer_of(records[-2]), records) is None


def test_failed_evaluations_are_no_answers():
    failed = {**_record("failed", 0.9), "objectives": {}, "error": "diverged"}
    good = _record("good", 0.5)
    assert [f["network_id"] for f in finalists([failed, good], 2)] == ["good"]
    assert [p["network_id"] for p in front([failed, good])] == ["good"]
    assert shadow_price(answer_of(good), [failed, good]) is None


def test_networks_trained_for_longer_come_first():
    short, long = _record("short", 0.9), _record("long", 0.6)
    for record, epochs in ((short, 1.0), (long, 9.0)):
        record["objectives"]["epochs"] = {
            "value": epochs,
            "unit": "epochs",
            "direction": "max",
            "source": "scratch",
        }
    assert [f["network_id"] for f in finalists([short, long], 2)] == ["long", "short"]
