"""Which folder of a data set is which split: by names in use, never by a guess that is not said."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.data.splits import POOL, listed

JPEG_ENDINGS = (".jfif", ".jpe", ".jpeg", ".jpg")
IMAGE_ENDINGS = (*JPEG_ENDINGS, ".bmp", ".gif", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
SYSTEM = frozenset(
    {
        "$RECYCLE.BIN",
        "@eaDir",
        "System Volume Information",
        "Thumbs.db",
        "__MACOSX",
        "desktop.ini",
        "ehthumbs.db",
        "lost+found",
    }
)
"""What operating systems and archives leave in folders; like hidden files it is not looked at."""

# seg_train, Training, train_images, val, valid, validation, dev, test-set ...
_SPLIT = re.compile(
    r"(?:[a-z]+[_-])?(?P<word>train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)"
    r"(?:[_-]?(?:set|data|images|dir|split))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Layout:
    """``parts`` maps train, val and test to the folder of class folders that is it.

    ``words`` say what became of which folder, ``problems`` why it cannot be meant as it is.
    """

    parts: dict[str, Path]
    words: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is looked at."""
    return not name.startswith(".") and name not in SYSTEM


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image."""
    return name.lower().endswith(IMAGE_ENDINGS)


def split_named(name: str) -> str | None:
    """Return the split that a folder's name says: train, val or test; None for any other name."""
    found = _SPLIT.fullmatch(name)
    if found is None:
        return None
    word = found["word"].lower()
    return "train" if word.startswith("train") else "test" if word.startswith("test") else "val"


def layout_of(root: Path) -> Layout:
    """Return which folders below ``root`` are which split; without split folders all is one pool.

    A folder is a split by its name only where it holds class folders: a class may be called train.
    """
    words: list[str] = []
    top = _unwrapped(root, words, root)
    folders = _folders(top)
    named = {folder: part for folder in folders if (part := split_named(folder.name)) is not None}
    splits = {folder: part for folder, part in named.items() if _holds_classes(folder)}
    if not splits:
        return Layout({POOL: top}, tuple(words), tuple(_same_below(folders)))
    problems: list[str] = []
    parts: dict[str, Path] = {}
    for folder, part in splits.items():
        if part in parts:
            problems.append(f"two folders for {part}: {parts[part].name} and {folder.name}")
        parts[part] = folder
    if POOL not in parts:
        if len(splits) == len(folders):
            names = ", ".join(folder.name for folder in splits)
            problems.append(f"there is no folder for training (train) beside {names}")
            return Layout({POOL: top}, tuple(words), tuple(problems))
        return Layout({POOL: top}, tuple(words), tuple(_same_below(folders)))
    left_out = [folder for folder in folders if folder not in splits]
    plain = [folder for folder in left_out if not _holds_classes(folder) and _has_images(folder)]
    words += [f"{folder.name}/ is left out: it holds no class folders" for folder in plain]
    empty = [folder for folder in left_out if folder in named and folder not in plain]
    if empty:
        problems.append(f"empty folders: {listed([folder.name for folder in empty])}")
    others = [one for one in left_out if one not in plain and one not in empty]
    if unknown := [folder.name for folder in others]:
        problems.append(f"folders beside train that are not val or test: {listed(unknown)}")
    if "val" in parts and "test" not in parts:
        parts["test"] = parts.pop("val")  # as ImageNet's: the images that others are judged on
    words.append(_said(parts))
    return Layout(
        {
            part: _unwrapped(parts[part], words, root)
            for part in (POOL, "val", "test")
            if part in parts
        },
        tuple(words),
        tuple(problems),
    )


def _said(parts: dict[str, Path]) -> str:
    cut = ["train", "arch", *(name for name in ("val", "test") if name not in parts)]
    said = [f"{parts[POOL].name}/ is cut into {', '.join(cut)}"]
    said += [f"{parts[name].name}/ is {name}" for name in ("val", "test") if name in parts]
    return "; ".join(said)


def _unwrapped(folder: Path, words: list[str], root: Path) -> Path:
    """Return the folder of the classes: below folders that hold nothing but one other folder."""
    while True:
        below = _folders(folder)
        if len(below) != 1 or _images(folder) or len(_class_folders(below[0])) < 2:
            return folder
        folder = below[0]
        words.append(f"{folder.relative_to(root).as_posix()}/ holds the class folders")


def _same_below(folders: Sequence[Path]) -> list[str]:
    """Return a problem where all top folders hold the same sub-folders, which then are classes."""
    if len(folders) < 2 or any(_images(folder) for folder in folders):
        return []
    below = [{one.name for one in _class_folders(folder)} for folder in folders]
    if len(below[0]) < 2 or any(names != below[0] for names in below):
        return []
    return [
        f"all top folders ({listed([folder.name for folder in folders])}) hold the same "
        f"sub-folders ({listed(sorted(below[0]))}), which look like the classes: rename folders "
        "that are splits to train, val and test, and put images of several sources together"
    ]


def _holds_classes(folder: Path) -> bool:
    return bool(_class_folders(folder))


def _class_folders(folder: Path) -> list[Path]:
    return [one for one in _folders(folder) if _has_images(one)]


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from sorted(
                (one for one in found if is_visible(one.name)), key=lambda one: one.name
            )
    except OSError:  # the walk that reads the images names it
        return


def _folders(folder: Path) -> list[Path]:
    return [Path(one.path) for one in _entries(folder) if one.is_dir(follow_symlinks=False)]


def _images(folder: Path) -> list[str]:
    return [one.name for one in _entries(folder) if not one.is_dir() and is_image(one.name)]


def _has_images(folder: Path) -> bool:
    """Whether there is an image in a folder or below it."""
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if is_visible(name)]
        if any(is_image(name) and is_visible(name) for name in files):
            return True
    return False
