"""Tables of accuracies: means over codes of one network, gaps, and every bad line at once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.rng import stream
from hwnas.search.evaluators.predictor import PredictorEvaluator
from hwnas.search.evaluators.table import TableScores
from hwnas.search.strategies.population import random_codes
from hwnas.space.catalogue import load_space

MACRO = load_space("macro-cifar")
TWINS = np.array([[1, 2, 1, 0, 1, 2, 0, 1], [1, 2, 1, 1, 0, 2, 0, 1]], dtype=np.int16)


def _write(path, codes, values):
    lines = (
        json.dumps({"arch": arch.to_json(), "top1": value})
        for arch, value in zip(MACRO.decode(codes), values, strict=True)
    )
    path.write_text("\n".join(lines) + "\n")
    return path


def test_scores_are_those_of_the_file_and_missing_ones_are_errors(tmp_path):
    codes = random_codes(MACRO, 300, stream(0, "table"))
    _, first = np.unique(MACRO.network_keys(codes), axis=0, return_index=True)
    codes = codes[first]
    values = stream(1, "table").random(len(codes)).tolist()
    table = TableScores(_write(tmp_path / "t.jsonl", codes[1:], values[1:]), MACRO)
    scores = table.score(codes)
    assert np.isnan(scores[0])
    np.testing.assert_array_equal(scores[1:], values[1:])
    found = dict(PredictorEvaluator(MACRO, table).evaluate(MACRO.decode(codes[:2])))
    assert "table has no score" in found[0].error
    assert found[0].objectives == {}
    assert found[1].objectives["top1"].value == values[1]
    assert found[1].objectives["top1"].source == "table"


def test_codes_of_one_network_share_the_mean(tmp_path):
    table = TableScores(_write(tmp_path / "t.jsonl", TWINS, [0.5, 0.7]), MACRO)
    np.testing.assert_allclose(table.score(TWINS), [0.6, 0.6])
    assert (table.num_codes, table.num_networks) == (2, 1)
    one = TableScores(_write(tmp_path / "o.jsonl", TWINS[:1], [0.5]), MACRO)
    assert one.score(TWINS).tolist() == [0.5, 0.5]


def test_every_bad_line_is_named(tmp_path):
    path = _write(tmp_path / "t.jsonl", TWINS[[0, 0, 0, 1, 1]], [0.5, 0.5, 0.6, 93.7, 0.5])
    other = {"schema": 1, "space": "tiny", "choices": {}}
    wrong = {"schema": 1, "space": "macro-cifar", "choices": {"layer1": "mb9"}}
    lines = [
        '{"arch": {}, "top1": NaN}',
        "[]",
        json.dumps({"arch": other, "top1": 0.5}),
        json.dumps({"arch": wrong, "top1": 0.5}),
    ]
    path.write_text(path.read_text() + "\n".join(lines))
    with pytest.raises(InputError) as caught:
        TableScores(path, MACRO)
    problems = caught.value.problems
    assert problems[0] == "line 3: top1 is 0.6, but line 1 says 0.5 of the same architecture"
    assert problems[1] == "line 4: top1 must be a fraction between 0 and 1, got 93.7"
    assert problems[2].startswith("line 6: not JSON")
    assert problems[2].endswith("JSON has no NaN or infinity: leave out networks without a number")
    assert problems[3] == "line 7: has not the keys arch and top1"
    assert problems[4] == "line 8: is of space 'tiny', not of 'macro-cifar'"
    assert "choice 'layer1' is 'mb9'" in problems[5]
    assert len(problems) == 6


def test_an_empty_or_missing_file_is_an_error(tmp_path):
    (tmp_path / "e.jsonl").write_text("")
    with pytest.raises(InputError, match="holds no line"):
        TableScores(tmp_path / "e.jsonl", MACRO)
    with pytest.raises(InputError, match="cannot be read"):
        TableScores(tmp_path / "no.jsonl", MACRO)
