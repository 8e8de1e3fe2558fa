"""``hwnas search``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.display import Display
from hwnas.cli.formatting import percent_text
from hwnas.cli.options import (
    DATA,
    LIMITS,
    STRATEGY,
    TARGET,
    TRAINING,
    AsJson,
    Confidence,
    DataRoot,
    Evaluations,
    Init,
    InitArch,
    PredictorOption,
    Resume,
    Seed,
    TorchDevice,
    Workers,
    any_of,
    option,
)
from hwnas.cli.output import print_json, print_text
from hwnas.cli.verbs import COMMON, verb
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import UsageError
from hwnas.export.formats import PRECISIONS
from hwnas.io.suggest import command
from hwnas.search.evaluators.registry import EVALUATORS
from hwnas.search.strategies.registry import STRATEGIES

if TYPE_CHECKING:
    from hwnas.artifacts.search import ResultFile, ShadowPricePart
    from hwnas.pipeline.config.run import RunConfig

Out = Annotated[Path, option("--out", help="The run folder to write.")]
Config = Annotated[
    Path | None, option("--config", help="A run's YAML file, instead of all options that it holds.")
]
Space = Annotated[str | None, option("--space", help="NAME[:key=value,...] or a .yaml file.")]
Luts = Annotated[
    list[Path] | None,
    option(
        "--lut",
        panel=TARGET,
        metavar="TABLE",
        help="A latency table, or a known name (repeatable).",
    ),
]
Devices = Annotated[
    list[str] | None,
    option(
        "--device",
        panel=TARGET,
        metavar="FILE",
        help="Without --lut: a device's name or .yaml file, which is profiled first. With it: the "
        "file of the device of the --lut in the same place, if it is your own (repeatable).",
    ),
]
TablePrecision = Annotated[
    str | None,
    option(
        "--precision",
        panel=TARGET,
        help=f"Refuse tables of another precision: {any_of(PRECISIONS)}.",
    ),
]
ProfiledRuntime = Annotated[
    str | None,
    option(
        "--runtime",
        panel=TARGET,
        help=f"Of a --device without --lut: {any_of(RUNTIMES)}; by default litert.",
    ),
]
Force = Annotated[
    bool,
    option(
        "--force",
        panel=TARGET,
        help="Accept tables that do not look like ms, or err by more than 10 %.",
    ),
]
BudgetsMs = Annotated[
    list[str] | None,
    option(
        "--budget-ms",
        panel=LIMITS,
        metavar="MS[,MS...]",
        help="Budget of the --lut in the same place; the first may have several: 20,30,40.",
    ),
]
OtherLimits = Annotated[
    list[str] | None,
    option(
        "--limit",
        panel=LIMITS,
        metavar="NAME=MAX",
        help="params=4e6, macs=3e8 or size_mb=8 (repeatable).",
    ),
]
Headroom = Annotated[
    float | None,
    option(
        "--headroom",
        panel=LIMITS,
        help="Share of a budget to leave free for prediction errors; by default from the table's "
        "errors, at most 0.05.",
    ),
]
Data = Annotated[
    str | None, option("--data", panel=DATA, help="digits, a folder, or a torchvision set.")
]
Strategy = Annotated[
    str | None,
    option(
        "--strategy",
        panel=STRATEGY,
        help=f"How networks are proposed: {', '.join(STRATEGIES)}. By "
        "default one that fits the evaluator, the space and --evaluations; the output names it.",
    ),
]
Evaluator = Annotated[
    str | None,
    option(
        "--evaluator",
        panel=STRATEGY,
        help="How networks are scored: "
        f"{', '.join(entry.spelling for entry in EVALUATORS.values())}; by default what the "
        "strategy needs. One with a FILE needs no --data.",
    ),
]
Surrogate = Annotated[
    bool,
    option(
        "--surrogate",
        panel=STRATEGY,
        help="Evaluate the networks that a predictor, fitted during the search, expects most of.",
    ),
]
Prior = Annotated[
    str | None,
    option(
        "--prior",
        panel=STRATEGY,
        help="macs: better on few evaluations by multiply-accumulates; none: evolution and rl as "
        "published. By default macs.",
    ),
]
SeedArchs = Annotated[
    str | None,
    option(
        "--seed-archs",
        panel=STRATEGY,
        help="Networks to score first: known (published ones), or a file of architectures.",
    ),
]
Gradient = Annotated[
    str | None,
    option("--gradient", panel=STRATEGY, help="Gradient form of proxyless: two or full."),
]
Top = Annotated[int, option("--top", panel=STRATEGY, min=1, help="Finalists to keep, per budget.")]
Halving = Annotated[
    int | None,
    option(
        "--halving",
        panel=TRAINING,
        help="Successive halving of scratch trainings: one network in this many is trained this "
        "many times as long.",
    ),
]
Epochs = Annotated[
    int | None,
    option(
        "--epochs",
        panel=TRAINING,
        help="Epochs of the supernet, or of each scratch training. 0 (with --init): do not train "
        "the supernet.",
    ),
]

BESIDE_CONFIG = ("out", "config", "resume", "as_json")


@verb("hwnas search --space tiny --lut t.json --budget-ms 0.1 --data digits --out r")
def search(
    context: typer.Context,
    out: Out,
    config: Config = None,
    space: Space = None,
    lut: Luts = None,
    device: Devices = None,
    runtime: ProfiledRuntime = None,
    precision: TablePrecision = None,
    predictor: PredictorOption = "lut",
    force: Force = False,
    budget_ms: BudgetsMs = None,
    limit: OtherLimits = None,
    headroom: Headroom = None,
    confidence: Confidence = None,
    data: Data = None,
    data_root: DataRoot = None,
    strategy: Strategy = None,
    evaluator: Evaluator = None,
    evaluations: Evaluations = 16,
    surrogate: Surrogate = False,
    prior: Prior = None,
    seed_archs: SeedArchs = None,
    gradient: Gradient = None,
    top: Top = 3,
    halving: Halving = None,
    epochs: Epochs = None,
    workers: Workers = None,
    torch_device: TorchDevice = "cpu",
    init: Init = None,
    init_arch: InitArch = None,
    seed: Seed = 0,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Search a space under latency budgets; write a run folder.

    The folder holds the best networks under each budget, which hwnas retrain trains.
    """
    from hwnas.cli.search_config import SearchOptions, run_config
    from hwnas.pipeline.config.run import load_config

    begun = out / "config.yaml"
    if config is not None:
        _require_none_beside_config(context, config)
        wanted = load_config(config)
    elif resume and begun.is_file() and not _given_options(context):
        wanted = load_config(begun)  # the run's own settings, and its copies of tables
    else:
        names = [field.name for field in fields(SearchOptions)]
        wanted = run_config(SearchOptions(**{name: context.params[name] for name in names}))
    _search(wanted, out, resume=resume, as_json=as_json)


