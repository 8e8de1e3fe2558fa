"""Verbs that look: devices, spaces, tables, predictions, the state of the installation."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.options import PredictorOption, Spread
from hwnas.cli.output import Display, guarded, print_json, print_table, print_text
from hwnas.errors import HwnasError, UsageError

if TYPE_CHECKING:
    from hwnas.search.problem.audit import Audit

logger = logging.getLogger(__name__)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SpaceName = Annotated[str, typer.Option("--space", help="NAME[:key=value,...] or a .yaml file.")]
LutPath = Annotated[Path, typer.Option("--lut", help="A latency table, or a folder of them.")]


def devices(as_json: AsJson = False) -> None:
    """List the devices that come with hwnas."""
    from hwnas.device.device import devices_folder, list_devices

    found = list_devices()
    if as_json:
        print_json([device.model_dump(by_alias=True) for device in found])
        return
    rows = [
        [
            d.name,
            d.transport,
            ",".join(d.runtimes),
            "tested" if d.tested else "untested",
            d.description,
        ]
        for d in found
    ]
    print_table(["device", "transport", "runtimes", "state", "description"], rows)
    logger.info(
        f"Device files: {devices_folder()}; copy one and give its path for a device of your own."
    )


spaces_app = typer.Typer(
    help="List the search spaces, show one, or audit one under a budget.",
    epilog="Example:  hwnas spaces show tiny  ;  "
    "hwnas spaces audit tiny --lut t.json --budget-ms 0.1",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@spaces_app.callback()
def spaces(context: typer.Context, as_json: AsJson = False) -> None:
    """List the built-in search spaces with their sizes."""
    if context.invoked_subcommand is None:
        guarded(_list_spaces)(as_json)


def _list_spaces(as_json: bool) -> None:
    from hwnas.space.catalogue import SPACES
    from hwnas.space.show import describe

    found = [{**describe(name), "summary": entry.help} for name, entry in SPACES.items()]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            f["name"],
            str(f["num_choices"]),
            f"{f['num_codes']:.3g}",
            str(f["num_ops"]),
            "x".join(map(str, f["input_shape"])),
            f"{f['macs'][0] / 1e6:.1f}..{f['macs'][1] / 1e6:.1f}",
            f"{f['params'][0] / 1e6:.2f}..{f['params'][1] / 1e6:.2f}",
            f["summary"],
        ]
        for f in found
    ]
    print_table(["space", "choices", "codes", "ops", "input", "M MACs", "M params", "what"], rows)


@spaces_app.command(epilog="Example:  hwnas spaces show proxyless:width_mult=0.5 --json")
@guarded
def show(
    space: Annotated[str, typer.Argument(help="NAME[:key=value,...] or a .yaml file.")],
    as_json: AsJson = False,
) -> None:
    """Show a space's choices, sizes and an example architecture."""
    from hwnas.space.show import describe

    found = describe(space)
    if as_json:
        print_json(found)
        return
    print_text(
        f"{found['name']}: {found['num_codes']:,} codes, {found['num_ops']} distinct "
        f"operations, input {found['input_shape']}, {found['num_classes']} classes"
    )
    print_table(
        ["choice", "options"],
        [[name, " ".join(map(str, options))] for name, options in found["choices"].items()],
    )
    import json

    print_text("example: " + json.dumps(found["example"]))


@spaces_app.command(epilog="Example:  hwnas spaces audit tiny --lut t.json --budget-ms 0.1")
@guarded
def audit(
    space: Annotated[str, typer.Argument(help="NAME[:key=value,...] or a .yaml file.")],
    lut: LutPath,
    budget_ms: Annotated[float, typer.Option("--budget-ms", help="Latency budget in ms.")],
    predictor: PredictorOption = "lut",
    as_json: AsJson = False,
) -> None:
    """Say what a budget leaves: feasible share, latencies, choices that never matter."""
    from hwnas.cli.commands.tables import predictor_name
    from hwnas.latency.table.files import load_table
    from hwnas.pipeline.prediction import predictor_of
    from hwnas.search.problem.audit import audit as audit_space
    from hwnas.search.problem.limits import Limit, LimitedSpace
    from hwnas.space.catalogue import load_space

    if not 0 < budget_ms < math.inf:
        raise UsageError(f"--budget-ms must be a number above 0, got {budget_ms:g}")
    name = predictor_name(predictor)
    model = predictor_of(load_space(space), load_table(lut), name)
    limit = Limit("latency_ms", budget_ms, str(lut))
    limited = LimitedSpace(model.space, (limit,), {str(lut): model})
    found = audit_space(limited)
    if as_json:
        restricted = [str(r) for r in model.restricted]
        print_json({**found.to_json(), "source": model.source, "restricted": restricted})
    else:
        _print_audit(found)
        for restriction in model.restricted:
            print_text(f"not covered by the table: {restriction}")
    limited.check()


