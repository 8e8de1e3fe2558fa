from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.data.splits import (
    SPLITS,
    assign_splits,
    hash_order,
    smallest_class,
    split_problems,
    split_sizes,
)


def test_hash_order_is_that_of_sha256_of_the_name() -> None:
    keys = [f"cat/{n}.jpg" for n in range(50)]
    by_hand = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    assert [keys[i] for i in hash_order(keys)] == by_hand


def test_both_unicode_spellings_of_a_name_get_the_same_place() -> None:
    keys = ["chat/\u00e9t\u00e9.jpg", "chat/hiver.jpg", "chat/printemps.jpg"]
    decomposed = ["chat/e\u0301te\u0301.jpg", *keys[1:]]
    assert hash_order(keys).tolist() == hash_order(decomposed).tolist()


def test_cifar10_counts_give_40k_5k_5k_10k() -> None:
    labels = np.concatenate([np.arange(50_000) % 10, np.arange(10_000) % 10])
    keys = [f"train/{n}" for n in range(50_000)] + [f"test/{n}" for n in range(10_000)]
    splits = assign_splits(keys, labels, ["train"] * 50_000 + ["test"] * 10_000)
    assert {s: len(rows) for s, rows in splits.items()} == {
        "train": 40_000,
        "arch": 5_000,
        "val": 5_000,
        "test": 10_000,
    }
    for split in ("train", "arch", "val"):
        assert len(set(np.bincount(labels[splits[split]]))) == 1
    assert min(splits["test"]) == 50_000


def test_a_pool_without_test_gives_20_percent_then_80_10_10() -> None:
    assert split_sizes(1000, has_val=False, has_test=False) == {
        "test": 200,
        "train": 640,
        "arch": 80,
        "val": 80,
    }


@given(st.integers(4, 3000), st.booleans(), st.booleans())
def test_sizes_cover_the_pool_and_no_split_to_be_made_is_empty(
    count: int, has_val: bool, has_test: bool
) -> None:
    sizes = split_sizes(count, has_val=has_val, has_test=has_test)
    assert sum(sizes.values()) == count
    made = {"train", "arch"} | (set() if has_val else {"val"}) | (set() if has_test else {"test"})
    assert {s for s, size in sizes.items() if size > 0} == made


@pytest.mark.parametrize("has_val", [False, True])
@pytest.mark.parametrize("has_test", [False, True])
def test_smallest_class_is_just_enough(has_val: bool, has_test: bool) -> None:
    needed = smallest_class(has_val=has_val, has_test=has_test)
    made = 4 - has_val - has_test
    assert (
        sum(n > 0 for n in split_sizes(needed, has_val=has_val, has_test=has_test).values()) == made
    )
    too_small = split_sizes(needed - 1, has_val=has_val, has_test=has_test)
    assert sum(n > 0 for n in too_small.values()) < made


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 999)), min_size=1, max_size=80, unique=True
    ),
    st.randoms(use_true_random=False),
)
def test_a_sample_keeps_its_split_whatever_the_listing_order_or_other_classes(
    samples: list[tuple[int, int]], random: object
) -> None:
    def named(chosen: list[tuple[int, int]]) -> dict[str, str]:
        keys = [f"{label}/{n}.png" for label, n in chosen]
        labels = np.array([label for label, _ in chosen], dtype=np.int64)
        splits = assign_splits(keys, labels, ["train"] * len(chosen))
        assert sorted(np.concatenate(list(splits.values()))) == list(range(len(chosen)))
        return {keys[row]: split for split in SPLITS for row in splits[split]}

    whole = named(samples)
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert named(shuffled) == whole
    one_class = [sample for sample in samples if sample[0] == samples[0][0]]
    assert named(one_class).items() <= whole.items()


def test_too_small_classes_are_all_named_with_their_counts_and_the_need() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2, 2, 2])
    (problem,) = split_problems(labels, ["train"] * 8, ["ant", "bee", "cow"])
    assert "ant (3), bee (1)" in problem
    assert "at least 4" in problem
    assert "cow" not in problem


def test_a_class_without_images_in_the_test_part_is_named() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 0])
    problems = split_problems(labels, ["train"] * 6 + ["test"], ["ant", "bee"])
    assert len(problems) == 1
    assert "of test" in problems[0]
    assert "bee (0)" in problems[0]
