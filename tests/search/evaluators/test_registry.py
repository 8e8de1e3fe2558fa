"""The value of ``search.evaluator``: a name and a file, parsed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwnas.pipeline.config.search import SearchConfig
from hwnas.search.evaluators.registry import (
    BUILTIN_EVALUATORS,
    EVALUATORS,
    EvaluatorContext,
    EvaluatorSpec,
    register_evaluator,
    spellings,
)
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")


@pytest.mark.parametrize("text", ["scratch", "supernet", "table:a/b:c.jsonl", "predictor:p.json"])
def test_a_spec_is_read_and_written_as_text(text) -> None:
    spec = EvaluatorSpec.parse(text)
    assert str(spec) == text
    strategy = {"table": "evolution"}.get(spec.name, "random")
    config = SearchConfig.model_validate({"strategy": strategy, "evaluator": text}, strict=False)
    assert config.evaluator == spec
    assert config.model_dump(mode="json")["evaluator"] == text


def test_the_file_is_all_after_the_first_colon() -> None:
    assert EvaluatorSpec.parse("table:a/b:c.jsonl") == EvaluatorSpec("table", Path("a/b:c.jsonl"))


@pytest.mark.parametrize("text", ["", "oracle", "table", "table:", "scratch:", "scratch:x", ":x"])
def test_what_no_evaluator_is_written_as_is_refused_with_those_there_are(text) -> None:
    with pytest.raises(ValueError, match="must be scratch, supernet, table:FILE"):
        EvaluatorSpec.parse(text)


def test_spellings_are_listed_by_what_they_can() -> None:
    assert BUILTIN_EVALUATORS == ("scratch", "supernet", "table:FILE", "predictor:FILE")
    assert "table:FILE or predictor:FILE" in spellings(lambda entry: bool(entry.file))


class Constant:
    """Every network scores a half."""

    source = "constant"

    def __init__(self, context: EvaluatorContext) -> None:
        self.context = context

    def score(self, codes):
        return np.full(len(codes), 0.5)


def test_one_that_is_registered_scores_networks_in_a_run(monkeypatch) -> None:
    monkeypatch.setattr(EVALUATORS, "_entries", dict(EVALUATORS._entries))  # and is forgotten then
    entry = register_evaluator("test-constant", "A half.", Constant, at_array_speed=True)
    config = SearchConfig.model_validate(
        {"strategy": "combined-moves", "evaluator": "test-constant", "evaluations": 2000},
        strict=False,
    )
    assert config.evaluator.entry is entry
    assert not entry.needs_images
    arch = TINY.decode(np.zeros((1, 5), dtype=np.int16))[0]
    ((place, found),) = entry.evaluator(EvaluatorContext(TINY, 0)).evaluate([arch])
    assert (place, found.objectives["top1"].value) == (0, 0.5)
    assert found.objectives["top1"].source == "constant"
