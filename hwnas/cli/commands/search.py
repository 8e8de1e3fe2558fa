"""Verbs that look for networks: search, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.options import AsJson, PredictorOption, Resume, RunPath, Seed
from hwnas.cli.output import Display, print_json, print_text
from hwnas.errors import HwnasError, InputError, UsageError
from hwnas.search.evaluators.registry import BUILTIN_EVALUATORS, EvaluatorSpec
from hwnas.search.strategies.registry import BUILTIN_STRATEGIES, STRATEGIES

if TYPE_CHECKING:
    from hwnas.pipeline.config.run import RunConfig

BudgetsMs = Annotated[
    list[str] | None,
    typer.Option(
        "--budget-ms",
        help="Budget of the --lut in the same place; several for the first: 20,30,40.",
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="Where torchvision keeps its data sets.")
]
TableDevices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="Device of the --lut in the same place, where it is a .yaml "
        "file of your own; by default the one the table names.",
    ),
]
Limits = Annotated[
    list[str] | None, typer.Option("--limit", help="params=4e6, macs=3e8 or size_mb=8")
]
Evaluations = Annotated[
    int, typer.Option("--evaluations", min=1, help="Networks to score, per budget.")
]
Headroom = Annotated[
    float | None,
    typer.Option(
        "--headroom",
        help="Share of a budget left free for errors of prediction; "
        "by default from the table's own errors, at most 0.05.",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        "--confidence",
        min=0.5,
        max=0.9999,
        help="Instead of --headroom: shrink budgets "
        "so that what is found is within them, when measured, this often (0.95).",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Trainings at a time; by default one per core."),
]


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
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="What the tables must be of: fp32 or int8; by default what they are of.",
        ),
    ] = None,
    limit: Limits = None,
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            help=f"How networks are proposed: {', '.join(BUILTIN_STRATEGIES)}, or a plugin's.",
        ),
    ] = "random",
    evaluator: Annotated[
        str | None,
        typer.Option(
            "--evaluator",
            help=f"How networks are scored: {', '.join(BUILTIN_EVALUATORS)}, or a plugin's; by "
            "default what the strategy needs. With a FILE no --data is needed.",
        ),
    ] = None,
    surrogate: Annotated[
        bool,
        typer.Option(
            "--surrogate", help="Evaluate what a predictor, fitted on the way, expects most of."
        ),
    ] = False,
    seed_archs: Annotated[
        str | None,
        typer.Option("--seed-archs", help="Networks to score first: known, or an arch file."),
    ] = None,
    halving: Annotated[
        int | None,
        typer.Option(
            "--halving",
            help="Scratch: train one network in this many as many times as "
            "long (successive halving).",
        ),
    ] = None,
    evaluations: Evaluations = 16,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help="Of the supernet, or of each scratch evaluation; 0 with "
            "--init: the supernet stays as published.",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            help="The supernet begins with the weights of Once-for-All's in "
            "this file (spaces ofa-mbv3), or of --init-arch (mobile).",
        ),
    ] = None,
    init_arch: Annotated[
        str | None,
        typer.Option(
            "--init-arch",
            help="--init is torchvision's or timm's file of this model: "
            "it fills the slices it covers.",
        ),
    ] = None,
    gradient: Annotated[
        str | None, typer.Option("--gradient", help="two or full, of proxyless.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Finalists to keep.")] = 3,
    headroom: Headroom = None,
    confidence: Confidence = None,
    predictor: PredictorOption = "lut",
    seed: Seed = 0,
    workers: Workers = None,
    torch_device: Annotated[
        str, typer.Option("--torch-device", help="Where to train: cpu, cuda, cuda:1.")
    ] = "cpu",
    force: Annotated[
        bool, typer.Option("--force", help="Use tables that look as if not in ms.")
    ] = False,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Search a space under budgets; write a run folder with the finalists."""
    from hwnas.pipeline.commands.runs import search_run
    from hwnas.pipeline.config.run import load_config

    if config is not None:
        given = [
            space,
            lut,
            budget_ms,
            data,
            data_root,
            limit,
            device,
            evaluator,
            epochs,
            gradient,
            headroom,
            confidence,
            workers,
            strategy != "random",
            evaluations != 16,
            top != 3,
            seed,
            torch_device != "cpu",
            surrogate,
            seed_archs,
            halving,
            init,
            init_arch,
            force,
            precision,
            predictor != "lut",
        ]
        if any(given):
            raise UsageError(
                "--config holds all of the run: beside it only --out, --resume and "
                "--json may be given, no --space, --seed, --epochs or the like"
            )
        wanted = load_config(config)
    else:
        needs_images = _evaluator(strategy, evaluator).entry.needs_images
        missing = [
            name
            for name, given in (
                ("--space", space),
                ("--lut", lut),
                ("--data", data or not needs_images),
                ("--budget-ms", budget_ms),
            )
            if not given
        ]
        if missing:
            raise UsageError(f"hwnas search needs {', '.join(missing)}, or a file with --config")
        wanted = _parsed(
            {
                "space": space,
                "data": data,
                "data_root": str(data_root) if data_root else None,
                "targets": _of_precision(
                    precision,
                    lut or [],
                    _targets(lut or [], device, budget_ms or [], headroom, predictor, force=force),
                ),
                "confidence": confidence,
                "limits": _limits(limit or []),
                "search": {
                    **_search_options(
                        strategy,
                        evaluator,
                        evaluations,
                        epochs,
                        gradient,
                        _start_options(init, init_arch, epochs),
                    ),
                    "surrogate": surrogate,
                    "seed_archs": seed_archs,
                    "halving": None if halving is None else {"eta": halving},
                },
                "retrain": {"top": top},
                "seed": seed,
                "workers": workers,
                "torch_device": torch_device,
            }
        )
    with Display():
        found = search_run(wanted, out, resume=resume)
    if as_json:
        print_json(found)
    else:
        _print_search(out, found)


