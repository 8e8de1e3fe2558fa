"""Folders that come with hwnas: devices, latency tables, examples."""

from __future__ import annotations

from pathlib import Path


def bundled_folder(name: str) -> Path:
    """Return the folder ``name``: of the installed package, or of the source tree."""
    packaged = Path(__file__).parents[1] / f"_{name}"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / name
