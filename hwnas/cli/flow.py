"""Verbs that work: profile, search, retrain, export, bench, report, run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.door import Display, print_json, print_table, print_text, say
from hwnas.errors import HwnasError, InputError, UsageError

if TYPE_CHECKING:
    from hwnas.pipeline.config import RunConfig

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what was begun.")]
SpaceName = Annotated[str, typer.Option("--space", help="NAME[:key=value,...] or a .yaml file.")]
RunPath = Annotated[Path, typer.Option("--run", help="A run folder.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="By default the device file's.")
]
Affinity = Annotated[str | None, typer.Option("--affinity", help="CPUs to pin to, as in 4-7.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides every random draw.")]
BudgetsMs = Annotated[
    list[str] | None,
    typer.Option("--budget-ms", help="Budget of the --lut in the same place; several for the "
                 "first: 20,30,40."),
]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="Where torchvision keeps its data sets.")
]
TableDevices = Annotated[
    list[str] | None,
    typer.Option("--device", help="Device of the --lut in the same place, where it is a .yaml "
                 "file of your own; by default the one the table names."),
]
Limits = Annotated[
    list[str] | None, typer.Option("--limit", help="params=4e6, macs=3e8 or size_mb=8")
]
Evaluations = Annotated[
    int, typer.Option("--evaluations", min=1, help="Networks to score, per budget.")
]
Headroom = Annotated[
    float | None,
    typer.Option("--headroom", help="Share of a budget left free for errors of prediction; "
                 "by default from the table's own errors, at most 0.05."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Trainings at a time; by default one per core."),
]


def profile(
    device: Annotated[str, typer.Option("--device", help="A name or a .yaml file.")],
    space: SpaceName,
    out: Annotated[Path, typer.Option("--out", help="The table to write.")],
    runtime: Annotated[str, typer.Option("--runtime", help="litert or onnxruntime")] = "litert",
    precision: Annotated[str, typer.Option("--precision", help="fp32")] = "fp32",
    threads: Threads = None,
    affinity: Affinity = None,
    calibrate: Annotated[
        int, typer.Option("--calibrate", min=0, help="Whole networks to fit sums to.")
    ] = 0,
    validate: Annotated[
        int, typer.Option("--validate", min=0, help="Whole networks to check predictions on.")
    ] = 0,
    seed: Seed = 0,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Measure every operation of a space on a device; write a latency table."""
    from hwnas.cli.tables import print_validation, summary
    from hwnas.latency.device import load_device
    from hwnas.latency.profiler import ProfilePlan
    from hwnas.latency.profiler import profile as measure
    from hwnas.latency.runner import make_target
    from hwnas.space.catalogue import load_space

    target = make_target(load_device(device), runtime, precision, threads, affinity)
    plan = ProfilePlan(load_space(space), target, calibrate, validate, seed)
    with Display() as display:
        table = measure(plan, out, resume=resume, progress=display)
    if as_json:
        print_json(summary(table, out))
        return
    print_text(f"{out}: {len(table.entries)} operations on {target.device.name} "
               f"({table.header.runtime_version}, {threads or target.threads} thread(s))")
    print_validation(table)


