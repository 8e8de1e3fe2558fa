from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hwnas.report.model import RunFacts, read_run
from hwnas.report.sections.account import cost_blocks, flat, measuring_blocks
from hwnas.report.sections.blocks import Bars, Folded, Missing, Table, Text


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def test_the_bars_of_the_ledger_are_shares_of_the_longest_stage(facts: RunFacts) -> None:
    text, bars, folded = cost_blocks(facts)
    assert isinstance(text, Text)
    assert text.text.startswith("11\u00a0min 56\u00a0s of wall time in all.")
    assert isinstance(bars, Bars)
    assert {bar.name: bar.share for bar in bars.bars} == {
        "profile": pytest.approx(95.5 / 314),
        "search": 1.0,
        "retrain": pytest.approx(201 / 314),
        "export": pytest.approx(44 / 314),
        "bench": pytest.approx(61 / 314),
    }
    assert "120\u00a0k images trained" in bars.bars[1].note
    assert isinstance(folded, Folded)
    (table,) = folded.blocks
    assert isinstance(table, Table)
    assert table.rows[-1].cells[5] == "210\u00a0k"  # images trained in all
    assert len(table.rows) == 5 + 1


def test_a_run_without_stages_has_no_ledger(facts: RunFacts) -> None:
    (block,) = cost_blocks(dataclasses.replace(facts, stages=()))
    assert isinstance(block, Missing)


def test_the_devices_state_is_shown_before_and_after(facts: RunFacts) -> None:
    (table,) = [block for block in measuring_blocks(facts) if isinstance(block, Table)]
    assert ("load_1min", "0.41", "1.07") in [row.cells for row in table.rows]
    bare = facts.benches[0].model_copy(update={"state_before": None, "state_after": None})
    blocks = measuring_blocks(dataclasses.replace(facts, benches=(bare,)))
    assert Text("The device's state was not recorded.", muted=True) in blocks


def test_nested_data_become_dotted_keys_in_order() -> None:
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == [("a.b", 1), ("a.c.d", 2), ("e", 3)]
