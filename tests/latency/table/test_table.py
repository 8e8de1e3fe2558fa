"""A table of one scope and one of several have the same answers; what differs by scope says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.errors import InputError, UsageError
from hwnas.latency.table.schemas import Calibration
from hwnas.latency.table.table import LatencyTable


def _calibration(error):
    return Calibration(
        scale=0.9,
        per_op_ms=0.0,
        constant_ms=0.0,
        num_networks=8,
        mean_abs_rel_error=error,
        max_abs_rel_error=0.03,
    )


@pytest.fixture
def scoped(tiny, random_table):
    def make(resolution, error):
        table = random_table(tiny, seed=resolution, calibration={"tiny": _calibration(error)})
        header = table.header.model_copy(update={"scope": {"resolution": resolution}})
        return replace(table, header=header)

    return make


def test_a_table_of_one_scope_is_its_only_scope(tiny, random_table):
    table = random_table(tiny)
    assert table.scopes == (table,)
    assert LatencyTable.of_scopes([table]) is table
    assert table.of({"resolution": 160}) is table
    assert not table.is_scoped
    assert table.scope_names == ("every network",)
    assert table.num_rows == len(table.entries)
    assert (table.spaces, table.is_calibrated("tiny"), table.mean_error("tiny")) == (
        (),
        False,
        None,
    )


def test_scopes_are_in_order_and_each_network_has_its_own(scoped):
    table = LatencyTable.of_scopes([scoped(192, 0.01), scoped(160, 0.02)])
    assert table.scope_names == ("resolution=160", "resolution=192")
    assert table.of({"resolution": 192}) == scoped(192, 0.01)
    assert table.of({"resolution": 128}) is None
    assert table.header.scope == {}
    assert table.num_rows == 2 * len(scoped(160, 0.0).entries)
    assert table.spaces == ("tiny",)
    assert table.is_calibrated("tiny")
    assert table.mean_error("tiny") == 0.02
    half = LatencyTable.of_scopes([replace(scoped(192, 0.01), calibration={}), scoped(160, 0.02)])
    assert not half.is_calibrated("tiny")
    assert half.mean_error("tiny") == 0.02


def test_what_differs_by_scope_cannot_be_read_from_the_whole(scoped):
    table = LatencyTable.of_scopes([scoped(192, 0.01), scoped(160, 0.02)])
    op = next(iter(table.scopes[0].entries))
    for read in (
        lambda: table.entries[op],
        lambda: len(table.calibration),
        lambda: "tiny" in table.validation,
        lambda: list(table.entries),
        lambda: table.row_ms(op),
    ):
        with pytest.raises(UsageError, match=r"differ by scope .*160; .*192.*table\.scopes"):
            read()


def test_a_change_reaches_every_scope(scoped):
    table = LatencyTable.of_scopes([scoped(192, 0.01), scoped(160, 0.02)])
    bare = table.map_scopes(lambda part: replace(part, calibration={}))
    assert not any(part.calibration for part in bare.scopes)
    assert bare.scope_names == table.scope_names


def test_scopes_that_cannot_be_told_apart_are_refused(scoped, tiny, random_table):
    with pytest.raises(InputError, match="a second table of scope resolution=160"):
        LatencyTable.of_scopes([scoped(160, 0.1), scoped(160, 0.2)])
    with pytest.raises(InputError, match="scopes must be over the same choices"):
        LatencyTable.of_scopes([scoped(160, 0.1), random_table(tiny)])
    with pytest.raises(InputError, match="there is no table"):
        LatencyTable.of_scopes([])


def test_tables_print_device_runtime_rows_and_calibrated_spaces(scoped):
    table = LatencyTable.of_scopes([scoped(192, 0.01), scoped(160, 0.02)])
    text, page = repr(table), table._repr_html_()
    for part in (
        table.header.device,
        f"{table.header.runtime} {table.header.precision}",
        f"{table.num_rows:,}",
        "resolution=160; resolution=192",
        "mean error 2.0%",
    ):
        assert part in text
        assert part in page
    nasty = replace(table.scopes[0], calibration={"<b>": _calibration(0.1)})
    assert "<b>" not in nasty._repr_html_()


def test_many_missing_rows_are_counted_and_an_empty_table_has_no_nearest(tiny, random_table):
    table = random_table(tiny)
    ops = list(table.entries)[:8]
    text = str(replace(table, entries={}).missing(ops, "tiny"))
    assert "has no row for 8 operation(s)" in text
    assert text.count("nearest rows: none") == 5
    assert "and 3 more" in text
    assert "--space tiny" in text
