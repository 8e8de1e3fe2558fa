"""What becomes of the folders that people have, in the loader's own words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.data.folder import read_folder
from hwnas.data.layout import split_named
from hwnas.errors import InputError

MakeFolder = Callable[..., Path]

TRAIN = {"train/ant": 5, "train/bee": 5}


def of(part: str, count: int = 2) -> dict[str, int]:
    return {f"{part}/ant": count, f"{part}/bee": count}


LAYOUTS = [
    ({"ant": 4, "bee": 4}, {"train": 8}, ()),
    (TRAIN, {"train": 10}, ("train/ holds the class folders",)),
    (
        {**TRAIN, **of("val"), **of("test")},
        {"train": 10, "val": 4, "test": 4},
        ("train/ is cut into train, arch; val/ is val; test/ is test",),
    ),
    (
        {**TRAIN, **of("test")},
        {"train": 10, "test": 4},
        ("train/ is cut into train, arch, val; test/ is test",),
    ),
    # ImageNet's: the official val is what others report, not what a search may look at
    (
        {**TRAIN, **of("val")},
        {"train": 10, "test": 4},
        ("train/ is cut into train, arch, val; val/ is test",),
    ),
    (
        {**TRAIN, **of("valid"), **of("test")},
        {"train": 10, "val": 4, "test": 4},
        ("train/ is cut into train, arch; valid/ is val; test/ is test",),
    ),
    (
        {**of("Training", 5), **of("Testing")},
        {"train": 10, "test": 4},
        ("Training/ is cut into train, arch, val; Testing/ is test",),
    ),
    (
        {**of("seg_train/seg_train", 5), **of("seg_test/seg_test")},
        {"train": 10, "test": 4},
        (
            "seg_train/ is cut into train, arch, val; seg_test/ is test",
            "seg_train/seg_train/ holds the class folders",
            "seg_test/seg_test/ holds the class folders",
        ),
    ),
    (
        {**TRAIN, "test": 3},
        {"train": 10},
        (
            "test/ is left out: it holds no class folders",
            "train/ is cut into train, arch, val, test",
        ),
    ),
    ({"set/ant": 4, "set/bee": 4}, {"train": 8}, ("set/ holds the class folders",)),
    ({"__MACOSX/ant": 3, ".git/ant": 3, "ant": 4, "bee": 4}, {"train": 8}, ()),
    # classes that are called like splits hold images themselves
    ({"train": 4, "test": 4, "bus": 4}, {"train": 12}, ()),
]


@pytest.mark.parametrize(("folders", "counts", "words"), LAYOUTS)
def test_folders_become_the_splits_that_they_are_called(
    make_folder: MakeFolder, folders, counts, words
) -> None:
    source = read_folder(make_folder(folders))
    assert source.problems == ()
    assert {part: source.parts.count(part) for part in dict.fromkeys(source.parts)} == counts
    assert set(source.class_names) in ({"ant", "bee"}, {"train", "test", "bus"})
    assert source.words == words


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        ({**of("val", 4), **of("test", 4)}, "there is no folder for training (train) beside test"),
        ({**of("fold1", 4), **of("fold2", 4)}, "hold the same sub-folders (ant, bee)"),
        ({**of("train", 4), **of("training", 4)}, "two folders for train: train and training"),
        ({**TRAIN, **of("extra")}, "folders beside train that are not val or test: extra"),
    ],
)
def test_what_cannot_be_meant_is_refused(make_folder: MakeFolder, folders, says) -> None:
    try:
        problems = read_folder(make_folder(folders)).problems
    except InputError as error:
        problems = error.problems
    assert any(says in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *((name, "train") for name in ("train", "Train", "TRAINING", "seg_train", "train_images")),
        *((name, "val") for name in ("val", "valid", "validation", "dev", "val-set")),
        *((name, "test") for name in ("test", "Testing", "test_set", "my-test")),
        *((name, None) for name in ("trains", "contest", "valley", "pred", "attest", "cat")),
    ],
)
def test_names_in_use_are_known_and_words_that_hold_them_are_not(name, part) -> None:
    assert split_named(name) == part
