from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.report.model import RunFacts, read_run
from hwnas.report.sections.blocks import Figure, Folded, Table, Text
from hwnas.report.sections.search import search_blocks, search_curves

WriteRun = Callable[..., Path]


@pytest.fixture(scope="module")
def facts(write_run: WriteRun, tmp_path_factory: pytest.TempPathFactory) -> RunFacts:
    """A run whose gates were trained for two budgets."""
    return read_run(write_run(tmp_path_factory.mktemp("gates") / "run", until="search", gates=2))


def names(facts: RunFacts) -> list[str]:
    return [one.drawing.name for one in search_blocks(facts) if isinstance(one, Figure)]


def test_each_budget_has_its_curves_and_a_heat_map_of_its_gates(facts: RunFacts) -> None:
    assert [curve.epoch for curve in search_curves(facts)] == [list(range(1, 13))] * 2
    assert names(facts) == ["search-curves", "gates-1", "gates-2"]


def test_the_words_of_the_heat_map_name_the_likeliest_options(facts: RunFacts) -> None:
    (drawing,) = [
        one.drawing
        for one in search_blocks(facts)
        if isinstance(one, Figure) and one.drawing.name == "gates-1"
    ]
    assert facts.finalists is not None
    best = facts.finalists.answers[0].finalists[0]
    for layer, option in best.arch.choices.items():
        assert f"{layer} {option} 9" in drawing.description  # 90 % and more


def test_every_epoch_is_in_the_table(facts: RunFacts) -> None:
    (folded,) = [one for one in search_blocks(facts) if isinstance(one, Folded)]
    (table,) = folded.blocks
    assert isinstance(table, Table)
    assert [row.cells[:2] for row in table.rows] == [
        (str(number), str(epoch)) for number in (1, 2) for epoch in range(1, 13)
    ]


def test_runs_that_journalled_no_gates_have_curves_alone(facts: RunFacts) -> None:
    bare = tuple(one.model_copy(update={"gates": ()}) for one in facts.epochs)
    assert names(dataclasses.replace(facts, epochs=bare)) == ["search-curves"]
    other = tuple(one.model_copy(update={"gates": ((1.0,),)}) for one in facts.epochs)
    assert names(dataclasses.replace(facts, epochs=other)) == ["search-curves"]


def test_a_search_without_gates_refers_to_its_evaluations(whole_run: Path) -> None:
    (text,) = search_blocks(read_run(whole_run))
    assert isinstance(text, Text)
    assert "trains no gates" in text.text
