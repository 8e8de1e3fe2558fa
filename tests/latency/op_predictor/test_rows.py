"""Tables with predicted rows: measured rows stay, predicted ones are marked and never saved."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import MissingRowError
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.op_predictor.rows import OpPredictor, complete
from hwnas.latency.table.files import save_table
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops

SPACE = "proxyless"


@pytest.fixture(scope="module")
def space():
    return load_space(SPACE)


def _less(table, space, every):
    """Return the table without every so many blocks, and those blocks."""
    gone = [op for op in distinct_ops(space) if op.kind == "mbconv"][1::every]
    left = {op: row for op, row in table.entries.items() if op not in gone}
    return replace(table, entries=left), gone


def _predictor(kind, space, table):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return kind(space, table)


def test_measured_rows_are_used_as_they_are_and_missing_ones_predicted(space, random_table):
    whole = random_table(space)
    table, gone = _less(whole, space, 3)
    done = complete(table, distinct_ops(space))
    assert set(done.predicted) == set(gone)
    for op, row in done.table.entries.items():
        assert row.source == ("predicted" if op in gone else "measured")
        assert op in gone or row == whole.entries[op]
    assert all(np.isfinite(done.table.entries[op].latency_ms) for op in gone)


def test_a_network_is_the_sum_of_its_rows_and_says_whether_one_is_predicted(space, random_table):
    table, gone = _less(random_table(space), space, 5)
    predictor = _predictor(OpPredictor, space, table)
    completed = complete(table, distinct_ops(space)).table
    codes = np.array(
        [[i % len(c.options) for c in space.choices] for i in range(7)], dtype=np.int16
    )
    for arch, ms, count in zip(
        space.decode(codes),
        predictor.predict_ms(codes),
        predictor.num_predicted(codes),
        strict=True,
    ):
        ops = space.layers(arch)
        assert ms == pytest.approx(sum(completed.entries[op].latency_ms for op in ops), rel=1e-9)
        assert count == sum(op in gone for op in ops)
    assert predictor.source == "op-predictor-uncalibrated"
    assert predictor.restricted == ()
    [report] = predictor.report()
    assert report["num_predicted"] == len(gone)
    assert report["kinds"]["mbconv"]["new_channels"]["mean_abs_rel_error"] > 0
    [words] = predictor.statements()
    assert f"{len(gone)} rows are predicted" in words
    assert "cross-validated" in words


def test_a_whole_table_gives_what_it_gives_without_the_model(space, random_table):
    table = random_table(space)
    codes = np.zeros((1, len(space.choices)), dtype=np.int16)
    kernel, lut = (_predictor(kind, space, table) for kind in (OpPredictor, LutPredictor))
    assert kernel.source == lut.source
    np.testing.assert_array_equal(kernel.predict_ms(codes), lut.predict_ms(codes))
    assert kernel.num_predicted(codes).tolist() == [0]


def test_without_the_name_missing_rows_stay_missing(space, random_table):
    table, _gone = _less(random_table(space), space, 5)
    predictor = _predictor(LutPredictor, space, table)
    assert predictor.restricted
    assert predictor.source.startswith("lut")


def test_a_table_with_rows_of_no_kind_enough_is_refused(space, random_table):
    table = random_table(space)
    few = dict(list(table.entries.items())[:3])
    with pytest.raises(MissingRowError, match=r"8 or more rows of a kind[\s\S]*hwnas profile"):
        complete(replace(table, entries=few), distinct_ops(space))


def test_predicted_rows_are_not_saved(space, random_table, tmp_path):
    table, _ = _less(random_table(space), space, 5)
    with pytest.raises(ValueError, match="measured rows only"):
        save_table(complete(table, distinct_ops(space)).table, tmp_path / "t.json")
    assert not (tmp_path / "t.json").exists()
