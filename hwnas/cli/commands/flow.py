"""Verbs that work on a device or a run: profile, retrain, export, bench, report, run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.options import AsJson, Resume, RunPath, Seed, Spread
from hwnas.cli.output import Display, print_json, print_table, print_text
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.pipeline.config.run import RunConfig

logger = logging.getLogger(__name__)

SpaceName = Annotated[str, typer.Option("--space", help="NAME[:key=value,...] or a .yaml file.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="By default the device file's.")
]
Affinity = Annotated[str | None, typer.Option("--affinity", help="CPUs to pin to, as in 4-7.")]


def profile(
    device: Annotated[str, typer.Option("--device", help="A name or a .yaml file.")],
    space: SpaceName,
    out: Annotated[Path, typer.Option("--out", help="The table to write.")],
    runtime: Annotated[str, typer.Option("--runtime", help="litert or onnxruntime")] = "litert",
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, or int8: static, a scale per channel.")
    ] = "fp32",
    threads: Threads = None,
    affinity: Affinity = None,
    calibrate: Annotated[
        int, typer.Option("--calibrate", min=0, help="Whole networks to fit sums to.")
    ] = 0,
    validate: Annotated[
        int, typer.Option("--validate", min=0, help="Whole networks to check predictions on.")
    ] = 0,
    scope: Annotated[
        str | None,
        typer.Option("--scope", help="Only networks of this option, as in resolution=160."),
    ] = None,
    ops: Annotated[
        int | None,
        typer.Option(
            "--ops",
            min=1,
            help="Measure at most so many of the space's operations, "
            "chosen; --predictor op-predictor predicts the others.",
        ),
    ] = None,
    likes: Annotated[
        int,
        typer.Option(
            "--likes",
            min=0,
            help="Measure so many operations of other widths, too, "
            "to predict spaces like this one.",
        ),
    ] = 0,
    seed: Seed = 0,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Measure the operations of a space on a device; write a latency table."""
    from hwnas.cli.commands.tables import print_validation, summary
    from hwnas.device.device import load_device
    from hwnas.device.measurement import disturbance
    from hwnas.device.runner import make_target
    from hwnas.export.convert.cache import ConversionCache
    from hwnas.latency.profile.plan import ProfilePlan
    from hwnas.latency.profile.profiler import profile as measure
    from hwnas.latency.table.scope import parse_scope
    from hwnas.space.catalogue import load_space

    target = make_target(load_device(device), runtime, precision, threads, affinity)
    plan = ProfilePlan(
        load_space(space),
        target,
        calibrate,
        validate,
        seed,
        parse_scope(scope) if scope else {},
        ops,
        likes,
    )
    if plan.is_partial and likes:
        raise UsageError(
            "--likes goes with all operations of a space: give no --ops that leaves some out"
        )
    cache = ConversionCache()
    with Display():
        table = measure(plan, out, resume=resume, cache=cache)
    logger.info(
        f"models made: {cache.made['fp32']} fp32, {cache.made['int8']} int8; all others were in "
        f"{cache.root}"
    )
    slowed = disturbance(
        [
            network.measurement.value()
            for network in table.networks
            if network.space == plan.space.name
        ]
    )
    if slowed:
        logger.warning(slowed)
    if as_json:
        print_json(summary(table, out))
        return
    print_text(
        f"{out}: {len(table.entries)} operations on {target.device.name} "
        f"({table.header.runtime_version}, {target.precision}, {target.threads} thread(s))"
    )
    if plan.is_partial:
        print_text(
            f"of {len(plan.ops)} operations of {plan.space.name}; use it with "
            "--predictor op-predictor"
        )
    print_validation(table)


