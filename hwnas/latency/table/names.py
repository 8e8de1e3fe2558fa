"""Names of the latency tables that come with hwnas: ``galaxy-note10``, ``pixel-1``.

A name is a folder of ``lut/``, or one table of a folder that holds several that are not of one
scope. A path always goes first: a file or folder of the user's is never hidden by a name.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from hwnas.errors import InputError
from hwnas.io.bundled import bundled_folder


def library_folder() -> Path:
    """Return the folder of the tables that come with hwnas."""
    return bundled_folder("lut")


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


def resolved(path: Path) -> Path:
    """Return ``path``, or the table that comes with hwnas where it is no path but such a name."""
    return path if path.exists() else bundled_names().get(path.as_posix(), path)


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
