"""Where time goes: shares that add up, and the parts that are slow for their MACs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hwnas.errors import InputError, MissingRowError
from hwnas.latency.lut.breakdown import NUM_NETWORKS, breakdown


def test_shares_add_up_to_the_time_of_the_networks(random_table, tiny):
    table = random_table(tiny)
    archs = tiny.decode(np.array([[1, 2, 3, 1, 2], [3, 3, 3, 3, 3], [0, 0, 0, 0, 0]], np.int16))
    found = breakdown(tiny, table, archs)
    expected = sum(table.row_ms(op) for arch in archs for op in tiny.layers(arch)) / 3
    assert found.mean_ms == pytest.approx(expected)
    for listed in (found.rows, found.kinds, found.sizes):
        assert listed[-1].cumulative == pytest.approx(1.0)
        assert sum(part.mean_ms for part in listed) == pytest.approx(expected)
        assert [p.mean_ms for p in listed] == sorted((p.mean_ms for p in listed), reverse=True)
    assert {part.name for part in found.kinds} == {"conv", "mbconv", "head"}
    assert {part.name for part in found.options} == {"mb3_k3", "mb3_k5", "mb6_k3", "identity"}


def test_an_option_that_is_slow_for_its_macs_has_a_high_cost(random_table, tiny):
    table = random_table(tiny)
    rows = {
        op: replace(
            m, latency_ms=op.macs / 1e7 * (5 if op.kind == "mbconv" and op["kernel"] == 5 else 1)
        )
        for op, m in table.entries.items()
    }
    found = breakdown(tiny, replace(table, entries=rows))
    assert found.num_networks == NUM_NETWORKS
    costs = {part.name: part.cost for part in found.options}
    assert max(costs, key=costs.get) == "mb3_k5"
    speeds = {part.name: part.gmacs_per_s for part in found.options}
    assert speeds["mb3_k5"] == pytest.approx(2.0)
    assert speeds["mb3_k3"] == pytest.approx(10.0)
    assert math.isclose(sum(p.share for p in found.rows), 1.0)


def test_what_the_table_lacks_is_not_drawn_and_an_error_where_given(random_table, tiny):
    table = random_table(tiny)
    lost = next(op for op in table.entries if op.kind == "mbconv" and op["kernel"] == 5)
    rows = {op: m for op, m in table.entries.items() if op != lost}
    assert str(lost) not in {
        part.name for part in breakdown(tiny, replace(table, entries=rows)).rows
    }
    stem = next(op for op in table.entries if op.in_shape[0] == 3)
    bare = replace(table, entries={op: m for op, m in table.entries.items() if op != stem})
    with pytest.raises(InputError, match="covers none of 200 random networks"):
        breakdown(tiny, bare)
    with pytest.raises(MissingRowError):
        breakdown(tiny, bare, tiny.decode(np.zeros((1, 5), np.int16)))
