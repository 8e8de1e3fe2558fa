"""What a table does not cover, on factors small enough to say by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hwnas.arch import Choice
from hwnas.errors import MissingRowError
from hwnas.latency.lut.coverage import restrictions
from hwnas.ops import OpSpec
from hwnas.protocols import Factor

NAN = float("nan")


def _factor(choices, shape, possible=None):
    ops = np.empty(shape, dtype=object)
    for number, index in enumerate(np.ndindex(shape)):
        ops[index] = OpSpec.make("conv", (3, 8, 8), number + 1, kernel=3)
    return Factor(choices, ops, possible)


def _found(options, *factors_and_values):
    choices = tuple(Choice(name, tuple(values)) for name, values in options.items())
    factors = tuple(factor for factor, _ in factors_and_values)
    space = SimpleNamespace(choices=choices, factors=lambda: factors)
    values = [np.array(value, dtype=float) for _, value in factors_and_values]
    return restrictions(
        space, factors, values, lambda ops: MissingRowError(f"{len(ops)} operations")
    )


def _told(found):
    return [(r.choice, r.option, dict(r.beside)) for r in found]


def test_an_option_is_lost_where_all_its_combinations_are():
    found = _found(
        {"a": "xy", "b": "pqr"}, (_factor((0, 1), (2, 3)), [[1.0, NAN, 1.0], [1.0, NAN, NAN]])
    )
    assert _told(found) == [("b", "q", {}), ("b", "r", {"a": "y"})]


def test_an_option_lost_in_one_factor_can_leave_another_without_use():
    # x has no row in the second factor; without it q is left with no combination
    found = _found(
        {"a": "xy", "b": "pq"},
        (_factor((0, 1), (2, 2)), [[1.0, 1.0], [1.0, NAN]]),
        (_factor((0,), (2,)), [NAN, 1.0]),
    )
    assert _told(found) == [("a", "x", {}), ("b", "q", {})]


def test_a_combination_that_cannot_be_is_not_missed():
    possible = np.array([[True, False], [True, True]])
    found = _found(
        {"a": "xy", "b": "pq"}, (_factor((0, 1), (2, 2), possible), [[1.0, NAN], [1.0, 1.0]])
    )
    assert found == ()


def test_a_block_that_some_depths_lack_is_lost_by_its_depths_only():
    # the last symbol of b is absence: with depth 1 (a=x) the block does not exist
    possible = np.array([[False, False, True], [True, True, False]])
    factor = _factor((0, 1), (2, 3), possible)
    factor.ops[0, 2] = None
    found = _found({"a": "xy", "b": "pq"}, (factor, [[NAN, NAN, 0.0], [NAN, NAN, NAN]]))
    assert _told(found) == [("a", "y", {})]


def test_what_leaves_no_network_is_an_error_that_counts_each_operation_once():
    with pytest.raises(MissingRowError, match=r"^2 operations"):
        _found({"a": "xy"}, (_factor((0,), (2,)), [NAN, NAN]), (_factor((0,), (2,)), [NAN, NAN]))
    with pytest.raises(MissingRowError, match=r"^2 operations"):  # each option lacks something
        _found({"a": "xy"}, (_factor((0,), (2,)), [1.0, NAN]), (_factor((0,), (2,)), [NAN, 1.0]))
