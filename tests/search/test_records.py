"""Journal records: what an evaluation says comes back whole after a file."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hwnas.artifacts.events import EvaluationEvent, read_events
from hwnas.protocols import Evaluation, Objective
from hwnas.search.records import evaluation_event, now, stage_event
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")
ARCH = TINY.arch({f"layer{i}": "mb3_k3" for i in range(1, 6)})
EVALUATION = Evaluation(
    arch=ARCH,
    objectives={
        "top1": Objective(0.1 + 0.2, "fraction", "max", "scratch"),
        "loss": Objective(1 / 3, "nats", "min", "scratch"),
    },
    cost={"images_trained": 1234.0, "core_s": 0.25},
)


def test_an_evaluation_comes_back_from_its_line_as_it_was():
    event = evaluation_event(7, TINY, EVALUATION, 2.5, "lut-uncalibrated")
    line = json.loads(json.dumps(event.to_json()))
    (read,) = read_events([line], EvaluationEvent, Path("journal.jsonl"))
    assert read == event
    assert read.evaluation == EVALUATION
    assert read.evaluation.arch.arch_id == ARCH.arch_id


def test_only_a_failed_evaluation_has_an_error():
    event = evaluation_event(7, TINY, EVALUATION, 2.5, "lut")
    assert "error" not in event.to_json()
    failed = Evaluation(ARCH, {}, {}, error="diverged")
    assert evaluation_event(7, TINY, failed, 2.5, "lut").to_json()["error"] == "diverged"


def test_a_record_holds_everything_under_its_name():
    record = evaluation_event(7, TINY, EVALUATION, 2.5, "lut-uncalibrated").to_json()
    moment = record.pop("time")
    assert record == {
        "event": "evaluation",
        "index": 7,
        "arch": {"schema": 1, "space": "tiny", "choices": ARCH.choices},
        "arch_id": ARCH.arch_id,
        "network_id": TINY.network_id(ARCH),
        "latency_ms": 2.5,
        "latency_source": "lut-uncalibrated",
        "objectives": {
            "top1": {
                "value": 0.1 + 0.2,
                "unit": "fraction",
                "direction": "max",
                "source": "scratch",
            },
            "loss": {"value": 1 / 3, "unit": "nats", "direction": "min", "source": "scratch"},
        },
        "cost": {"images_trained": 1234.0, "core_s": 0.25},
    }
    assert datetime.fromisoformat(moment).utcoffset() == timedelta(0)


def test_a_stage_record_names_its_stage_time_and_cost():
    record = stage_event("profile", 1.23456, {"device_s": 1.2}).to_json()
    moment = record.pop("time")
    assert record == {
        "event": "stage",
        "stage": "profile",
        "wall_s": 1.235,
        "cost": {"device_s": 1.2},
    }
    assert datetime.fromisoformat(moment).utcoffset() == timedelta(0)


def test_now_is_the_time_in_utc_to_the_second():
    before = datetime.now(timezone.utc).replace(microsecond=0)
    moment = datetime.fromisoformat(now())
    assert before <= moment <= datetime.now(timezone.utc)
    assert moment.microsecond == 0
