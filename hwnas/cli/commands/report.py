"""``hwnas report``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.options import AsJson, option
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError

logger = logging.getLogger(__name__)


@verb("hwnas report r")
def report(
    runs: Annotated[list[Path], typer.Argument(help="A run folder; several are compared.")],
    cross: Annotated[
        bool, option("--cross", help="Predict the network of each run on the devices of all.")
    ] = False,
    out: Annotated[
        Path | None, option("--out", help="For several runs: an HTML page to write.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a run as one HTML page, or compare runs.

    The page of one run is report.html in its folder; its figures are also written as SVG files.
    Several runs are compared in a table, and with --out in a page. Pages need no network.
    """
    if cross:
        _report_cross(runs, out, as_json)
        return
    if len(runs) > 1:
        _report_comparison(runs, out, as_json)
        return
    from hwnas.pipeline.folder import RunFolder

    if out is not None or as_json:
        raise UsageError(
            "--out and --json are for several run folders, got one: its report is written to "
            "report.html in it. Next: hwnas report RUN, or hwnas report RUN RUN --out FILE"
        )
    path = RunFolder.existing(runs[0]).path
    from hwnas.report.page import write_report  # loads matplotlib

    print_text(str(write_report(path)))


def _report_comparison(runs: list[Path], out: Path | None, as_json: bool) -> None:
    from hwnas.io.journal import write_whole
    from hwnas.pipeline.commands.runs import compare_runs

    comparison = compare_runs(runs)
    from hwnas.report.compare import comparison_page, comparison_rows

    if out is not None:
        write_whole(out, comparison_page(comparison))
        logger.info(f"written: {out}")
    if as_json:
        print_json(comparison.to_json())
    else:
        print_table(*comparison_rows(comparison))


def _report_cross(runs: list[Path], out: Path | None, as_json: bool) -> None:
    from hwnas.io.journal import write_whole
    from hwnas.pipeline.commands.runs import cross_runs

    matrix = cross_runs(runs)
    from hwnas.report.compare import matrix_page
    from hwnas.report.cross import rows_of

    if out is not None:
        write_whole(out, matrix_page(matrix))
        logger.info(f"written: {out}")
    if as_json:
        print_json(matrix.to_json())
    else:
        print_table(*rows_of(matrix))
