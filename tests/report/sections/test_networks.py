from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hwnas.report.model import RunFacts, read_run
from hwnas.report.sections.blocks import Cell, Definitions, Folded, Side, Table
from hwnas.report.sections.networks import budgets_blocks, finalists_blocks


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def two_budgets(facts: RunFacts) -> RunFacts:
    """The run with its finalists under a second budget as well."""
    assert facts.finalists is not None
    (answer,) = facts.finalists.answers
    limit = answer.limits[0].model_copy(update={"max": 77.0})
    second = answer.model_copy(update={"limits": (limit,)})
    finalists = facts.finalists.model_copy(update={"answers": (answer, second)})
    return dataclasses.replace(facts, finalists=finalists)


def test_a_finalists_row_leads_to_its_drawing(facts: RunFacts) -> None:
    blocks = finalists_blocks(facts)
    (table,) = [block for block in blocks if isinstance(block, Table)]
    drawings = {block.anchor for block in blocks if isinstance(block, Folded)}
    assert len(drawings) == len(table.rows) == 4
    for row in table.rows:
        cell = row.cells[1]
        assert isinstance(cell, Cell)
        assert cell.href.removeprefix("#") in drawings


def test_a_network_of_two_budgets_has_one_anchor(facts: RunFacts) -> None:
    tables = [one for one in finalists_blocks(two_budgets(facts)) if isinstance(one, Table)]
    anchors = [row.anchor for table in tables for row in table.rows]
    assert len(tables) == 2
    assert len([anchor for anchor in anchors if anchor]) == 4


def test_several_budgets_stand_side_by_side(facts: RunFacts) -> None:
    assert budgets_blocks(facts) == ()
    (side,) = budgets_blocks(two_budgets(facts))
    assert isinstance(side, Side)
    assert len(side.groups) == 2
    assert "latency_ms ≤ 77" in str(side.groups[1][0])
    pairs = side.groups[0][1]
    assert isinstance(pairs, Definitions)
    assert facts.finalists is not None
    assert (
        dict(pairs.pairs)["best of the search"] == facts.finalists.answers[0].finalists[0].arch_id
    )


def test_several_devices_are_columns_of_one_table(facts: RunFacts) -> None:
    other = facts.benches[0].model_copy(
        update={"device": "phone", "rows": facts.benches[0].rows[:1]}
    )
    *_, table = budgets_blocks(dataclasses.replace(facts, benches=(*facts.benches, other)))
    assert isinstance(table, Table)
    assert [column.title for column in table.columns] == [
        "model",
        "host, litert fp32",
        "phone, litert fp32",
    ]
    assert len(table.rows) == len(facts.benches[0].rows)
    assert [row.cells[2] == "–" for row in table.rows] == [False] + [True] * 6
