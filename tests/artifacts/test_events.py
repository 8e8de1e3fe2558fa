"""Lines of a journal as values, and evaluations and scores there and back."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from hwnas.artifacts.events import BaselineEvent, EvaluationEvent, RungEvent, read_events
from hwnas.artifacts.networks import ArchPart, ObjectivePart, OperationPart
from hwnas.errors import InputError
from hwnas.protocols import Objective
from hwnas.space.catalogue import load_space

SPACE = load_space("tiny")
ARCH = SPACE.decode(SPACE.encode([SPACE.arch({c.name: c.options[0] for c in SPACE.choices})]))[0]
SCORE = Objective(0.75, "fraction", "max", "table")
RECORD = {
    "event": "evaluation",
    "index": 3,
    "arch": ARCH.to_json(),
    "arch_id": ARCH.arch_id,
    "network_id": SPACE.network_id(ARCH),
    "latency_ms": 1.5,
    "latency_source": "lut",
    "objectives": {"top1": asdict(SCORE)},
    "cost": {"images_trained": 0, "core_s": 0.5},
    "time": "2025-01-01T00:00:00+00:00",
}


def test_scores_architectures_and_operations_there_and_back():
    assert ObjectivePart.of(SCORE).to_json() == asdict(SCORE)
    assert ObjectivePart.of(SCORE).objective == SCORE
    assert ArchPart.of(ARCH).to_json() == ARCH.to_json()
    assert ArchPart.of(ARCH).unchecked == ARCH
    for op in SPACE.layers(ARCH):
        assert OperationPart.of(op).to_json() == op.to_json()
        assert OperationPart.of(op).spec == op


def test_events_of_one_kind_come_in_order_and_hold_what_was_written(tmp_path):
    baseline = {**RECORD, "event": "baseline", "number": 1}
    other = {"event": "of a newer version"}
    records = [RECORD, other, baseline, {**RECORD, "index": 4}]
    found = read_events(records, EvaluationEvent, tmp_path)
    assert [event.to_json() for event in found] == [RECORD, {**RECORD, "index": 4}]
    assert list(found[0].to_json()) == list(RECORD)
    (drawn,) = read_events(records, BaselineEvent, tmp_path)
    assert drawn.to_json() == baseline
    assert drawn.candidate.to_json() == {
        key: RECORD[key] for key in ("arch", "arch_id", "network_id", "latency_ms", "objectives")
    }


def test_an_event_gives_the_evaluation_that_was_written_down(tmp_path):
    (found,) = read_events([RECORD], EvaluationEvent, tmp_path)
    assert found.is_scored
    assert found.evaluation.arch == ARCH
    assert found.evaluation.objectives == {"top1": SCORE}
    assert found.evaluation.cost == RECORD["cost"]
    failed = {**RECORD, "objectives": {}, "error": "no"}
    (found,) = read_events([failed], EvaluationEvent, tmp_path)
    assert not found.is_scored
    assert found.evaluation.error == "no"


def test_a_broken_event_is_named_with_its_journal_and_kind(tmp_path):
    broken = {**RECORD, "event": "rung"}
    with pytest.raises(InputError, match=r"journal.jsonl, rung: 1 problem\n  - epochs: is req"):
        read_events([RECORD, broken], RungEvent, tmp_path / "journal.jsonl")