def _print_audit(found: Audit) -> None:
    exact = found.num_feasible_low == found.num_feasible_high
    between = (
        f"{found.num_feasible_low:,}"
        if exact
        else f"{found.num_feasible_low:.6g} to {found.num_feasible_high:.6g}"
    )
    print_text(
        f"{between} of {found.num_codes:,} codes ({found.share:.2%}) are within "
        f"{found.budget_ms:g} ms; the space reaches from {found.fastest_ms:.4g} to "
        f"{found.slowest_ms:.4g} ms"
    )
    print_table(
        ["percent of codes", "latency_ms"],
        [[share, f"{ms:.4g}"] for share, ms in found.percentiles.items()],
    )
    rows = []
    for choice in found.choices:
        notes = []
        if choice.impossible:
            notes.append("never within the budget: " + " ".join(map(str, choice.impossible)))
        if choice.is_forced:
            notes.append("only one option is left")
        if choice.is_negligible:
            notes.append("does not matter to latency: below what a measurement repeats to")
        rows.append([choice.name, f"{choice.spread_ms:.4g}", "; ".join(notes)])
    print_table(["choice", "spread_ms", "under this budget"], rows)


lut_app = typer.Typer(
    help="Look at, combine, compare and check latency tables.",
    epilog="Example:  hwnas lut show t.json --hot  ;  hwnas lut check t.json --device host",
    no_args_is_help=True,
    rich_markup_mode=None,
)
TableFile = Annotated[Path, typer.Argument(help="A latency table.")]


