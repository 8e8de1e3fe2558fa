"""The strategy that is taken where none is named."""

from __future__ import annotations

import pytest

from hwnas.pipeline.config.default_strategy import default_strategy
from hwnas.pipeline.config.search import SearchConfig
from hwnas.search.evaluators.registry import EVALUATORS


@pytest.mark.parametrize(
    ("evaluator", "evaluations", "gates", "given", "name"),
    [
        ("table", 1000, False, {}, "combined-moves"),
        ("predictor", 60_000, True, {}, "combined-moves"),
        ("table", 999, True, {}, "evolution"),
        (None, 16, True, {}, "proxyless"),
        (None, 16, False, {}, "evolution"),
        ("supernet", 16, True, {}, "proxyless"),
        ("supernet", 16, True, {"starts_from_weights": True}, "evolution"),
        ("supernet", 16, False, {}, "evolution"),
        ("scratch", 16, True, {}, "evolution"),
        (None, 16, True, {"needs_evolution": "--surrogate"}, "evolution"),
        ("table", 5000, False, {"needs_evolution": "--seed-archs"}, "evolution"),
    ],
)
def test_the_default_fits_what_is_given_and_is_a_possible_configuration(
    evaluator, evaluations, gates, given, name
):
    found = default_strategy(
        evaluator=EVALUATORS[evaluator] if evaluator else None,
        evaluations=evaluations,
        trains_gates=gates,
        **given,
    )
    assert found.name == name
    assert found.reason
    spelt = {"table": "table:t.jsonl", "predictor": "predictor:p.json"}.get(evaluator, evaluator)
    SearchConfig(strategy=name, evaluator=spelt, evaluations=evaluations)