def retrain(
    run: RunPath,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Of each budget's finalists, the best.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=0,
            help="Instead of the run's own number; 0 with --init: no "
            "training, only the statistics of batch norms.",
        ),
    ] = None,
    lr: Annotated[
        float | None, typer.Option("--lr", help="Instead of the run's own learning rate.")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            help="Fine-tune: begin with the weights of Once-for-All's supernet "
            "in this file (spaces ofa-mbv3), or of --init-arch.",
        ),
    ] = None,
    init_arch: Annotated[
        str | None,
        typer.Option(
            "--init-arch",
            help="--init is torchvision's or timm's file of this model: "
            "finalists that are this network begin with it.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Images instead of the run's own; their classes replace the "
            "head, and predicted latencies stay those of the head searched with.",
        ),
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option("--data-root", help="Where torchvision keeps its data sets.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the finalists on train + arch, from scratch or --init; goes on where it stopped."""
    from hwnas.pipeline.commands.runs import retrain_run

    if init_arch is not None and init is None:
        raise UsageError("--init-arch says whose the file of --init is: give --init, too")
    if data_root is not None and data is None:
        raise UsageError("--data-root is where the set of --data lies: give --data, too")
    with Display():
        found = retrain_run(
            run,
            top=top,
            epochs=epochs,
            lr=lr,
            init=init,
            init_arch=init_arch,
            data=data,
            data_root=data_root,
        )
    if as_json:
        print_json(found)
        return
    print_table(
        ["finalist", "predicted_ms", "search top-1", "val top-1"],
        [
            [
                f["arch_id"],
                f"{f['latency_ms']:.4g}",
                f"{f['search_top1']:.4f}",
                f"{f['val']['top1']:.4f}",
            ]
            for f in found["finalists"]
        ],
    )


def export(
    run: Annotated[Path | None, typer.Option("--run", help="A run with trained finalists.")] = None,
    arch: Annotated[
        Path | None, typer.Option("--arch", help="An architecture file (untrained weights).")
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="onnx,tflite")] = "onnx,tflite",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", help="fp32,int8; by default fp32, and what a run's targets execute."
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="The space file of --arch, if it has one.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Safetensors for --arch.")
    ] = None,
    weights_of: Annotated[
        str | None,
        typer.Option("--weights-of", help="--weights are torchvision's or timm's of this model."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where --arch is exported to.  [default: export]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write ONNX and TFLite models whose outputs equal torch's, in int8 as nearly as is said."""
    if (run is None) == (arch is None):
        raise UsageError("hwnas export needs either --run or --arch")
    if run is not None and (space, weights, weights_of, out) != (None, None, None, None):
        raise UsageError(
            "--space, --weights, --weights-of and --out belong to --arch: a run has its own"
        )
    if weights_of is not None and weights is None:
        raise UsageError("--weights-of says whose the file of --weights is: give --weights, too")
    wanted = tuple(formats.split(","))
    precisions = None if precision is None else tuple(precision.split(","))
    with Display():
        if run is not None:
            from hwnas.pipeline.commands.runs import export_run

            found = export_run(run, formats=wanted, precisions=precisions)
        else:
            from hwnas.pipeline.commands.single import export_arch

            assert arch is not None
            found = export_arch(
                arch,
                wanted,
                space=space,
                weights=weights,
                out=out or Path("export"),
                weights_of=weights_of,
                precisions=precisions or ("fp32",),
            )
    if as_json:
        print_json(found)
        return
    print_table(
        ["model", "kB", "parity with torch", "same class", "images", "val top-1"],
        [
            [
                m["path"],
                f"{m['bytes'] / 1e3:.0f}",
                _parity_text(m["parity"]),
                f"{m['parity']['top1_agreement']:.1%}",
                str(m["parity"]["num_images"]),
                f"{m['val']['top1']:.4f}" if "val" in m else "",
            ]
            for m in found["models"]
        ],
    )


def _parity_text(parity: dict[str, Any]) -> str:
    if "max_rel" in parity:
        return f"{parity['max_rel']:.2e} of the largest"
    left = sum(parity["float_operations"].values())
    sqnr = "exact" if parity["sqnr_db"] is None else f"{parity['sqnr_db']:.1f} dB"
    return f"{sqnr}, {left} float operation(s)" if left else sqnr


def bench(
    models: Annotated[list[str], typer.Argument(help="Model files, or one run folder.")],
    device: Annotated[str | None, typer.Option("--device", help="A name or a .yaml file.")] = None,
    runtime: Annotated[
        str | None, typer.Option("--runtime", help="By default the one of the files' format.")
    ] = None,
    threads: Threads = None,
    affinity: Affinity = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=2, help="Instead of the device's protocol.")
    ] = None,
    spread: Spread = None,
    lut: Annotated[Path | None, typer.Option("--lut", help="A table, to predict with.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure models on a device in interleaved rounds; for a run, also choose its winner."""
    from hwnas.pipeline.commands.runs import bench_run
    from hwnas.pipeline.commands.single import bench_models

    with Display():
        if len(models) == 1 and Path(models[0]).is_dir():
            given = (device, runtime, threads, affinity, rounds, spread, lut)
            if any(option is not None for option in given):
                raise UsageError(
                    "a run folder is measured on its own device: give no --device, "
                    "--runtime, --threads, --affinity, --rounds, --spread or "
                    "--lut"
                )
            found = bench_run(Path(models[0]))
        else:
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
        print_json(found)
        return
    print_table(
        ["model", "latency_ms", "p50_ms", "p95_ms", "runs", "repeats to", "predicted_ms"],
        [
            [
                row["name"],
                *(f"{row['measurement'][key]:.4g}" for key in ("latency_ms", "p50_ms", "p95_ms")),
                str(row["measurement"]["num_runs"]),
                f"{row['measurement']['repeatability']:.1%}",
                f"{row['predicted_ms']:.4g}" if row["predicted_ms"] else "-",
            ]
            for row in found["rows"]
        ],
    )


def report(
    runs: Annotated[list[Path], typer.Argument(help="A run folder; several are compared.")],
    cross: Annotated[
        bool,
        typer.Option("--cross", help="Predict the network of each run on the devices of all."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Of several runs: an HTML page to write.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the run's report: one self-contained HTML page, and its figures as SVG.

    Several runs are compared: a table, and with --out a page.
    """
    if cross:
        _report_cross(runs, out, as_json)
        return
    if len(runs) > 1:
        _report_comparison(runs, out, as_json)
        return
    from hwnas.pipeline.folder import RunFolder
    from hwnas.report.page import write_report

    if out is not None or as_json:
        raise UsageError(
            "--out and --json are for several run folders, got one: its report is written to "
            "report.html in it. Next: hwnas report RUN, or hwnas report RUN RUN --out FILE"
        )
    print_text(str(write_report(RunFolder.existing(runs[0]).path)))


def _report_comparison(runs: list[Path], out: Path | None, as_json: bool) -> None:
    from hwnas.io.journal import write_whole
    from hwnas.pipeline.commands.runs import compare_runs
    from hwnas.report.compare import comparison_page, comparison_rows

    comparison = compare_runs(runs)
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
    from hwnas.report.compare import matrix_page
    from hwnas.report.cross import rows_of

    matrix = cross_runs(runs)
    if out is not None:
        write_whole(out, matrix_page(matrix))
        logger.info(f"written: {out}")
    if as_json:
        print_json(matrix.to_json())
    else:
        print_table(*rows_of(matrix))


def run(
    config: Annotated[Path | None, typer.Argument(help="A run's YAML file.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="demo")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run folder; by default runs/<name>.")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(
            "--confidence",
            min=0.5,
            max=0.9999,
            help="Shrink budgets so that what is "
            "found is within them, when measured, this often; instead of the file's.",
        ),
    ] = None,
    resume: Resume = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the schema of the YAML file and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Do it all: profile, search, retrain, export, bench, report."""
    from hwnas.pipeline.commands.runs import whole_run
    from hwnas.pipeline.config.run import RunConfig, load_config, with_confidence
    from hwnas.pipeline.config.run import preset as load_preset

    if schema:
        print_json(RunConfig.model_json_schema())
        return
    if (config is None) == (preset is None):
        raise UsageError("hwnas run needs either a YAML file or --preset")
    wanted: RunConfig = load_config(config) if config is not None else load_preset(str(preset))
    if confidence is not None:
        wanted = with_confidence(wanted, confidence)
    folder = out or Path("runs") / (config.stem if config is not None else str(preset))
    with Display():
        found = whole_run(wanted, folder, resume=resume)
    if as_json:
        print_json(found)
        return
    _print_run(folder, found)


def _print_run(folder: Path, found: dict[str, Any]) -> None:
    winner = found["winner"]
    verdict = "within" if winner["within_budget"] else "OVER"
    low, high = winner["test"]["ci95"]
    for rejected in winner["rejected"]:
        print_text(
            f"rejected {rejected['arch_id']}: measured {rejected['measured_ms']:.4g} ms, "
            f"{rejected['reason']}"
        )
    print_text(
        f"winner {winner['arch_id']}: measured {winner['measured_ms']:.4g} ms, {verdict} "
        f"the budget of {winner['budget_ms']:.4g} ms (predicted "
        f"{winner['predicted_ms']:.4g} ms)"
    )
    print_text(
        f"test top-1 {winner['test']['top1']:.4f} (95 % interval {low:.4f} to {high:.4f}, "
        f"{winner['test']['num_images']} images)"
    )
    rows = [
        [
            "winner",
            f"{winner['measured_ms']:.4g}",
            f"{winner['test']['top1']:.4f}",
            f"{winner['macs'] / 1e6:.3g}",
            f"{winner['params'] / 1e3:.3g}",
            "",
        ]
    ]
    rows += [
        [
            s["name"],
            f"{s['measured_ms']:.4g}",
            f"{s['test_top1']:.4f}",
            f"{s['macs'] / 1e6:.3g}",
            f"{s['params'] / 1e3:.3g}",
            s["note"],
        ]
        for s in winner["shelf"]
    ]
    print_table(["same rounds", "measured_ms", "test top-1", "M MACs", "k params", "note"], rows)
    for name, parity in winner["parity"].items():
        print_text(f"parity {name}: {_parity_text(parity)}, {parity['num_images']} images")
    for name, one in winner["precisions"].items():
        measured = f"measured {one['measured_ms']:.4g} ms" if one["measured_ms"] else "not measured"
        print_text(
            f"{name}: {measured}, val top-1 {one['val_top1']:.4f}, test top-1 "
            f"{one['test']['top1']:.4f}"
        )
    for path in (*winner["files"].values(), "report.html"):
        print_text(str(folder / path))