def search(
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")],
    space: Annotated[
        str | None, typer.Option("--space", help="NAME[:key=value,...] or a .yaml file.")
    ] = None,
    lut: Annotated[
        list[Path] | None, typer.Option("--lut", help="A latency table (repeatable).")
    ] = None,
    budget_ms: BudgetsMs = None,
    data: Annotated[
        str | None, typer.Option("--data", help="digits, a folder, or a torchvision set.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A run's YAML file, instead of the options but for --out."),
    ] = None,
    data_root: DataRoot = None,
    device: TableDevices = None,
    limit: Limits = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="random, proxyless or proxyless-rl")
    ] = "random",
    evaluator: Annotated[
        str | None,
        typer.Option("--evaluator", help="scratch or supernet; by default what the strategy needs"),
    ] = None,
    evaluations: Evaluations = 16,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Of the supernet, or of each scratch evaluation.")
    ] = None,
    gradient: Annotated[
        str | None, typer.Option("--gradient", help="two or full, of proxyless.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Finalists to keep.")] = 3,
    headroom: Headroom = None,
    seed: Seed = 0,
    workers: Workers = None,
    torch_device: Annotated[
        str, typer.Option("--torch-device", help="Where to train: cpu, cuda, cuda:1.")
    ] = "cpu",
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Search a space under budgets; write a run folder with the finalists."""
    from hwnas.pipeline.config import load_config
    from hwnas.pipeline.run import search_run

    if config is not None:
        given = [space, lut, budget_ms, data, data_root, limit, device, evaluator, epochs, gradient,
                 headroom, workers, strategy != "random", evaluations != 16, top != 3, seed,
                 torch_device != "cpu"]
        if any(given):
            raise UsageError("--config holds all of the run: beside it only --out, --resume and "
                             "--json may be given, no --space, --seed, --epochs or the like")
        wanted = load_config(config)
    else:
        missing = [name for name, given in (("--space", space), ("--lut", lut), ("--data", data),
                                            ("--budget-ms", budget_ms)) if not given]
        if missing:
            raise UsageError(f"hwnas search needs {', '.join(missing)}, or a file with --config")
        wanted = _parsed({
            "space": space,
            "data": data,
            "data_root": str(data_root) if data_root else None,
            "targets": _targets(lut or [], device, budget_ms or [], headroom),
            "limits": _limits(limit or []),
            "search": _search_options(strategy, evaluator, evaluations, epochs, gradient),
            "retrain": {"top": top},
            "seed": seed,
            "workers": workers,
            "torch_device": torch_device,
        })
    with Display() as display:
        found = search_run(wanted, out, resume=resume, progress=display, say=say)
    if as_json:
        print_json(found)
    else:
        _print_search(out, found)


def _search_options(
    strategy: str, evaluator: str | None, evaluations: int, epochs: int | None,
    gradient: str | None,
) -> dict[str, Any]:
    used = evaluator or ("scratch" if strategy == "random" else "supernet")
    options: dict[str, Any] = {"strategy": strategy, "evaluator": used, "evaluations": evaluations}
    if epochs is not None:
        recipe = {"recipe": {"epochs": epochs}}
        options |= {"supernet": recipe} if used == "supernet" else recipe
    if gradient is not None and strategy != "proxyless":
        raise UsageError(f"--gradient belongs to --strategy proxyless, not to {strategy}")
    if gradient is not None:
        options["gates"] = {"gradient": gradient}
    return options


def evaluate(
    run: RunPath,
    archs: Annotated[Path, typer.Option("--archs", help="Architectures, one JSON a line.")],
    as_json: AsJson = False,
) -> None:
    """Score architectures as a run's search does: by its supernet, or by training each."""
    import json

    from hwnas.pipeline.run import evaluate_run

    with Display() as display:
        records = evaluate_run(run, archs, progress=display, say=say)
    for record in records:
        if as_json:
            print_text(json.dumps(record))
        elif "error" in record:
            print_text(f"error: {record['error']}")
        else:
            print_text(f"{record['arch_id']}  top-1 {record['top1']:.4f}  loss "
                       f"{record['loss']:.4f}  {record['source']}")
    num_bad = sum("error" in record for record in records)
    if num_bad:
        raise HwnasError(f"{num_bad} of {len(records)} lines of {archs} could not be scored; what "
                         "is wrong stands in their place above")


def _print_search(out: Path, found: dict[str, Any]) -> None:
    for answer in found["answers"]:
        limits_text = ", ".join(f"{one['metric']} <= {one['max']:g}" for one in answer["limits"])
        best = answer["best"]
        print_text(f"{limits_text}: " + (
            f"{best['arch_id']} predicted {best['latency_ms']:.4g} ms, "
            f"top-1 {best['objectives']['top1']['value']:.4f} on val" if best else
            "no evaluated network meets it"))
    print_text(f"Finalists are in {out / 'finalists.json'}. Next: hwnas retrain --run {out}")


