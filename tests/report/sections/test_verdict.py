from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hwnas.artifacts.winner import BaselinePart
from hwnas.report.model import RunFacts, read_run
from hwnas.report.sections.verdict import verdict


@pytest.fixture(scope="module")
def facts(whole_run: Path) -> RunFacts:
    return read_run(whole_run)


def with_winner(facts: RunFacts, **changes: object) -> RunFacts:
    assert facts.winner is not None
    return dataclasses.replace(facts, winner=facts.winner.model_copy(update=changes))


def words(facts: RunFacts) -> str:
    judged = verdict(facts)
    return " ".join([judged.headline, *judged.sentences]).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("measured", "kind", "said"),
    [
        (9.0, "yes", "10.0 % below the budget"),
        (10.0, "yes", "0.0 % below the budget"),
        (11.0, "no", "10.0 % above the budget"),
    ],
)
def test_the_budget_is_judged_on_the_measurement(
    measured: float, kind: str, said: str, facts: RunFacts
) -> None:
    judged = with_winner(facts, budget_ms=10.0, predicted_ms=1.0, measured_ms=measured)
    assert verdict(judged).kind == kind
    assert said in words(judged)


def test_a_prediction_alone_answers_nothing(facts: RunFacts) -> None:
    assert verdict(with_winner(facts, measured_ms=None)).kind == "open"
    unmeasured = dataclasses.replace(facts, winner=None)
    assert verdict(unmeasured).kind == "open"
    assert facts.result is not None
    assert facts.result.answers[0].best is not None
    assert facts.result.answers[0].best.arch_id in words(unmeasured)


def test_a_margin_smaller_than_repeatability_is_called_so(facts: RunFacts) -> None:
    assert "repeatability (1.2 %)" in words(with_winner(facts, budget_ms=10.0, measured_ms=9.9))
    assert "repeatability" not in words(with_winner(facts, budget_ms=10.0, measured_ms=9.8))


def test_rejected_finalists_are_named_with_their_time_and_reason(facts: RunFacts) -> None:
    assert facts.winner is not None
    rejected = facts.winner.rejected[0]
    assert f"{rejected.arch_id} (" in words(facts)
    assert "over the budget" in words(facts)
    first = with_winner(facts, rejected=(), first_finalist_passed=True)
    assert "first finalist in rank" in words(first)


def test_the_comparison_takes_the_best_baseline_within_the_budget(facts: RunFacts) -> None:
    said = words(facts)  # 91.2 % against 88 %; the 91.5 % model is over the budget
    assert "3.2 points above" in said
    assert "MobileNetV2 x0.5, 88.0 %" in said
    assert "is within the winner's 95 % interval" in said
    strong = BaselinePart(
        name="strong",
        width_mult=1.0,
        measured_ms=0.1,
        val_top1=0.9,
        test_top1=0.95,
        macs=1,
        params=1,
    )
    said = words(with_winner(facts, baselines=(strong,)))
    assert "3.8 points below" in said
    assert "within the winner's 95 %" not in said
