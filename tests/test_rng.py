"""Random streams depend on their name only."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hwnas.rng import derived_seed, stream

NAMES = st.tuples(
    st.integers(-5, 2**40), st.text(max_size=8), st.lists(st.integers(-3, 200), max_size=3)
)


def test_the_numbers_of_a_stream_never_change():
    # a change here breaks the resume of every run made before it
    assert stream(0, "init").integers(0, 2**32, 3).tolist() == [1172914935, 3389370684, 787550108]
    assert stream(7, "train", 3, 1).integers(0, 1000, 4).tolist() == [522, 534, 89, 14]


def test_derived_seeds_are_the_first_63_bits_of_the_names_hash():
    # sha256sum of "0|init|" and of "7|train|3", the first 16 hex digits
    for seed, first in (
        (derived_seed(0, "init"), "c27fbdf270c01274"),
        (derived_seed(7, "train", 3), "184c65170ac371a1"),
    ):
        assert seed == int.from_bytes(bytes.fromhex(first), "little") // 2


@given(st.lists(NAMES, min_size=2, max_size=6, unique_by=repr))
def test_different_names_give_different_numbers(names):
    seeds = {derived_seed(seed, purpose, *counters) for seed, purpose, counters in names}
    firsts = {stream(seed, purpose, *counters).bytes(16) for seed, purpose, counters in names}
    assert len(seeds) == len(firsts) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_what_a_stream_gives_does_not_depend_on_what_was_drawn_before():
    names = [(0, "data", i) for i in range(5)]
    forward = {name: stream(*name).random(4).tolist() for name in names}
    other = stream(0, "data", 0)
    other.random(100)
    backward = {name: stream(*name).random(4).tolist() for name in reversed(names)}
    assert forward == backward


def test_the_global_generator_is_neither_used_nor_moved():
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    first = stream(3, "x").random(8).tolist()
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(2)
    assert stream(3, "x").random(8).tolist() == first


def test_neighbouring_streams_look_uniform_and_independent():
    draws = np.array([stream(0, "noise", i).random(500) for i in range(60)])
    assert abs(draws.mean() - 0.5) < 0.01  # 6 standard errors of the mean of 30,000 are 0.01
    correlation = np.corrcoef(draws)[~np.eye(60, dtype=bool)]
    assert np.abs(correlation).max() < 6 / np.sqrt(500)
