from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from hwnas.report.figures.svg import Drawing
from hwnas.report.figures.values import Point
from hwnas.report.model import RunFacts, read_run
from hwnas.report.sections import accuracy
from hwnas.report.sections.accuracy import accuracy_blocks, accuracy_latency, pareto_series
from hwnas.report.sections.blocks import Folded, Row, Table

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def texts(drawing: Drawing) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def point_of(facts: RunFacts, kind: str) -> Point:
    (found,) = [one for one in pareto_series(facts) if one.label.startswith(kind)]
    return found.points[0]


def with_random(facts: RunFacts) -> RunFacts:
    """The run with its finalists as random networks as well."""
    assert facts.retrained is not None
    retrained = facts.retrained.model_copy(update={"random": facts.retrained.finalists[:2]})
    return dataclasses.replace(facts, retrained=retrained)


def test_the_legend_names_the_source_of_every_kind_of_point(facts: RunFacts) -> None:
    words = texts(accuracy_latency(with_random(facts)))
    assert "evaluated (ms: lut, top-1: supernet)" in words
    assert "finalists (ms: predicted, top-1: scratch, val)" in words
    assert "random networks (ms: predicted, top-1: scratch, val)" in words
    assert "winner (ms: measured, top-1: scratch, val)" in words
    assert "baselines (ms: measured, top-1: scratch, val)" in words
    assert "budget" in words


def test_evaluations_of_two_sources_are_two_kinds_of_point(facts: RunFacts) -> None:
    first, *others = facts.evaluations
    other = first.model_copy(update={"latency_source": "predictor"})
    mixed = dataclasses.replace(facts, evaluations=(other, *others))
    drawing = accuracy_latency(mixed)
    assert "evaluated (ms: predictor, top-1: supernet): 1;" in drawing.description
    assert "evaluated (ms: lut, top-1: supernet): 59;" in drawing.description


def test_a_tooltip_has_architecture_latencies_accuracy_with_interval_and_source(
    facts: RunFacts,
) -> None:
    winner = facts.winner
    assert winner is not None
    assert winner.test is not None
    lines = [line.replace("\u00a0", " ") for line in point_of(facts, "winner").lines]
    assert lines[0] == f"winner: {winner.arch_id}"
    assert lines[1] == " · ".join(map(str, winner.arch.choices.values()))
    assert lines[2] == (
        f"latency: predicted {winner.predicted_ms:.2f} ms, measured {winner.measured_ms:.2f} ms"
    )
    assert (
        "on val, trained from scratch; 91.2 % (95 % interval 87.9 % to 93.8 %) on test" in lines[3]
    )
    evaluated = point_of(facts, "evaluated").lines
    assert evaluated[2].endswith("(lut)")
    assert evaluated[3].endswith("estimated by supernet")
    finalist = point_of(facts, "finalists")
    assert finalist.interval is not None
    assert finalist.interval[0] < finalist.top1 < finalist.interval[1]


def test_every_point_leads_to_a_row_of_its_network(facts: RunFacts) -> None:
    blocks = accuracy_blocks(with_random(facts))
    anchors = {
        row.anchor
        for block in blocks
        if isinstance(block, Folded)
        for table in block.blocks
        if isinstance(table, Table)
        for row in table.rows
    }
    for series in pareto_series(with_random(facts)):
        kind = series.label.split()[0]
        for point in series.points:
            assert point.anchor
            if kind in ("evaluated", "random"):
                assert point.anchor in anchors
    assert len(anchors) == 60 + 2


def test_only_the_most_accurate_evaluations_have_a_row(
    facts: RunFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "MAX_ROWS", 5)
    (folded,) = [one for one in accuracy_blocks(facts) if isinstance(one, Folded)]
    assert folded.summary == "The 5 most accurate of 60 evaluated networks"
    (table,) = folded.blocks
    assert isinstance(table, Table)
    best = sorted((one.objectives["top1"].value for one in facts.evaluations), reverse=True)[:5]
    shown = [row.cells[3] for row in table.rows if isinstance(row, Row)]
    assert shown == [f"{100 * value:.1f}\u00a0%" for value in best]
    points = [p for one in pareto_series(facts) if one.label[:4] == "eval" for p in one.points]
    assert sum(bool(point.anchor) for point in points) == 5