def _require_none_beside_config(context: typer.Context, config: Path) -> None:
    """Raise UsageError that names the options which the file of --config decides."""
    given = _given_options(context)
    if given:
        raise UsageError(
            f"{', '.join(given)} cannot be given with --config: the file holds all settings of "
            f"the search. Next: set them in {config}, or leave --config out"
        )


def _given_options(context: typer.Context) -> list[str]:
    """Return the options given that describe a search."""
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in BESIDE_CONFIG
        and getattr(parameter, "rich_help_panel", None) != COMMON
        and _is_given(context, parameter.name)
    ]


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name) if name else None
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _search(config: RunConfig, out: Path, *, resume: bool, as_json: bool) -> None:
    from hwnas.pipeline.commands.runs import search_run

    with Display():
        found = search_run(config, out, resume=resume)
    if as_json:
        print_json(found.to_json())
    else:
        _print_search(out, found)


def _print_search(out: Path, found: ResultFile) -> None:
    for answer in found.answers:
        several = sum(one.table is not None for one in answer.limits) > 1
        limits_text = ", ".join(
            f"{one.metric} <= {one.max:g}" + (f" on {one.table}" if several and one.table else "")
            for one in answer.limits
        )
        best = answer.best
        print_text(
            f"{limits_text}: "
            + (
                f"{best.arch_id} predicted {best.latency_ms:.4g} ms, "
                f"top-1 {percent_text(best.top1.value)} ({best.top1.source})"
                if best
                else "no evaluated network meets it"
            )
        )
        if answer.shadow_price is not None:
            print_text(_price_text(answer.shadow_price))
    print_text(
        f"Finalists are in {out / 'finalists.json'}. Next: {command('retrain', run=str(out))}"
    )


def _price_text(price: ShadowPricePart) -> str:
    """Return in words what a higher budget would buy, of the evaluated networks."""
    changes = [f"{c.choice} {c.before} -> {c.after}" for c in price.changes]
    more = f" and {len(changes) - 4} more" if len(changes) > 4 else ""
    return (
        f"  {price.more_ms:.3g} ms more buy {100 * price.more_top1:.1f} points "
        f"({100 * price.top1_per_ms:.3g} per ms) with {price.arch_id}: "
        f"{', '.join(changes[:4])}{more}"
    )
