"""How ``run`` and ``bench`` end: whether the winner is a good network, and where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.cli.output import print_text

if TYPE_CHECKING:
    from hwnas.artifacts.base import JsonObject
    from hwnas.report.sections.verdict import Verdict


def verdict_of(folder: Path) -> Verdict:
    """Return the verdict on a run folder."""
    from hwnas.report.model import read_run
    from hwnas.report.sections.verdict import verdict

    return verdict(read_run(folder))


def verdict_json(folder: Path) -> JsonObject:
    """Return the verdict on a run folder under its key, for ``--json``."""
    return {"verdict": verdict_of(folder).to_json()}


def print_verdict(folder: Path) -> None:
    """Print the verdict of a run folder: its headline, its reasons and what would help."""
    for line in verdict_of(folder).lines():
        print_text(line)


def print_winner(folder: Path) -> None:
    """Print where the winner's files are, if the run has handed them over."""
    handed = folder / "winner"
    if handed.is_dir():
        files = ", ".join(sorted(path.name for path in handed.iterdir()))
        print_text(f"{handed}: {files}")
