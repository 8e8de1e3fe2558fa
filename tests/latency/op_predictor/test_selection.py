"""Which operations are measured: spread, then where models err; likes of other widths."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.op_predictor.costs import costs
from hwnas.latency.op_predictor.predictor import by_kind, fit_op_model
from hwnas.latency.op_predictor.selection import (
    MIN_OF_KIND,
    perturbed_widths,
    shares,
    spread_ops,
    worst_ops,
)
from hwnas.space.catalogue import SPACES, load_space
from hwnas.space.codes import distinct_ops


@pytest.fixture(scope="module")
def ops():
    return distinct_ops(load_space("ofa-mbv3"))


def test_every_kind_is_taken_and_small_ones_whole(ops):
    chosen = spread_ops(ops, 60)
    assert len(chosen) == len(set(chosen)) == 60
    kinds, taken = by_kind(ops), by_kind(chosen)
    for kind, some in kinds.items():
        assert len(taken[kind]) >= min(len(some), MIN_OF_KIND)


def test_spread_operations_are_farther_apart_than_the_first_ones(ops):
    def widths(some):
        return {(op.in_shape[0], op.out_channels) for op in some if op.kind == "mbconv"}

    assert len(widths(spread_ops(ops, 60))) > len(widths(ops[:60]))


def test_shares_add_up_and_too_few_are_refused():
    assert shares({"a": 100, "b": 5, "c": 900}, 60) == {"a": 20, "b": 5, "c": 35}
    assert sum(shares({"a": 10, "b": 5}, 60).values()) == 15
    with pytest.raises(ValueError, match="at least 24 are needed"):
        shares({"a": 100, "b": 100}, 23)


def test_more_are_taken_where_the_model_errs(ops):
    """A device that is a sum of costs but for large images, where its time jumps about."""
    blocks = [op for op in ops if op.kind == "mbconv"]

    def law(op):
        found = costs(op)
        jump = 1.0 + 0.8 * np.sin(op.macs / 1e5) if op.in_shape[1] > 40 else 1.0
        return jump * sum(v for name, v in found.items() if name.endswith((" macs", " out"))) / 1e7

    first = spread_ops(blocks, 150)
    model = fit_op_model({op: float(law(op)) for op in first})
    left = [op for op in blocks if op not in set(first)]
    more = worst_ops(left, 60, model)
    assert len(more) == len(set(more)) == 60
    share = np.mean([op.in_shape[1] > 40 for op in more])
    assert share > 1.3 * np.mean([op.in_shape[1] > 40 for op in left])


@pytest.mark.parametrize("name", SPACES)
def test_likes_have_other_channels_and_are_drawn_by_the_seed(name):
    some = distinct_ops(load_space(name))[:300]
    avoid = perturbed_widths(some, 20, seed=0)[:5]
    found = perturbed_widths(some, 40, seed=0, avoid=avoid)
    assert (
        found
        == perturbed_widths(some, 40, seed=0, avoid=avoid)
        != perturbed_widths(some, 40, seed=1)
    )
    assert not {*found} & {*some, *avoid}
    shapes = {op.in_shape[1:] for op in some}
    assert all(op.in_shape[1:] in shapes for op in found)


def test_likes_of_a_stem_have_other_channels_however_few_it_has(ops):
    (stem,) = [op for op in ops if op.kind == "conv" and op.in_shape == (3, 224, 224)]
    assert stem.out_channels == 16
    found = perturbed_widths(ops, 400, seed=0)
    stems = {op.out_channels for op in found if op.in_shape == stem.in_shape}
    assert {8, 24, 32} <= stems
    assert stem.out_channels not in stems
