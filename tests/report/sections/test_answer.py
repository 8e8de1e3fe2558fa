from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hwnas.artifacts.exported import ExportFile
from hwnas.report.model import RunFacts, read_run
from hwnas.report.sections.answer import answer_blocks
from hwnas.report.sections.blocks import Bars, Cards, Cell, Missing, Table


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def tables(facts: RunFacts) -> list[Table]:
    return [block for block in answer_blocks(facts) if isinstance(block, Table)]


def links(facts: RunFacts) -> dict[str, str]:
    """The links of all tables by their text."""
    cells = [cell for table in tables(facts) for row in table.rows for cell in row.cells]
    return {
        cell.text: cell.href for cell in cells if isinstance(cell, Cell) and cell.style == "code"
    }


def test_links_lead_only_to_files_of_the_run(facts: RunFacts) -> None:
    assert facts.winner is not None
    folder = f"export/{facts.winner.arch_id}"
    # the second file is named, but was not written: no dead link
    assert links(facts) == {
        "model.onnx": f"./{folder}/model.onnx",
        f"{folder}/model.tflite": "",
    }
    for hostile in ("javascript:alert(1)", "../../etc/passwd", "/etc/passwd"):
        winner = facts.winner.model_copy(update={"files": {"onnx": hostile, "arch": hostile}})
        assert links(dataclasses.replace(facts, winner=winner))[hostile] == ""


def test_the_bars_are_on_one_scale_and_mark_what_is_over_the_budget(facts: RunFacts) -> None:
    assert facts.winner is not None
    winner = facts.winner.model_copy(
        update={"budget_ms": 10.0, "predicted_ms": 5.0, "measured_ms": 20.0}
    )
    judged = answer_blocks(dataclasses.replace(facts, winner=winner))
    (bars,) = [block for block in judged if isinstance(block, Bars)]
    assert [(bar.name, bar.share, bar.style) for bar in bars.bars] == [
        ("budget", 0.5, "budget"),
        ("predicted", 0.25, ""),
        ("measured", 1.0, "over"),
    ]


def test_columns_of_int8_stand_only_where_a_file_is_int8(facts: RunFacts) -> None:
    assert facts.winner is not None
    titles = [column.title for column in tables(facts)[0].columns]
    assert "SQNR" not in titles
    content = facts.exports[facts.winner.arch_id].to_json()
    content["formats"]["onnx"]["parity"] |= {"sqnr_db": 31.4, "float_operations": {"softmax": 1}}
    export = ExportFile.parse(content, "export.json")
    quantised = dataclasses.replace(facts, exports={facts.winner.arch_id: export})
    table = tables(quantised)[0]
    place = [column.title for column in table.columns].index("SQNR")
    assert [row.cells[place : place + 2] for row in table.rows] == [
        ("31.4 dB", "1 softmax"),
        ("–", "–"),
    ]


def test_without_a_winner_the_next_command_stands_in_its_place(facts: RunFacts) -> None:
    blocks = answer_blocks(dataclasses.replace(facts, winner=None))
    assert Missing("winner.json", f"hwnas bench {facts.run}") in blocks
    assert not any(isinstance(block, Cards) for block in blocks)