@lut_app.command("show", epilog="Example:  hwnas lut show t.json --hot")
@guarded
def lut_show(
    file: Annotated[Path, typer.Argument(help="A latency table, or a folder of scoped ones.")],
    hot: Annotated[
        bool, typer.Option("--hot", help="Slowest operations first, and where time goes.")
    ] = False,
    space: Annotated[
        str | None,
        typer.Option("--space", help="Breakdown: of whose networks; by default the table's."),
    ] = None,
    arch: Annotated[
        Path | None, typer.Option("--arch", help="Breakdown: of one network, in a JSON file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a table: where it is from, its rows, calibration and validation.

    With --hot also where the time of a space's networks goes: by operation, kind, size and
    option, with the MACs per second of each.
    """
    from hwnas.cli.commands.tables import show_table

    if (space is not None or arch is not None) and not hot:
        raise UsageError("--space and --arch belong to --hot")
    show_table(file, hot=hot, as_json=as_json, space=space, arch=arch)


@lut_app.command(
    "import",
    epilog="Example:  hwnas lut import --format ofa 160_lookup_table.yaml 224_lookup_table.yaml "
    "--device galaxy-note10 --out note10",
)
@guarded
def lut_import(
    files: Annotated[list[Path], typer.Argument(help="Published tables, YAML; or lines of sums.")],
    table_format: Annotated[str, typer.Option("--format", help="ofa|proxyless|sums")],
    device: Annotated[str, typer.Option("--device", help="The device they were measured on.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write tables into.")],
    space: Annotated[
        str | None, typer.Option("--space", help="Of sums: the space of their networks.")
    ] = None,
    runtime: Annotated[
        str, typer.Option("--runtime", help="What ran there: litert|onnxruntime.")
    ] = "litert",
    precision: Annotated[str, typer.Option("--precision", help="fp32")] = "fp32",
    threads: Annotated[int, typer.Option("--threads", min=1, help="How many threads.")] = 1,
    affinity: Annotated[
        str | None, typer.Option("--affinity", help="The CPUs it was bound to, as 4-7.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take latencies that look as if not in ms, or no sums.")
    ] = False,
) -> None:
    """Read latency tables that others published; a folder of them is used as one table.

    Of sums (lines {"arch": {...}, "latency_ms": 3.1}) the table is solved, and its rank and
    residual are stated.
    """
    from hwnas.cli.commands.tables import import_files

    for path, said in import_files(
        files,
        table_format,
        out,
        space=space,
        force=force,
        target=(device, runtime, precision, threads, affinity),
    ):
        print_text(f"{path}: " + "\n  ".join(said))


@lut_app.command("merge", epilog="Example:  hwnas lut merge a.json b.json --out c.json")
@guarded
def lut_merge(
    files: Annotated[list[Path], typer.Argument(help="Tables of one target.")],
    out: Annotated[Path, typer.Option("--out", help="The table to write.")],
) -> None:
    """Write one table with the rows of several of the same target."""
    from hwnas.latency.table.files import load_table, merge_tables, save_table

    if out.exists():
        raise UsageError(f"{out} exists. Next: choose another --out")
    merged = merge_tables([load_table(f) for f in files], [str(f) for f in files])
    save_table(merged, out)
    print_text(f"{out}: {len(merged.entries)} rows")


@lut_app.command("diff", epilog="Example:  hwnas lut diff old.json new.json")
@guarded
def lut_diff(old: TableFile, new: TableFile, as_json: AsJson = False) -> None:
    """Say which operations moved between two tables, and by how much."""
    from hwnas.cli.commands.tables import diff_tables

    diff_tables(old, new, as_json=as_json)


@lut_app.command("check", epilog="Example:  hwnas lut check t.json --device host")
@guarded
def lut_check(
    file: TableFile,
    device: Annotated[str, typer.Option("--device", help="The device to measure on.")],
    space: Annotated[
        str | None, typer.Option("--space", help="Whose sentinels, if the table has several.")
    ] = None,
    anchors: Annotated[
        int,
        typer.Option(
            "--anchors",
            min=1,
            max=100,
            help="Networks to time again; more tell a drift more surely.",
        ),
    ] = 3,
    spread: Spread = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write a table of today beside FILE, which stays.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Time a few networks of a table again: does it still hold? Exit 1 if not."""
    from hwnas.cli.commands.tables import check_file, state_text

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


def predict(
    space: SpaceName,
    archs: Annotated[Path, typer.Option("--archs", help="Architectures, one JSON a line.")],
    lut: Annotated[
        Path | None, typer.Option("--lut", help="A latency table, or a folder of them.")
    ] = None,
    predictor: PredictorOption = "lut",
    measured: Annotated[
        Path | None,
        typer.Option("--measured", help="Networks timed on a device without a table, JSON lines."),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--sources", help="Networks timed on other devices, JSON lines."),
    ] = None,
    more_sources: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="More files of --sources.")
    ] = None,
    suggest: Annotated[
        int | None, typer.Option("--suggest", help="Say which so many of --archs to time.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Use a table that looks as if not in ms.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predict the latency of a list of architectures: one line out per line in.

    From a table; or, for a device without one, from a few networks timed on it and other devices.
    """
    others = [*(sources or []), *(more_sources or [])]
    if more_sources and not sources:
        raise UsageError(f"what is {more_sources[0]}? Files of other devices follow --sources")
    if lut is not None:
        if measured or others or suggest is not None:
            raise UsageError(
                "--lut predicts from a table, --measured, --sources and --suggest "
                "are for a device without one: use one or the others"
            )
        from hwnas.cli.commands.tables import predict_file, predictor_name

        text, num_errors = predict_file(
            space, lut, archs, predictor_name(predictor), force=force, as_json=as_json
        )
    else:
        from hwnas.cli.commands.transfer import suggest_file, transfer_file

        if suggest is not None:
            text, num_errors = suggest_file(
                space, suggest, measured, others, archs, as_json=as_json
            )
        elif measured is not None:
            text, num_errors = transfer_file(space, measured, others, archs, as_json=as_json)
        else:
            raise UsageError(
                "predict needs --lut TABLE, or --measured FILE of networks timed on "
                "the device (--suggest 10 says which to time)"
            )
    typer.echo(text, nl=False)
    if num_errors:
        raise HwnasError(
            f"{num_errors} line(s) of {archs} could not be predicted; each says why "
            "under its error key"
        )


def doctor(
    device: Annotated[
        str | None, typer.Option("--device", help="Check this device and the way to it instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what this host, or a device, can do, what is missing, and what mends it."""
    from hwnas.cli.commands.doctor import examine

    found = examine(device)
    if as_json:
        print_json([{"check": c.name, "ok": c.ok, "says": c.says} for c in found])
    else:
        print_table(
            ["check", "state", "says"],
            [[c.name, "ok" if c.ok else "FAILED", c.says] for c in found],
        )
    if not all(check.ok for check in found):
        raise HwnasError("something that hwnas needs is missing; see the lines marked FAILED")
