"""Every network once, or a refusal that says how many there are."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.exhaustive import Exhaustive
from hwnas.search.strategies.population import History
from hwnas.space.catalogue import load_space


def _feasible(name, macs):
    return AdditiveFeasible(LimitedSpace(load_space(name), (Limit("macs", macs),), {}))


def test_every_network_within_the_limits_once():
    feasible = _feasible("macro-cifar", 1e8)
    codes = np.indices((3,) * 8).reshape(8, -1).T.astype(np.int16)
    inside = codes[feasible.within(codes)]
    expected = inside[History(feasible.space).fresh(inside)]
    searcher = Exhaustive(feasible)
    parts = []
    while len(part := searcher.ask_codes(500)):
        searcher.tell_codes(part, np.full((len(part), 1), np.nan))
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert 500 < len(expected) < len(inside)


def test_large_spaces_are_refused_with_their_size():
    with pytest.raises(UsageError, match=re.escape("proxyless has about 2.215e+17 within")):
        Exhaustive(_feasible("proxyless", 1e15))
    with pytest.raises(
        UsageError,
        match=r"macro-cifar has \d+ within its limits, of which it may "
        "evaluate 100",
    ):
        Exhaustive(_feasible("macro-cifar", 1e15), most=100)
