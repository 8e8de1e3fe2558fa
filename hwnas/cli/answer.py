"""How ``run`` and ``bench`` end: whether the winner is a good network, and where it is."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.output import print_text


def print_verdict(folder: Path) -> None:
    """Print the verdict of a run folder: its headline, its reasons and what would help."""
    from hwnas.report.model import read_run
    from hwnas.report.sections.verdict import verdict

    judged = verdict(read_run(folder))
    for line in (judged.headline, *judged.sentences):
        print_text(line.replace("\u00a0", " "))
    if judged.help:
        print_text(f"What would help: {'; '.join(judged.help)}.")


def print_winner(folder: Path) -> None:
    """Print where the winner's files are, if the run has handed them over."""
    handed = folder / "winner"
    if handed.is_dir():
        files = ", ".join(sorted(path.name for path in handed.iterdir()))
        print_text(f"{handed}: {files}")