def _search_options(
    strategy: str,
    evaluator: str | None,
    evaluations: int,
    epochs: int | None,
    gradient: str | None,
    start: dict[str, Any],
) -> dict[str, Any]:
    used = _evaluator(strategy, evaluator)
    options: dict[str, Any] = {"strategy": strategy, "evaluator": str(used)}
    options |= {"evaluations": evaluations}
    recipe = {} if epochs is None or "train" in start else {"recipe": {"epochs": epochs}}
    if epochs is not None and used.entry.trains == "nothing":
        raise UsageError(
            f"--epochs are of a training, but --evaluator {used} trains nothing. "
            "Next: leave it out; hwnas retrain --epochs trains the finalists"
        )
    if used.entry.trains == "supernet":
        options["supernet"] = {**recipe, **start}
    elif start:
        raise UsageError(f"--init begins a supernet: it needs --evaluator supernet, not {used}")
    else:
        options |= recipe
    if gradient is not None and strategy != "proxyless":
        raise UsageError(f"--gradient belongs to --strategy proxyless, not to {strategy}")
    if gradient is not None:
        options["gates"] = {"gradient": gradient}
    return options


def _evaluator(strategy: str, given: str | None) -> EvaluatorSpec:
    """Return what ``--evaluator`` says; without it, what the strategy needs."""
    if given is None:
        return EvaluatorSpec(STRATEGIES[strategy].usual_evaluator)
    try:
        return EvaluatorSpec.parse(given)
    except ValueError as error:
        raise UsageError(f"--evaluator {error}, got {given!r}") from None


def _start_options(init: Path | None, init_arch: str | None, epochs: int | None) -> dict[str, Any]:
    """Return how the supernet begins, and that it stays so with 0 epochs."""
    if init is None and init_arch is not None:
        raise UsageError("--init-arch says whose the file of --init is: give --init, too")
    if init is None:
        return {}
    kept = {"train": False} if epochs == 0 else {}
    return {"init": str(init), "init_arch": init_arch, **kept}


def evaluate(
    run: RunPath,
    archs: Annotated[Path, typer.Option("--archs", help="Architectures, one JSON a line.")],
    as_json: AsJson = False,
) -> None:
    """Score architectures as a run's search does: supernet, training, table or predictor."""
    import json

    from hwnas.pipeline.commands.evaluate import evaluate_run

    with Display():
        records = evaluate_run(run, archs)
    for record in records:
        if as_json:
            print_text(json.dumps(record))
        elif "error" in record:
            print_text(f"error: {record['error']}")
        else:
            loss = f"  loss {record['loss']:.4f}" if "loss" in record else ""
            print_text(f"{record['arch_id']}  top-1 {record['top1']:.4f}{loss}  {record['source']}")
    num_bad = sum("error" in record for record in records)
    if num_bad:
        raise HwnasError(
            f"{num_bad} of {len(records)} lines of {archs} could not be scored; what "
            "is wrong stands in their place above"
        )