def _targets(
    lut: list[Path], device: list[str] | None, budget_ms: list[str], headroom: float | None
) -> list[dict[str, Any]]:
    """Return the targets that --lut, --device and --budget-ms describe in the same order."""
    devices: list[str | None] = [*device] if device else [None] * len(lut)
    if not len(lut) == len(budget_ms) == len(devices):
        raise UsageError("--lut, --budget-ms and --device pair up in order: got "
                         f"{len(lut)}, {len(budget_ms)} and {len(device or [])}")
    return [
        {**_target_of(table, name), "table": str(table), "budget_ms": _budgets(text),
         "headroom": headroom}
        for table, name, text in zip(lut, devices, budget_ms, strict=True)
    ]


def _limits(texts: list[str]) -> dict[str, float]:
    from hwnas.search.limits import parse_limit

    limits = [parse_limit(text) for text in texts]
    found = {limit.metric: limit.maximum for limit in limits}
    if len(found) < len(limits):
        raise UsageError(f"--limit takes each metric once, got {', '.join(texts)}")
    return found


def _parsed(options: dict[str, Any]) -> RunConfig:
    """Return the run's configuration; what is wrong with it is a wrong use of the options."""
    from hwnas.files import parse_model
    from hwnas.pipeline.config import RunConfig

    try:
        return parse_model(RunConfig, options, what="options of hwnas search",
                           next_step="hwnas search --help lists them")
    except InputError as error:
        raise UsageError(str(error)) from None


def _budgets(text: str) -> float | list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--budget-ms must be numbers as in 20 or 20,30, got {text!r}") from None
    return values if len(values) > 1 else values[0]


def _target_of(table: Path, device: str | None) -> dict[str, Any]:
    """Return the device settings a table was measured with, for the later stages."""
    from hwnas.latency.device import load_device
    from hwnas.latency.table import load_table

    header = load_table(table).header
    if device is None:
        try:
            load_device(header.device)
        except InputError as error:
            raise UsageError(f"{table} was measured on {header.device}, which does not come with "
                             "hwnas. Next: give its file with --device FILE.yaml") from error
    return {"device": device or header.device, "runtime": header.runtime,
            "precision": header.precision, "threads": header.threads, "affinity": header.affinity}


