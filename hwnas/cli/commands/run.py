"""``hwnas run``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.answer import print_verdict, print_winner, verdict_json
from hwnas.cli.display import Display, duration
from hwnas.cli.formatting import parity_text, percent_text
from hwnas.cli.options import AsJson, Confidence, Resume, any_of, option
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb
from hwnas.device.runtimes import RUNTIMES
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.artifacts.winner import WinnerFile
    from hwnas.pipeline.commands.first_run import FirstRun
    from hwnas.pipeline.config.run import RunConfig


IMAGES = "A run from a folder of images"
CONFIG = "config.yaml"


@verb("hwnas run --preset demo --out runs/demo")
def run(
    config: Annotated[
        Path | None, typer.Argument(help="A run's YAML file, or a folder of images by class.")
    ] = None,
    preset: Annotated[
        str | None, option("--preset", help="A configuration of hwnas's own: demo.")
    ] = None,
    out: Annotated[
        Path | None, option("--out", help="The run folder; by default runs/<name>.")
    ] = None,
    budget_ms: Annotated[
        float | None, option("--budget-ms", panel=IMAGES, help="Latency budget in ms.")
    ] = None,
    device: Annotated[
        str | None,
        option("--device", panel=IMAGES, help="A device's name or .yaml file; by default host."),
    ] = None,
    runtime: Annotated[
        str | None,
        option("--runtime", panel=IMAGES, help=f"{any_of(RUNTIMES)}; by default litert."),
    ] = None,
    epochs: Annotated[
        int | None,
        option(
            "--epochs",
            panel=IMAGES,
            min=1,
            help="Epochs of each training; by default by the number of images.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        option(
            "--init",
            panel=IMAGES,
            help="Once-for-All's published supernet to start from, or none; "
            "by default one that is at hand.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        option(
            "--folds",
            panel=IMAGES,
            min=0,
            max=20,
            help="Choose among finalists by cross-validation with so many folds, for so many "
            "times their training: where val is small.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        option("--dry-run", panel=IMAGES, help="Print the plan with estimated times, and stop."),
    ] = False,
    confidence: Confidence = None,
    resume: Resume = False,
    schema: Annotated[
        bool, option("--schema", help="Print the JSON schema of the YAML file and exit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run all stages, from profile to report.

    The stages are profile, search, retrain, export, bench, select and report. The run folder holds
    what every stage wrote; --resume continues after the last whole step. Of a folder of images and
    a budget hwnas makes the configuration itself, and prints the plan first.
    """
    from hwnas.pipeline.config.run import RunConfig, with_confidence

    if schema:
        print_json(RunConfig.model_json_schema())
        return
    of_images = {
        "--budget-ms": budget_ms,
        "--device": device,
        "--runtime": runtime,
        "--epochs": epochs,
        "--init": init,
        "--folds": folds,
        "--dry-run": dry_run or None,
    }
    name = preset or (config.resolve().stem if config is not None else None)
    folder = out or (Path("runs") / name if name is not None else None)
    if resume and folder is not None and (folder / CONFIG).is_file() and _is_images(config):
        wanted: RunConfig = _of_file(folder / CONFIG)
    elif config is not None and config.is_dir() and preset is None:
        first = _planned(
            config, budget_ms, device or "host", runtime or "litert", epochs, init, folds
        )
        _print_plan(first)
        if dry_run:
            return
        wanted = first.config
    else:
        given = [option for option, value in of_images.items() if value is not None]
        if given:
            raise UsageError(
                f"{', '.join(given)} belong to a run from a folder of images; a YAML file and a "
                "preset hold their own. Next: change the file, or leave them out"
            )
        wanted = _configured(config, preset)
    if confidence is not None:
        wanted = with_confidence(wanted, confidence)
    assert folder is not None  # a configuration has a name
    from hwnas.pipeline.commands.runs import whole_run

    with Display():
        found = whole_run(wanted, folder, resume=resume)
    if as_json:
        print_json({**found.to_json(), **verdict_json(folder)})
        return
    _print_run(folder, found.winner)


def _is_images(config: Path | None) -> bool:
    """Whether a run is continued from its folder alone: no file is given, or images are."""
    return config is None or config.is_dir()


def _of_file(path: Path) -> RunConfig:
    from hwnas.pipeline.config.run import load_config

    return load_config(path)


def _configured(config: Path | None, preset: str | None) -> RunConfig:
    from hwnas.pipeline.config.run import preset as load_preset

    if (config is None) == (preset is None):
        raise UsageError(
            "hwnas run needs a YAML file, a folder of images with --budget-ms, or --preset; "
            "--resume needs the run's folder (--out)"
        )
    return _of_file(config) if config is not None else load_preset(str(preset))


def _planned(
    folder: Path,
    budget_ms: float | None,
    device: str,
    runtime: str,
    epochs: int | None,
    init: str | None,
    folds: int | None,
) -> FirstRun:
    if budget_ms is not None and not 0 < budget_ms < math.inf:
        raise UsageError(f"--budget-ms must be a number of ms above 0, got {budget_ms:g}")
    from hwnas.pipeline.commands.first_run import plan_run

    with Display():
        return plan_run(
            folder,
            budget_ms,
            device=device,
            runtime=runtime,
            epochs=epochs,
            init=init,
            folds=folds,
        )


def _print_plan(first: FirstRun) -> None:
    """Print what each stage will do and how long it takes, roughly."""
    rows = [[one.stage, duration(one.seconds), one.what] for one in first.times]
    print_table(["stage", "about", "what"], rows)
    print_text(f"in all about {duration(first.seconds)}, within a factor of 2")


def _print_run(folder: Path, winner: WinnerFile) -> None:
    relation = "within" if winner.within_budget else "OVER"
    # a run that ended has all of them
    assert winner.test is not None
    assert winner.macs is not None
    assert winner.params is not None
    print_text(
        f"winner {winner.arch_id}: measured {winner.measured_ms:.4g} ms, {relation} "
        f"the budget of {winner.budget_ms:.4g} ms (predicted "
        f"{winner.predicted_ms:.4g} ms)"
    )
    print_verdict(folder)
    rows = [
        [
            "winner",
            f"{winner.measured_ms:.4g}",
            percent_text(winner.test.top1),
            f"{winner.macs / 1e6:.3g}",
            f"{winner.params / 1e3:.3g}",
            "",
        ]
    ]
    rows += [
        [
            one.name,
            f"{one.measured_ms:.4g}",
            percent_text(one.test_top1),
            f"{one.macs / 1e6:.3g}",
            f"{one.params / 1e3:.3g}",
            one.note,
        ]
        for one in winner.baselines
    ]
    if (drawn := winner.random_baseline) is not None:
        rows.append(
            ["best random network", "-", percent_text(drawn.test_top1), "-", "-", "not measured"]
        )
    print_table(["same rounds", "measured_ms", "test top-1", "M MACs", "k params", "note"], rows)
    for name, parity in winner.parity.items():
        print_text(f"parity {name}: {parity_text(parity)}, {parity.num_images} images")
    for name, precision in winner.precisions.items():
        measured = (
            f"measured {precision.measured_ms:.4g} ms" if precision.measured_ms else "not measured"
        )
        print_text(
            f"{name}: {measured}, val top-1 {percent_text(precision.val_top1)}, test top-1 "
            f"{percent_text(precision.test.top1)}"
        )
    print_winner(folder)
    print_text(str(folder / "report.html"))
