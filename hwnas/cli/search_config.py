"""The configuration of a run from the options of ``hwnas search``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.device.device import load_device
from hwnas.errors import InputError, UsageError
from hwnas.export.formats import precision_of
from hwnas.io.schemas import parse_model
from hwnas.io.suggest import command
from hwnas.latency.table.files import load_table
from hwnas.pipeline.config.default_strategy import default_strategy
from hwnas.pipeline.config.run import RunConfig
from hwnas.search.evaluators.registry import EvaluatorSpec
from hwnas.search.problem.limits import parse_limit
from hwnas.search.strategies.registry import STRATEGIES
from hwnas.space.catalogue import load_space
from hwnas.space.slots import slots_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchOptions:
    """The options of ``hwnas search`` that describe a run, by the names of its parameters."""

    space: str | None
    lut: list[Path] | None
    device: list[str] | None
    runtime: str | None
    precision: str | None
    predictor: str
    force: bool
    budget_ms: list[str] | None
    limit: list[str] | None
    headroom: float | None
    confidence: float | None
    data: str | None
    data_root: Path | None
    strategy: str | None
    evaluator: str | None
    evaluations: int
    surrogate: bool
    prior: str | None
    seed_archs: str | None
    gradient: str | None
    top: int
    halving: int | None
    epochs: int | None
    workers: int | None
    torch_device: str
    init: Path | None
    init_arch: str | None
    seed: int

    def given_evaluator(self) -> EvaluatorSpec | None:
        """Return the evaluator that was asked for; None: none was, or one that is not known.

        The configuration refuses an unknown one, together with its other problems.
        """
        if self.evaluator is None:
            return None
        try:
            return EvaluatorSpec.parse(self.evaluator)
        except ValueError:
            return None


def run_config(options: SearchOptions) -> RunConfig:
    """Return the configuration of the run; what is wrong with it is a wrong use of the options.

    Raises:
        UsageError: an option is missing, or options do not go together; lists all problems.
    """
    _require_given(options)
    strategy = options.strategy or _default_strategy(options)
    content = {
        "space": options.space,
        "data": options.data,
        "data_root": str(options.data_root) if options.data_root else None,
        "targets": _targets(options),
        "confidence": options.confidence,
        "limits": _limits(options.limit or []),
        "search": {
            **_search_section(options, strategy),
            "surrogate": options.surrogate,
            "prior": options.prior,
            "seed_archs": options.seed_archs,
            "halving": None if options.halving is None else {"eta": options.halving},
        },
        "retrain": {"top": options.top},
        "seed": options.seed,
        "workers": options.workers,
        "torch_device": options.torch_device,
    }
    try:
        return parse_model(
            RunConfig,
            content,
            what="options of hwnas search",
            next_step="hwnas search --help lists them",
        )
    except InputError as error:
        raise UsageError(str(error)) from None


def _require_given(options: SearchOptions) -> None:
    evaluator = options.given_evaluator()
    needs_images = evaluator is None or evaluator.entry.needs_images
    missing = [
        name
        for name, given in (
            ("--space", options.space),
            ("--lut or --device", options.lut or options.device),
            ("--data", options.data or not needs_images),
            ("--budget-ms", options.budget_ms),
        )
        if not given
    ]
    if missing:
        raise UsageError(f"hwnas search needs {', '.join(missing)}, or a file with --config")


def _default_strategy(options: SearchOptions) -> str:
    """Return the strategy that fits the other options, and log which it is and why."""
    if options.gradient is not None:
        return "proxyless"
    evolution_only = [
        name
        for name, given in (
            ("--surrogate", options.surrogate),
            ("--prior", options.prior),
            ("--seed-archs", options.seed_archs),
            ("--halving", options.halving),
        )
        if given
    ]
    evaluator = options.given_evaluator()
    chosen = default_strategy(
        evaluator=evaluator.entry if evaluator else None,
        evaluations=options.evaluations,
        trains_gates=not evolution_only and _trains_gates(options),
        starts_from_weights=options.init is not None,
        needs_evolution=evolution_only[0] if evolution_only else None,
    )
    logger.info(f"strategy {chosen.name}: {chosen.reason}; --strategy selects another")
    return chosen.name


def _trains_gates(options: SearchOptions) -> bool:
    """Whether a supernet with gates can be trained: on a chain of choices, with images."""
    evaluator = options.given_evaluator()
    if evaluator is not None and evaluator.entry.trains != "supernet":
        return False
    try:
        slots_of(load_space(str(options.space)))
    except UsageError:
        return False
    return True


def _search_section(options: SearchOptions, strategy: str) -> dict[str, Any]:
    """Return the section ``search`` of the configuration, but for settings of single options."""
    usual = STRATEGIES[strategy].usual_evaluator if strategy in STRATEGIES else "scratch"
    used = options.given_evaluator() or EvaluatorSpec(usual)
    start = _start(options)
    section: dict[str, Any] = {
        "strategy": strategy,
        "evaluator": options.evaluator or str(used),
        "evaluations": options.evaluations,
    }
    has_recipe = options.epochs is not None and "train" not in start
    recipe = {"recipe": {"epochs": options.epochs}} if has_recipe else {}
    if options.epochs is not None and used.entry.trains == "nothing":
        raise UsageError(
            f"--epochs is of a training, but --evaluator {used} trains nothing. "
            "Next: leave it out; it is an option of hwnas retrain, which trains the finalists"
        )
    if used.entry.trains == "supernet":
        section["supernet"] = {**recipe, **start}
    elif start:
        raise UsageError(f"--init starts a supernet: it needs --evaluator supernet, not {used}")
    else:
        section |= recipe
    if options.gradient is not None and strategy != "proxyless":
        raise UsageError(f"--gradient belongs to --strategy proxyless, not to {strategy}")
    if options.gradient is not None:
        section["gates"] = {"gradient": options.gradient}
    return section


def _start(options: SearchOptions) -> dict[str, Any]:
    """Return what the supernet starts from; 0 epochs leave these weights as they are."""
    if options.init is None and options.init_arch is not None:
        raise UsageError("--init-arch names the model of the weights in --init: give both")
    if options.init is None:
        return {}
    kept = {"train": False} if options.epochs == 0 else {}
    return {"init": str(options.init), "init_arch": options.init_arch, **kept}


def _targets(options: SearchOptions) -> list[dict[str, Any]]:
    """Return the targets that --lut, --device and --budget-ms describe in the same order."""
    if not options.lut:
        return _profiled(options)
    if options.runtime is not None:
        raise UsageError(
            "--runtime is for a device that is profiled now; a table of --lut has its own. "
            "Next: leave one of the two out"
        )
    tables, budgets = options.lut or [], options.budget_ms or []
    devices: list[str | None] = [*options.device] if options.device else [None] * len(tables)
    if not len(tables) == len(budgets) == len(devices):
        raise UsageError(
            "--lut, --budget-ms and --device pair up in order: got "
            f"{len(tables)}, {len(budgets)} and {len(options.device or [])}"
        )
    wanted = None if options.precision is None else precision_of(options.precision)
    targets = []
    for table, device, text in zip(tables, devices, budgets, strict=True):
        measured_on = _target_of(table, device)
        if wanted not in (None, measured_on["precision"]):
            raise UsageError(
                f"{table} holds latencies of {measured_on['precision']}, --precision asks for "
                f"{wanted}. Next: measure such a table: "
                + command(
                    "profile",
                    device=str(measured_on["device"]),
                    runtime=str(measured_on["runtime"]),
                    precision=wanted,
                    space=options.space or "SPACE",
                    out="TABLE",
                )
            )
        targets.append(
            {
                **measured_on,
                "table": str(table),
                "budget_ms": _budgets(text),
                "headroom": options.headroom,
                "predictor": options.predictor,
                "force": options.force,
            }
        )
    return targets


def _profiled(options: SearchOptions) -> list[dict[str, Any]]:
    """Return the targets without a table, which the search profiles into its folder first."""
    devices, budgets = options.device or [], options.budget_ms or []
    if len(devices) != len(budgets):
        raise UsageError(
            f"--device and --budget-ms pair up in order: got {len(devices)} and {len(budgets)}"
        )
    logger.info(f"no --lut: {', '.join(devices)} is profiled for {options.space} first")
    precision = "fp32" if options.precision is None else precision_of(options.precision)
    return [
        {
            "device": device,
            "runtime": options.runtime or "litert",
            "precision": precision,
            "budget_ms": _budgets(text),
            "headroom": options.headroom,
            "predictor": options.predictor,
            "force": options.force,
        }
        for device, text in zip(devices, budgets, strict=True)
    ]


def _target_of(table: Path, device: str | None) -> dict[str, Any]:
    """Return the device settings a table was measured with, for the later stages."""
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


def _budgets(text: str) -> float | list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--budget-ms must be numbers as in 20 or 20,30, got {text!r}") from None
    return values if len(values) > 1 else values[0]


def _limits(texts: list[str]) -> dict[str, float]:
    limits = [parse_limit(text) for text in texts]
    found = {limit.metric: limit.maximum for limit in limits}
    if len(found) < len(limits):
        raise UsageError(f"--limit takes each metric once, got {', '.join(texts)}")
    return found
