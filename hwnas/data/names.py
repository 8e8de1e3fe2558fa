"""Which data sets there are by name, checked before anything heavy is loaded."""

from __future__ import annotations

import difflib
from pathlib import Path

from hwnas.errors import InputError

TORCHVISION_NAMES = ("cifar10", "cifar100", "fashionmnist", "kmnist", "mnist", "svhn")
KNOWN = ("digits", *TORCHVISION_NAMES)
LAYOUT = "the layout is DIR/<class>/*.jpg, or DIR/train/<class>/*.jpg with DIR/val and DIR/test"


def check_name(name: str) -> None:
    """Check that ``name`` is a data set's or an existing folder.

    Raises:
        InputError: it is neither; names the nearest data set.
    """
    if name in KNOWN:
        return
    path = Path(name)
    near = difflib.get_close_matches(name.lower(), KNOWN, n=1)
    if near and not path.exists():
        raise InputError(
            f"data set {name!r}",
            [f"there is no such folder or data set; known: {', '.join(KNOWN)}"],
            f"did you mean {near[0]}?",
        )
    check_folder(path)


def check_folder(folder: Path) -> None:
    """Raise InputError unless ``folder`` is a folder that is there."""
    if folder.is_file():
        raise InputError(
            f"data folder {folder}",
            ["is a file, not a folder"],
            f"if it is an archive, unpack it where you trust it; {LAYOUT}",
        )
    if not folder.is_dir():
        raise InputError(
            f"data folder {folder}", ["there is no such folder"], f"check the path; {LAYOUT}"
        )
