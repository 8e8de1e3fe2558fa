from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hwnas.artifacts.search import AuditPart
from hwnas.report.figures.svg import Drawing
from hwnas.report.model import RunFacts, read_run, winner_slots
from hwnas.report.sections.latency import (
    distribution,
    predicted_measured,
    prediction_blocks,
    time_per_operation,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def texts(drawing: Drawing) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def test_predicted_and_measured_pairs_are_counted_by_their_role(facts: RunFacts) -> None:
    drawing = predicted_measured(facts)
    assert drawing is not None
    assert "networks kept for validation: 24" in drawing.description
    assert "networks the calibration saw: 8;" in drawing.description
    assert "measured later: 4." in drawing.description
    assert drawing.caption.startswith("n = 36 networks")


def test_no_pair_gives_no_drawing(facts: RunFacts) -> None:
    bare = dataclasses.replace(facts, table=None, benches=())
    assert predicted_measured(bare) is None
    assert len(prediction_blocks(bare)) == 1


def test_the_distribution_runs_from_the_fastest_to_the_slowest() -> None:
    audit = AuditPart(num_codes=1024, fastest_ms=2.0, slowest_ms=9.0, percentiles={"50": 4.0})
    drawing = distribution(audit, [5.0])
    assert drawing is not None
    assert "2.00\u00a0ms to 9.00\u00a0ms" in drawing.description
    assert "1,024 architectures" in drawing.caption
    assert distribution(AuditPart(fastest_ms=2.0), [5.0]) is None


def test_the_time_of_operations_adds_up_to_the_whole(facts: RunFacts) -> None:
    assert facts.winner is not None
    slots = winner_slots(facts.winner, facts.table)
    drawing = time_per_operation(slots)
    assert drawing is not None
    shares = [int(found[1]) for text in texts(drawing) if (found := re.search(r"\((\d+)", text))]
    executed = [slot for slot in slots if slot.op]
    assert len(shares) == len(executed)
    assert abs(sum(shares) - 100) <= len(shares) / 2
    times = [slot.table_ms or 0.0 for slot in executed]
    assert shares[0] == round(100 * times[0] / sum(times))
    assert time_per_operation([dataclasses.replace(one, table_ms=None) for one in slots]) is None
