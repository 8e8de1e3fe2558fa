from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest

from hwnas.report.facts import RunFacts, read_run, winner_slots
from hwnas.report.figures import (
    Drawing,
    accuracy_latency,
    predicted_measured,
    space_distribution,
    time_per_operation,
)
from hwnas.report.records import Audit

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def texts(drawing: Drawing) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def test_the_legend_names_the_source_of_every_kind_of_point(facts: RunFacts) -> None:
    words = texts(accuracy_latency(facts))
    assert "evaluated (ms: lut, top-1: supernet)" in words
    assert "finalists (ms: predicted, top-1: scratch, val)" in words
    assert "winner (ms: measured, top-1: scratch, val)" in words
    assert "shelf models (ms: measured, top-1: scratch, val)" in words
    assert "budget" in words


def test_evaluations_of_two_sources_are_two_kinds_of_point(facts: RunFacts) -> None:
    first, *others = facts.evaluations
    told = dataclasses.replace(first, latency_source="predictor")
    mixed = dataclasses.replace(facts, evaluations=(told, *others))
    drawing = accuracy_latency(mixed)
    assert "evaluated (ms: predictor, top-1: supernet): 1;" in drawing.description
    assert "evaluated (ms: lut, top-1: supernet): 59;" in drawing.description


def test_predicted_and_measured_pairs_are_counted_by_their_role(facts: RunFacts) -> None:
    drawing = predicted_measured(facts)
    assert drawing is not None
    assert "networks kept for validation: 24" in drawing.description
    assert "networks the calibration saw: 8;" in drawing.description
    assert "measured later: 4." in drawing.description
    assert drawing.caption.startswith("n = 36 networks")


def test_no_pair_gives_no_drawing(facts: RunFacts) -> None:
    assert predicted_measured(dataclasses.replace(facts, table=None, benches=())) is None


def test_the_distribution_runs_from_the_fastest_to_the_slowest() -> None:
    audit = Audit(num_codes=1024, fastest_ms=2.0, slowest_ms=9.0, percentiles={50.0: 4.0})
    drawing = space_distribution(audit, [5.0])
    assert drawing is not None
    assert "2.00\u00a0ms to 9.00\u00a0ms" in drawing.description
    assert "1,024 codes" in drawing.caption
    assert space_distribution(Audit(fastest_ms=2.0), [5.0]) is None


def test_the_time_of_operations_adds_up_to_the_whole(facts: RunFacts) -> None:
    assert facts.winner is not None
    slots = winner_slots(facts.winner, facts.table)
    drawing = time_per_operation(slots)
    assert drawing is not None
    shares = [int(found[1]) for text in texts(drawing) if (found := re.search(r"\((\d+)", text))]
    executed = [slot for slot in slots if slot.op]
    assert len(shares) == len(executed)
    assert abs(sum(shares) - 100) <= len(shares) / 2
    times = [slot.table_ms for slot in executed]
    assert shares[0] == round(100 * times[0] / sum(times))
    assert time_per_operation([dataclasses.replace(one, table_ms=None) for one in slots]) is None


def test_a_drawing_is_the_same_text_each_time_and_leaves_matplotlib_as_it_was(
    facts: RunFacts,
) -> None:
    settings = dict(mpl.rcParams)
    assert accuracy_latency(facts).svg == accuracy_latency(facts).svg
    assert dict(mpl.rcParams) == settings


def test_a_drawing_has_words_for_those_who_do_not_see_it_and_ids_of_its_own(
    facts: RunFacts,
) -> None:
    drawing = accuracy_latency(facts)
    root = ET.fromstring(drawing.svg)
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[1].text == drawing.description
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert all(name.startswith("accuracy-latency-") for name in ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', drawing.svg)) <= set(ids)
