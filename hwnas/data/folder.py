"""Folders of images: ``DIR/<class>/...`` or ``DIR/train|val|test/<class>/...``."""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hwnas.data.augment import PHOTOGRAPHS
from hwnas.data.names import LAYOUT, check_folder
from hwnas.data.sources import Source
from hwnas.data.splits import POOL, listed
from hwnas.errors import HwnasWarning, InputError

IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = (POOL, "val", "test")
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on files that are broken, cut or not images."""


@dataclass(frozen=True)
class FolderReader:
    """Image files below ``root``, by their relative posix paths."""

    root: Path
    keys: tuple[str, ...]

    def __call__(self, row: int) -> Image.Image:
        """Return image ``row`` in RGB, upright; InputError names a file that cannot be decoded."""
        path = self.root / self.keys[row]
        try:
            with Image.open(path) as image:
                return _rgb(ImageOps.exif_transpose(image))
        except DECODE_ERRORS as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if isinstance(error, UnidentifiedImageError):
                reason = "not an image of a known format"
            raise InputError(
                str(path), [f"cannot be decoded: {reason}"], "repair or remove the file"
            ) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey at 255 instead of scaling it
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


@dataclass
class _Scan:
    """What one walk over a folder finds."""

    root: Path
    samples: list[tuple[str, str, str, int]] = field(default_factory=list)  # key, part, class, size
    empty: list[str] = field(default_factory=list)
    leaving: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    folder_links: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    real_paths: set[str] = field(default_factory=set)

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """Return the visible entries of a folder by name; one that cannot be read is noted."""
        try:
            with os.scandir(folder) as found:
                visible = [entry for entry in found if not entry.name.startswith(".")]
        except OSError as error:
            self.unreadable.append(f"{self.key(folder)} ({error.strerror})")
            return []
        return sorted(visible, key=lambda entry: entry.name)

    def key(self, path: Path | str) -> str:
        """Return the posix path relative to the folder."""
        return Path(path).relative_to(self.root).as_posix()

    def folders(self, folder: Path) -> Iterator[Path]:
        """Yield the folders in ``folder``; images beside them belong to no class and are noted."""
        for entry in self.entries(folder):
            if entry.is_symlink() and entry.is_dir():
                self.folder_links.append(self.key(entry.path))
            elif entry.is_dir():
                yield Path(entry.path)
            elif entry.name.lower().endswith(IMAGE_ENDINGS):
                self.outside.append(self.key(entry.path))

    def walk_class(self, folder: Path, part: str, class_name: str) -> int:
        """Take all images at any depth below a class folder; return how many."""
        count = 0
        for entry in self.entries(folder):
            if entry.is_dir():
                if entry.is_symlink():
                    self.folder_links.append(self.key(entry.path))
                else:
                    count += self.walk_class(Path(entry.path), part, class_name)
            elif not entry.name.lower().endswith(IMAGE_ENDINGS):
                self.others.append(self.key(entry.path))
            else:
                self._take(entry, part, class_name)
                count += 1
        return count

    def _take(self, entry: os.DirEntry[str], part: str, class_name: str) -> None:
        key, real = self.key(entry.path), os.path.realpath(entry.path)
        if not Path(real).is_relative_to(self.root):
            self.leaving.append(key)
        elif real in self.real_paths:
            self.doubled.append(key)
        else:
            self.real_paths.add(real)
            try:
                self.samples.append((key, part, class_name, entry.stat().st_size))
            except OSError as error:
                self.unreadable.append(f"{key} ({error.strerror})")

    def problems(self) -> list[str]:
        """Return one line per kind of problem, with up to ten names each."""
        kinds = (
            (self.empty, "class folders without images"),
            (self.strangers, "classes that train does not have"),
            (self.outside, "images outside of class folders"),
            (self.leaving, "links that leave the folder"),
            (self.folder_links, "links to folders, which are not followed"),
            (self.doubled, "links to an image that is already there: one image in two splits"),
            (self.unreadable, "unreadable"),
        )
        return [f"{what}: {listed(names)}" for names, what in kinds if names]


def read_folder(folder: Path) -> Source:
    """Return the images of a folder; ``Source.problems`` lists what is wrong with it.

    Files with other endings than an image's are left out with a warning; hidden ones silently.

    Raises:
        InputError: there is no such folder, or no image in it.
    """
    check_folder(folder)
    scan = _Scan(folder.resolve())
    parts, problems = _parts(scan)
    for part, part_folder in parts.items():
        for class_folder in scan.folders(part_folder):
            if not scan.walk_class(class_folder, part, class_folder.name):
                scan.empty.append(scan.key(class_folder))
    class_names = sorted({name for _, part, name, _ in scan.samples if part == POOL})
    scan.strangers += sorted(
        {f"{part}/{name}" for _, part, name, _ in scan.samples if name not in class_names}
    )
    problems += scan.problems()
    if not scan.samples:
        raise InputError(f"data folder {folder}", problems or ["it is empty"], LAYOUT)
    if len(class_names) < 2:
        problems.append(f"at least two classes are needed, got {listed(class_names) or 'none'}")
    if scan.others:
        warnings.warn(
            f"{folder}: {len(scan.others)} files are not images by their ending and were "
            f"left out: {listed(scan.others)}",
            HwnasWarning,
            stacklevel=2,
        )
    return _source(folder, scan, class_names, problems)


def _parts(scan: _Scan) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each part; without a ``train`` that holds folders, all is one pool."""
    pool = scan.root / POOL
    if not (pool.is_dir() and any(entry.is_dir() for entry in scan.entries(pool))):
        return {POOL: scan.root}, []
    found = {path.name: path for path in scan.folders(scan.root)}
    unknown = [name for name in found if name not in PARTS]
    problems = []
    if unknown:
        problems.append(f"folders beside train that are not val or test: {listed(unknown)}")
    empty = [name for name in PARTS if name in found and not scan.entries(found[name])]
    if empty:
        problems.append(f"empty folders: {listed(empty)}")
    return {part: found[part] for part in PARTS if part in found}, problems


def _source(folder: Path, scan: _Scan, class_names: list[str], problems: list[str]) -> Source:
    known = [sample for sample in scan.samples if sample[2] in class_names]
    keys = tuple(key for key, _, _, _ in known)
    listing = "\n".join(sorted(f"{size} {key}" for key, _, _, size in known))
    return Source(
        name=str(folder),
        class_names=tuple(class_names),
        keys=keys,
        labels=np.array([class_names.index(name) for _, _, name, _ in known], dtype=np.int64),
        parts=tuple(part for _, part, _, _ in known),
        reader=FolderReader(scan.root, keys),
        content=hashlib.sha256(os.fsencode(listing)).hexdigest(),
        stored_bytes=sum(size for _, _, _, size in known),
        augmentation=PHOTOGRAPHS,
        problems=tuple(problems),
        names_only=True,
    )
