"""The latency tables that come with hwnas, with their source and the spaces that they cover."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwnas.latency.table.files import load_table
from hwnas.latency.table.names import bundled_names
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


def bundled_tables() -> list[BundledTable]:
    """Return the tables that come with hwnas, read from their files, by name."""
    found = []
    for name, path in bundled_names().items():
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        found.append(BundledTable(name, path, tuple(load_table(file) for file in files)))
    return found
