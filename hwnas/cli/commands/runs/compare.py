"""``hwnas runs compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.display import duration
from hwnas.cli.formatting import percent_text, shown
from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb


@verb("hwnas runs compare r r")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more run folders.")],
    as_json: AsJson = False,
) -> None:
    """Compare the settings and results of runs.

    Only settings that differ are listed. hwnas report compares runs in figures.
    """
    from hwnas.pipeline.commands.overview import differing_settings, summarise_run

    settings = differing_settings(runs)
    summaries = [summarise_run(run) for run in runs]
    if as_json:
        print_json(
            {
                "settings": {row.setting: list(row.values) for row in settings},
                "runs": [one.to_json() for one in summaries],
            }
        )
        return
    names = [str(run) for run in runs]
    if settings:
        print_table(["setting", *names], [[row.setting, *map(str, row.values)] for row in settings])
    else:
        print_text("all settings are the same")
    print_table(
        ["result", *names],
        [
            ["state", *(one.state for one in summaries)],
            ["network", *(one.winner or one.found or "-" for one in summaries)],
            ["search top-1", *(percent_text(one.chosen_search_top1) for one in summaries)],
            ["predicted_ms", *(shown(one.chosen_predicted_ms, ".4g") for one in summaries)],
            ["measured_ms", *(shown(one.measured_ms, ".4g") for one in summaries)],
            ["val top-1", *(percent_text(one.val_top1) for one in summaries)],
            ["test top-1", *(percent_text(one.test_top1) for one in summaries)],
            ["time", *(duration(sum(one.stages.values())) for one in summaries)],
        ],
    )
