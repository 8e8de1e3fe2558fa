"""Latency tables that come with hwnas, by name: ``galaxy-note10``, ``x86-64-vm/litert-fp32-t1``.

A name is a folder of ``lut/``, or one table of a folder that holds several that are not of one
scope. A path always goes first: a file or folder of the user's is never hidden by a name.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import InputError
from hwnas.latency.table.files import load_table
from hwnas.latency.table.table import LatencyTable


@dataclass(frozen=True)
class BundledTable:
    """A table that comes with hwnas: its name, its file or folder of scopes, and its parts."""

    name: str
    path: Path
    parts: tuple[LatencyTable, ...]

    @property
    def space(self) -> str:
        """The spaces whose networks it covers, as far as its header or calibrations say."""
        first = self.parts[0]
        stated = first.header.provenance.get("space")
        return stated or ", ".join(sorted({s for part in self.parts for s in part.calibration}))

    @property
    def source(self) -> str:
        """Who measured it."""
        return self.parts[0].header.provenance.get("source", "measured by hwnas")

    @property
    def num_rows(self) -> int:
        """How many operations it holds, over all scopes."""
        return sum(len(part.entries) for part in self.parts)


def library_folder() -> Path:
    """Return the folder of the tables that come with hwnas."""
    packaged = Path(__file__).parents[2] / "_lut"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "lut"


def bundled_names() -> dict[str, Path]:
    """Return the file or folder of every table that comes with hwnas, by name."""
    found: dict[str, Path] = {}
    for folder in sorted(path for path in library_folder().glob("*") if path.is_dir()):
        files = sorted(folder.glob("*.json"))
        if len(files) == 1:
            found[folder.name] = files[0]
        elif files and all("=" in file.stem for file in files):  # scopes: NAME-resolution=160.json
            found[folder.name] = folder
        else:
            found.update({f"{folder.name}/{file.stem}": file for file in files})
    return found


def bundled_tables() -> list[BundledTable]:
    """Return the tables that come with hwnas, read from their files, by name."""
    found = []
    for name, path in bundled_names().items():
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        found.append(BundledTable(name, path, tuple(load_table(file) for file in files)))
    return found


def find_table(name_or_path: str | Path) -> Path:
    """Return the path of a table given as a path, or by the name of one that comes with hwnas.

    Raises:
        InputError: it is neither; lists the names, the nearest first.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    names = bundled_names()
    known = names.get(str(name_or_path))
    if known is not None:
        return known
    near = difflib.get_close_matches(str(name_or_path), names, n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    raise InputError(
        f"table {name_or_path}",
        [
            "there is no such file or folder, and no table that comes with hwnas has this name"
            f"{hint}; names: {', '.join(names)}"
        ],
        "hwnas profile writes tables, hwnas lut list prints those that come with hwnas",
    )
