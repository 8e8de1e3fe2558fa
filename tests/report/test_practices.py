from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.artifacts.benched import DriftPart
from hwnas.report.model import RunFacts, read_run
from hwnas.report.practices import practices

WriteRun = Callable[..., Path]


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def answer(facts: RunFacts, words: str) -> str:
    (found,) = [point for point in practices(facts) if words in point.question]
    return found.answer


def test_the_checklist_has_its_sixteen_points_in_three_groups(facts: RunFacts) -> None:
    groups = [point.group for point in practices(facts)]
    assert [groups.count(group) for group in dict.fromkeys(groups)] == [5, 8, 3]
    allowed = {"yes", "partly", "no", "not applicable"}
    assert {point.answer for point in practices(facts)} <= allowed


def test_what_one_run_cannot_show_is_answered_no(facts: RunFacts) -> None:
    for words in ("ablations", "random search", "repeated", "hyperparameters were tuned"):
        assert answer(facts, words) == "no"


def test_answers_follow_the_files_of_the_run(
    facts: RunFacts, write_run: WriteRun, tmp_path: Path
) -> None:
    early = read_run(write_run(tmp_path / "early", until="search"))
    expected = {
        "seeds of the final training": ("yes", "no"),
        "confounders": ("yes", "no"),
        "evaluation protocol the same": ("yes", "no"),
        "share data": ("partly", "not applicable"),
        "time of the whole method": ("yes", "partly"),
        "experimental setup": ("yes", "partly"),
    }
    for words, (whole, part) in expected.items():
        assert (answer(facts, words), answer(early, words)) == (whole, part), words


@pytest.mark.parametrize(("ratio", "expected"), [(1.01, "yes"), (1.2, "partly"), (None, "partly")])
def test_drift_decides_whether_confounders_were_controlled(
    ratio: float | None, expected: str, facts: RunFacts
) -> None:
    drift = None if ratio is None else DriftPart(ratio=ratio)
    bench = facts.benches[0].model_copy(update={"drift": drift})
    assert answer(dataclasses.replace(facts, benches=(bench,)), "confounders") == expected


def test_a_random_search_is_not_asked_to_beat_itself(facts: RunFacts) -> None:
    config = {**facts.config, "search": {"strategy": "random", "evaluator": "table:b.jsonl"}}
    random = dataclasses.replace(facts, config=config)
    assert answer(random, "random search") == "not applicable"
    assert answer(random, "tabular or surrogate") == "partly"


def test_a_space_from_a_file_is_only_partly_released(facts: RunFacts) -> None:
    assert facts.result is not None
    result = facts.result.model_copy(update={"space": "mine@12345678"})
    assert answer(dataclasses.replace(facts, result=result), "search space") == "partly"
