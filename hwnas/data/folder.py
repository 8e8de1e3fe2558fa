"""Folders of images: ``DIR/<class>/...`` or ``DIR/train|val|test/<class>/...``."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hwnas.data.augment import PHOTOGRAPHS
from hwnas.data.layout import IMAGE_ENDINGS, is_image, is_visible, layout_of
from hwnas.data.names import LAYOUT, check_folder
from hwnas.data.sources import Source
from hwnas.data.splits import POOL, hash_order, listed
from hwnas.errors import HwnasWarning, InputError

READ_FILES, READ_BYTES, SAMPLED_FILES = 5_000, 256 * 2**20, 500
"""Up to how much every file is part of the digest of a folder, and how many are of a larger one."""
HEIF_ENDINGS = (".heic", ".heif")
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
                return _rgb(ImageOps.exif_transpose(image), image.format)
        except DECODE_ERRORS as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if isinstance(error, UnidentifiedImageError):
                reason = "not an image of a known format"
            raise InputError(
                str(path), [f"cannot be decoded: {reason}"], "repair or remove the file"
            ) from error


BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels: white, stated in the exported preprocessing."""


def _rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    """Return 8-bit RGB: 16-bit grey scaled, transparency composited onto BACKGROUND.

    Raises:
        ValueError: the pixels have no fixed range (floats, 32-bit integers).
    """
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit grey at 255 instead of scaling it
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "I" and file_format == "PPM":
        # a PGM of more than 8 bits, which Pillow scales to 0..65535
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ValueError(
            f"its {kind} pixels have no fixed range; save it with 8 or 16 bits a channel"
        )
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        return Image.alpha_composite(
            Image.new("RGBA", whole.size, (*BACKGROUND, 255)), whole
        ).convert("RGB")
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
                visible = [entry for entry in found if is_visible(entry.name)]
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
            elif is_image(entry.name):
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
            elif not is_image(entry.name):
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
                found = entry.stat()
                if stat.S_ISREG(found.st_mode):
                    self.samples.append((key, part, class_name, found.st_size))
                else:
                    self.unreadable.append(f"{key} (not a regular file)")
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
    layout = layout_of(scan.root)
    problems = list(layout.problems)
    for part, part_folder in layout.parts.items():
        for class_folder in scan.folders(part_folder):
            if not scan.walk_class(class_folder, part, class_folder.name):
                scan.empty.append(scan.key(class_folder))
    class_names = sorted({name for _, part, name, _ in scan.samples if part == POOL})
    scan.strangers += sorted(
        {f"{part}/{name}" for _, part, name, _ in scan.samples if name not in class_names}
    )
    problems += scan.problems()
    if scan.others and (scan.empty or not scan.samples):
        problems.append(_left_out(scan.others))
    if not scan.samples:
        raise InputError(f"data folder {folder}", problems or ["it is empty"], LAYOUT)
    if len(class_names) < 2:
        problems.append(f"at least two classes are needed, got {listed(class_names) or 'none'}")
    if scan.others:
        warnings.warn(
            f"{folder}: {_left_out(scan.others)}",
            HwnasWarning,
            stacklevel=2,
        )
    return _source(folder, scan, class_names, problems, layout.words)


def _content(root: Path, sizes: Mapping[str, int]) -> str:
    """Return a digest of files by their names, sizes and content.

    Of large sets the content of some files, chosen by their names, tells whether it is the same.
    """
    listing = "\n".join(sorted(f"{size} {key}" for key, size in sizes.items()))
    found = hashlib.sha256(os.fsencode(listing))
    keys = list(sizes)
    read = [keys[place] for place in hash_order(keys)]
    if len(keys) > READ_FILES or sum(sizes.values()) > READ_BYTES:
        read = read[:SAMPLED_FILES]
    for key in read:
        with contextlib.suppress(OSError):  # decoding names the file
            found.update((root / key).read_bytes())
    return found.hexdigest()


def _left_out(others: list[str]) -> str:
    """Say which files are not read as images, by their endings, and which endings are."""
    endings = Counter(Path(name).suffix.lower() or "none" for name in others)
    counts = ", ".join(f"{ending} ({count})" for ending, count in endings.most_common())
    heif = sum(endings[ending] for ending in HEIF_ENDINGS)
    convert = "; convert HEIC files to JPEG, as phones do on export" if heif else ""
    return (
        f"{len(others)} files are not images by their ending and were left out: {listed(others)}; "
        f"their endings: {counts}; read are {', '.join(IMAGE_ENDINGS)}{convert}"
    )


def _source(
    folder: Path,
    scan: _Scan,
    class_names: list[str],
    problems: list[str],
    words: tuple[str, ...],
) -> Source:
    known = [sample for sample in scan.samples if sample[2] in class_names]
    keys = tuple(key for key, _, _, _ in known)
    return Source(
        name=str(folder),
        class_names=tuple(class_names),
        keys=keys,
        labels=np.array([class_names.index(name) for _, _, name, _ in known], dtype=np.int64),
        parts=tuple(part for _, part, _, _ in known),
        reader=FolderReader(scan.root, keys),
        content=_content(scan.root, {key: size for key, _, _, size in known}),
        stored_bytes=sum(size for _, _, _, size in known),
        augmentation=PHOTOGRAPHS,
        problems=tuple(problems),
        words=words,
    )