def _print_search(out: Path, found: dict[str, Any]) -> None:
    for answer in found["answers"]:
        several = sum(one["table"] is not None for one in answer["limits"]) > 1
        limits_text = ", ".join(
            f"{one['metric']} <= {one['max']:g}"
            + (f" on {one['table']}" if several and one["table"] else "")
            for one in answer["limits"]
        )
        best = answer["best"]
        print_text(
            f"{limits_text}: "
            + (
                f"{best['arch_id']} predicted {best['latency_ms']:.4g} ms, "
                f"top-1 {best['objectives']['top1']['value']:.4f} "
                f"({best['objectives']['top1']['source']})"
                if best
                else "no evaluated network meets it"
            )
        )
        if price := answer.get("shadow_price"):
            print_text(_price_text(price))
    print_text(f"Finalists are in {out / 'finalists.json'}. Next: hwnas retrain --run {out}")


def _price_text(price: dict[str, Any]) -> str:
    """Say what more time would buy, as far as the evaluated networks tell."""
    changes = [f"{c['choice']} {c['from']} -> {c['to']}" for c in price["changes"]]
    more = f" and {len(changes) - 4} more" if len(changes) > 4 else ""
    return (
        f"  {price['more_ms']:.3g} ms more buy {100 * price['more_top1']:.2f} points "
        f"({100 * price['top1_per_ms']:.3g} per ms) with {price['arch_id']}: "
        f"{', '.join(changes[:4])}{more}"
    )


def _targets(
    lut: list[Path],
    device: list[str] | None,
    budget_ms: list[str],
    headroom: float | None,
    predictor: str,
    *,
    force: bool,
) -> list[dict[str, Any]]:
    """Return the targets that --lut, --device and --budget-ms describe in the same order."""
    devices: list[str | None] = [*device] if device else [None] * len(lut)
    if not len(lut) == len(budget_ms) == len(devices):
        raise UsageError(
            "--lut, --budget-ms and --device pair up in order: got "
            f"{len(lut)}, {len(budget_ms)} and {len(device or [])}"
        )
    return [
        {
            **_target_of(table, name),
            "table": str(table),
            "budget_ms": _budgets(text),
            "headroom": headroom,
            "predictor": predictor,
            "force": force,
        }
        for table, name, text in zip(lut, devices, budget_ms, strict=True)
    ]


def _of_precision(
    precision: str | None, lut: list[Path], targets: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return ``targets`` if their tables are all of ``precision``; None: whatever they are of."""
    from hwnas.export.formats import precision_of

    wanted = None if precision is None else precision_of(precision)
    for table, target in zip(lut, targets, strict=True):
        if wanted not in (None, target["precision"]):
            raise UsageError(
                f"{table} holds latencies of {target['precision']}, --precision asks for {wanted}. "
                f"Next: hwnas profile --device {target['device']} --runtime {target['runtime']} "
                f"--precision {wanted} measures such a table"
            )
    return targets


def _limits(texts: list[str]) -> dict[str, float]:
    from hwnas.search.problem.limits import parse_limit

    limits = [parse_limit(text) for text in texts]
    found = {limit.metric: limit.maximum for limit in limits}
    if len(found) < len(limits):
        raise UsageError(f"--limit takes each metric once, got {', '.join(texts)}")
    return found


def _parsed(options: dict[str, Any]) -> RunConfig:
    """Return the run's configuration; what is wrong with it is a wrong use of the options."""
    from hwnas.io.schemas import parse_model
    from hwnas.pipeline.config.run import RunConfig

    try:
        return parse_model(
            RunConfig,
            options,
            what="options of hwnas search",
            next_step="hwnas search --help lists them",
        )
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
    from hwnas.device.device import load_device
    from hwnas.latency.table.files import load_table

    header = load_table(table).header
    if device is None:
        try:
            load_device(header.device)
        except InputError as error:
            raise UsageError(
                f"{table} was measured on {header.device}, which does not come with "
                "hwnas. Next: give its file with --device FILE.yaml"
            ) from error
    return {
        "device": device or header.device,
        "runtime": header.runtime,
        "precision": header.precision,
        "threads": header.threads,
        "affinity": header.affinity,
    }
