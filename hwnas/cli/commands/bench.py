"""``hwnas bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.answer import print_verdict, print_winner, verdict_json
from hwnas.cli.display import Display
from hwnas.cli.options import TARGET, Affinity, AsJson, Device, Spread, Threads, option
from hwnas.cli.output import print_json, print_table
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.artifacts.answers import TimedModels
    from hwnas.artifacts.benched import BenchFile


@verb("hwnas bench r --json")
def bench(
    models: Annotated[list[str], typer.Argument(help="Model files, or one run folder.")],
    device: Device = None,
    runtime: Annotated[
        str | None,
        option("--runtime", panel=TARGET, help="By default the runtime of the files' format."),
    ] = None,
    threads: Threads = None,
    affinity: Affinity = None,
    rounds: Annotated[
        int | None,
        option("--rounds", panel=TARGET, min=2, help="Instead of the device file's number."),
    ] = None,
    spread: Spread = None,
    lut: Annotated[
        Path | None,
        option("--lut", panel=TARGET, help="A latency table, to print predictions as well."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure models on a device; select the winner of a run.

    All models are measured in the same rounds, in a random order in each round.
    """
    found: BenchFile | TimedModels
    run = Path(models[0]) if len(models) == 1 and Path(models[0]).is_dir() else None
    with Display():
        if run is not None:
            given = (device, runtime, threads, affinity, rounds, spread, lut)
            if any(option is not None for option in given):
                raise UsageError(
                    "a run folder is measured on its own device: give no --device, "
                    "--runtime, --threads, --affinity, --rounds, --spread or "
                    "--lut"
                )
            from hwnas.pipeline.commands.runs import bench_run

            found = bench_run(run)
        else:
            from hwnas.pipeline.commands.single import bench_models

            found = bench_models(
                [Path(m) for m in models],
                device or "host",
                runtime,
                threads,
                affinity,
                rounds=rounds,
                spread_s=spread or 0.0,
                lut=lut,
            )
    if as_json:
        print_json({**found.to_json(), **({} if run is None else verdict_json(run))})
        return
    print_table(
        ["model", "latency_ms", "p50_ms", "p95_ms", "runs", "repeats to", "predicted_ms"],
        [
            [
                row.name,
                f"{row.measurement.latency_ms:.4g}",
                f"{row.measurement.p50_ms:.4g}",
                f"{row.measurement.p95_ms:.4g}",
                str(row.measurement.num_runs),
                f"{row.measurement.repeatability:.1%}",
                f"{row.predicted_ms:.4g}" if row.predicted_ms else "-",
            ]
            for row in found.rows
        ],
    )
    if run is not None:
        print_verdict(run)
        print_winner(run)
