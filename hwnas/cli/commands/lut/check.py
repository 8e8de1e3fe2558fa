"""``hwnas lut check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.display import Display
from hwnas.cli.formatting import state_text
from hwnas.cli.options import AsJson, Spread, option
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb


@verb("hwnas lut check t.json --device host")
def check(
    file: Annotated[Path, typer.Argument(help="A latency table.")],
    device: Annotated[str, option("--device", help="The device to measure on.")],
    space: Annotated[
        str | None, option("--space", help="The space of the networks, if the table has several.")
    ] = None,
    anchors: Annotated[
        int,
        option(
            "--anchors",
            min=1,
            max=100,
            help="Networks to time; more make the estimate of the drift surer.",
        ),
    ] = 3,
    spread: Spread = None,
    update: Annotated[
        bool, option("--update", help="Write a recalibrated table to a new file next to FILE.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure whether a table still holds.

    It times a few of the table's networks again; the exit code is 1 if their latencies moved.
    """
    from hwnas.pipeline.commands.tables import check_file

    with Display():
        found, out = check_file(file, device, space, anchors, spread_s=spread or 0.0, update=update)
    if as_json:
        print_json({**found.to_json(), "updated": str(out) if out else None})
    else:
        print_table(
            ["anchor", "recorded_ms", "measured_ms", "ratio"],
            [
                [s.arch_id, f"{s.recorded_ms:.5g}", f"{s.measured_ms:.5g}", f"{s.ratio:.3f}"]
                for s in found.anchors
            ],
        )
        print_text(f"device before: {state_text(found.state_before)}")
        print_text(f"device after:  {state_text(found.state_after)}")
        print_text(found.verdict())
        if found.disturbance:
            print_text(found.disturbance)
        if out:
            print_text(f"a table of today, by drift {found.model}: {out}; {file} is as it was")
    if not found.holds:
        raise typer.Exit(1)
