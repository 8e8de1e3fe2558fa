"""What a folder of images holds: classes, splits and sizes. Decodes no image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hwnas.data.folder import DECODE_ERRORS, read_folder
from hwnas.data.splits import assign_splits, split_problems
from hwnas.errors import InputError

LOOKED_AT = 50
"""Images whose size is read: enough for a median."""


@dataclass(frozen=True)
class FolderFacts:
    """A folder of images: ``counts`` are images by class, ``splits`` images by split.

    ``side`` is the median of the shorter sides of some images, in pixels.
    """

    folder: Path
    counts: dict[str, int]
    splits: dict[str, int]
    side: int

    @property
    def num_images(self) -> int:
        """Images of all splits."""
        return sum(self.splits.values())

    @property
    def majority(self) -> float:
        """The share of the most frequent class."""
        return max(self.counts.values()) / self.num_images


def look_at(folder: Path) -> FolderFacts:
    """Return what a folder of images holds.

    Raises:
        InputError: it is no folder of images by class; lists every problem.
    """
    source = read_folder(folder)
    problems = list(source.problems)
    problems += split_problems(source.labels, source.parts, source.class_names)
    if problems:
        raise InputError(f"data folder {folder}", problems, "repair or remove what is listed")
    rows = assign_splits(source.keys, source.labels, source.parts)
    counts = Counter(source.labels.tolist())
    return FolderFacts(
        folder,
        {name: counts[number] for number, name in enumerate(source.class_names)},
        {name: len(split) for name, split in rows.items()},
        _median_side(folder.resolve(), source.keys),
    )


def _median_side(root: Path, keys: tuple[str, ...]) -> int:
    """Return the median shorter side of images spread over all; headers only are read."""
    step = max(1, len(keys) // LOOKED_AT)
    sides = []
    for key in keys[::step]:
        try:
            with Image.open(root / key) as image:
                sides.append(min(image.size))
        except DECODE_ERRORS:  # loading the data set names every broken file
            continue
    if not sides:
        raise InputError(
            f"data folder {root}", ["no image can be opened"], "check what the files are"
        )
    return int(np.median(sides))