def retrain(
    run: RunPath,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="Of each budget's finalists, the best.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Instead of the run's own number.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the finalists from scratch on train + arch; continues where it was stopped."""
    from hwnas.pipeline.run import retrain_run

    with Display() as display:
        found = retrain_run(run, top=top, epochs=epochs, progress=display, say=say)
    if as_json:
        print_json(found)
        return
    print_table(["finalist", "predicted_ms", "search top-1", "val top-1"],
                [[f["arch_id"], f"{f['latency_ms']:.4g}", f"{f['search_top1']:.4f}",
                  f"{f['val']['top1']:.4f}"] for f in found["finalists"]])


def export(
    run: Annotated[Path | None, typer.Option("--run", help="A run with trained finalists.")] = None,
    arch: Annotated[
        Path | None, typer.Option("--arch", help="An architecture file (untrained weights).")
    ] = None,
    formats: Annotated[str, typer.Option("--format", help="onnx,tflite")] = "onnx,tflite",
    precision: Annotated[str, typer.Option("--precision", help="fp32")] = "fp32",
    space: Annotated[
        str | None, typer.Option("--space", help="The space file of --arch, if it has one.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Safetensors for --arch.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where --arch is exported to.  [default: export]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write ONNX and TFLite models whose outputs equal torch's."""
    from hwnas.pipeline.run import export_arch, export_run

    if precision != "fp32":
        raise UsageError(f"--precision {precision!r} is not supported; allowed: fp32")
    if (run is None) == (arch is None):
        raise UsageError("hwnas export needs either --run or --arch")
    if run is not None and (space, weights, out) != (None, None, None):
        raise UsageError("--space, --weights and --out belong to --arch: a run has its own")
    wanted = tuple(formats.split(","))
    with Display() as display:
        if run is not None:
            found = export_run(run, formats=wanted, progress=display, say=say)
        else:
            assert arch is not None
            found = export_arch(arch, wanted, space=space, weights=weights,
                                out=out or Path("export"))
    if as_json:
        print_json(found)
        return
    print_table(["model", "kB", "parity max|a-b|/max|torch|", "images"],
                [[m["path"], f"{m['bytes'] / 1e3:.0f}", f"{m['parity']['max_rel']:.2e}",
                  str(m["parity"]["num_images"])] for m in found["models"]])


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
    lut: Annotated[Path | None, typer.Option("--lut", help="A table, to predict with.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure models on a device in interleaved rounds; for a run, also choose its winner."""
    from hwnas.pipeline.run import bench_models, bench_run

    with Display() as display:
        if len(models) == 1 and Path(models[0]).is_dir():
            given = (device, runtime, threads, affinity, rounds, lut)
            if any(option is not None for option in given):
                raise UsageError("a run folder is measured on its own device: give no --device, "
                                 "--runtime, --threads, --affinity, --rounds or --lut")
            found = bench_run(Path(models[0]), progress=display, say=say)
        else:
            found = bench_models([Path(m) for m in models], device or "host", runtime, threads,
                                 affinity, rounds=rounds, lut=lut, progress=display,
                                 say=say)
    if as_json:
        print_json(found)
        return
    print_table(
        ["model", "latency_ms", "p50_ms", "p95_ms", "runs", "repeats to", "predicted_ms"],
        [[row["name"], *(f"{row['measurement'][key]:.4g}"
                         for key in ("latency_ms", "p50_ms", "p95_ms")),
          str(row["measurement"]["num_runs"]), f"{row['measurement']['repeatability']:.1%}",
          f"{row['predicted_ms']:.4g}" if row["predicted_ms"] else "-"] for row in found["rows"]],
    )


def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write the run's report: one self-contained HTML page, and its figures as SVG."""
    from hwnas.pipeline.folder import RunFolder
    from hwnas.report.page import write_report

    print_text(str(write_report(RunFolder.existing(run).path)))


def run(
    config: Annotated[Path | None, typer.Argument(help="A run's YAML file.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="demo")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run folder; by default runs/<name>.")
    ] = None,
    resume: Resume = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the schema of the YAML file and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Do it all: profile, search, retrain, export, bench, report."""
    from hwnas.pipeline.config import RunConfig, load_config
    from hwnas.pipeline.config import preset as load_preset
    from hwnas.pipeline.run import whole_run

    if schema:
        print_json(RunConfig.model_json_schema())
        return
    if (config is None) == (preset is None):
        raise UsageError("hwnas run needs either a YAML file or --preset")
    wanted: RunConfig = load_config(config) if config is not None else load_preset(str(preset))
    folder = out or Path("runs") / (config.stem if config is not None else str(preset))
    with Display() as display:
        found = whole_run(wanted, folder, resume=resume, progress=display, say=say)
    if as_json:
        print_json(found)
        return
    _print_run(folder, found)


def _print_run(folder: Path, found: dict[str, Any]) -> None:
    winner = found["winner"]
    verdict = "within" if winner["within_budget"] else "OVER"
    low, high = winner["test"]["ci95"]
    for rejected in winner["rejected"]:
        print_text(f"rejected {rejected['arch_id']}: measured {rejected['measured_ms']:.4g} ms, "
                   f"{rejected['reason']}")
    print_text(f"winner {winner['arch_id']}: measured {winner['measured_ms']:.4g} ms, {verdict} "
               f"the budget of {winner['budget_ms']:.4g} ms (predicted "
               f"{winner['predicted_ms']:.4g} ms)")
    print_text(f"test top-1 {winner['test']['top1']:.4f} (95 % interval {low:.4f} to {high:.4f}, "
               f"{winner['test']['num_images']} images)")
    rows = [["winner", f"{winner['measured_ms']:.4g}", f"{winner['test']['top1']:.4f}",
             f"{winner['macs'] / 1e6:.3g}", f"{winner['params'] / 1e3:.3g}", ""]]
    rows += [[s["name"], f"{s['measured_ms']:.4g}", f"{s['test_top1']:.4f}",
              f"{s['macs'] / 1e6:.3g}", f"{s['params'] / 1e3:.3g}", s["note"]]
             for s in winner["shelf"]]
    print_table(["same rounds", "measured_ms", "test top-1", "M MACs", "k params", "note"], rows)
    for name, parity in winner["parity"].items():
        print_text(f"parity {name}: {parity['max_rel']:.2e} over {parity['num_images']} images")
    for path in (*winner["files"].values(), "report.html"):
        print_text(str(folder / path))
