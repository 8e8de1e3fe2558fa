from __future__ import annotations

import pytest

from hwnas.errors import InputError
from hwnas.report.outcomes import BenchRow, Winner
from hwnas.report.records import Audit, cleaned, read_record


def test_every_problem_of_a_file_is_told_with_its_place() -> None:
    with pytest.raises(InputError) as caught:
        read_record(
            Winner,
            {
                "arch": {},
                "arch_id": 3,
                "network_id": "n",
                "layers": [],
                "shelf": [{"measured_ms": "fast"}],
            },
            "winner.json",
        )
    text = str(caught.value)
    for place in ("arch_id", "budget_ms", "shelf.0.name", "shelf.0.measured_ms"):
        assert place in text
    assert "winner.json: 4 problems" in text
    assert "Next: repeat the command" in text


def test_unknown_keys_are_ignored_and_optional_ones_may_be_absent_or_null() -> None:
    row = read_record(
        BenchRow,
        {
            "name": "n",
            "kind": "shelf",
            "newer": 1,
            "predicted_ms": None,
            "measurement": {"latency_ms": 3},
        },
        "bench",
    )
    assert row.measurement.latency_ms == 3.0
    assert row.predicted_ms is None
    assert row.within_budget is None


def test_numbers_that_are_not_finite_count_as_absent() -> None:
    audit = read_record(Audit, {"fastest_ms": float("nan"), "slowest_ms": float("inf")}, "audit")
    assert audit.fastest_ms is None
    assert audit.slowest_ms is None


def test_characters_that_xml_forbids_are_replaced_at_any_depth() -> None:
    assert cleaned({"a\x00": ["b\x1b[0m", "tab\tline\n", "\ud800"]}) == {
        "a\ufffd": ["b\ufffd[0m", "tab\tline\n", "\ufffd"]
    }
