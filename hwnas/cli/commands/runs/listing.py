"""``hwnas runs list``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.formatting import percent_text, shown
from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table
from hwnas.cli.verbs import verb

logger = logging.getLogger(__name__)


@verb("hwnas runs list .")
def list_(
    folder: Annotated[Path, typer.Argument(help="The folder to search for runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List the runs in a folder and below it."""
    from hwnas.pipeline.commands.overview import BrokenRun, find_runs

    found = find_runs(folder)
    if as_json:
        print_json([run.to_json() for run in found])
        return
    rows = [
        [
            run.path,
            run.state,
            run.space,
            run.strategy,
            run.targets[0],
            ",".join(f"{ms:.4g}" for ms in run.budgets_ms) or "-",
            shown(run.measured_ms or run.predicted_ms, ".4g")
            + (" predicted" if run.predicted_ms and not run.measured_ms else ""),
            percent_text(run.test_top1),
        ]
        for run in found
        if not isinstance(run, BrokenRun)
    ]
    for run in found:
        if isinstance(run, BrokenRun):
            logger.warning(f"{run.path}: {run.error}")
    header = ["run", "state", "space", "strategy", "target", "budget_ms", "latency_ms"]
    print_table([*header, "test top-1"], rows)
