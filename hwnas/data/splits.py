"""The four splits, fixed by a hash of each sample's name: same on every machine, for every seed."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "arch", "val", "test")
"""Weights; alphas and controllers; ranking and finalists; the winner, once."""

POOL = "train"  # the part that missing splits are cut from

Rows = NDArray[np.int64]


def hash_order(keys: Sequence[str]) -> Rows:
    """Return the positions of ``keys`` sorted by SHA-256 of the key (NFC, so that a file system's
    spelling of accents does not matter)."""

    def rank(position: int) -> tuple[bytes, str]:
        key = unicodedata.normalize("NFC", keys[position])
        return hashlib.sha256(os.fsencode(key)).digest(), key

    return np.array(sorted(range(len(keys)), key=rank), dtype=np.int64)


def _rounded_share(count: int, parts: int) -> int:
    """Return ``count / parts`` rounded half up, at least 1."""
    return max(1, (2 * count + parts) // (2 * parts))


def split_sizes(count: int, *, has_val: bool, has_test: bool) -> dict[str, int]:
    """Cut ``count`` pool images of one class: 20 % test, of the rest 80/10/10 train, arch, val.

    A split that the data set brings itself gets none. Needs :func:`smallest_class` images.
    """
    test = 0 if has_test else _rounded_share(count, 5)
    rest = count - test
    val = 0 if has_val else _rounded_share(rest, 10)
    arch = _rounded_share(rest, 10)
    return {"train": rest - val - arch, "arch": arch, "val": val, "test": test}


def smallest_class(*, has_val: bool, has_test: bool) -> int:
    """Return how many pool images a class needs for at least one in each split."""
    return 4 - has_val - has_test


def assign_splits(
    keys: Sequence[str], labels: NDArray[np.int64], parts: Sequence[str]
) -> dict[str, Rows]:
    """Return for each split the sample positions, in hash order.

    ``parts`` says where each sample comes from: ``train`` (the pool), or ``val`` / ``test`` that
    the data set brings itself and which stay as they are. Each class of the pool is ranked by hash
    and cut on its own, lowest hashes to test, then val, arch and train.
    """
    order = hash_order(keys)
    part_of = np.array(parts)
    brought = set(parts)
    split_of = part_of.astype("<U5")
    for label in np.unique(labels):
        rows = order[(labels[order] == label) & (part_of[order] == POOL)]
        sizes = split_sizes(len(rows), has_val="val" in brought, has_test="test" in brought)
        start = 0
        for split in ("test", "val", "arch"):
            split_of[rows[start : start + sizes[split]]] = split
            start += sizes[split]
    return {split: order[split_of[order] == split] for split in SPLITS}


def split_problems(
    labels: NDArray[np.int64], parts: Sequence[str], class_names: Sequence[str]
) -> list[str]:
    """Return what keeps classes from having an image in every split, one line per part."""
    part_of = np.array(parts)
    brought = set(parts) - {POOL}
    needed = smallest_class(has_val="val" in brought, has_test="test" in brought)
    problems = []
    for part, least in ((POOL, needed), *((part, 1) for part in sorted(brought))):
        counts = np.bincount(labels[part_of == part], minlength=len(class_names))
        short = [
            f"{name} ({count})"
            for name, count in zip(class_names, counts, strict=True)
            if count < least
        ]
        if short:
            where = f" of {part}" if brought else ""
            problems.append(
                f"images{where} per class, for one in each split: at least {least} "
                f"are needed; too few: {listed(short)}"
            )
    return problems


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Return up to ``limit`` names and the count of the rest, for a message."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown
