"""``hwnas predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.options import TARGET, Archs, AsJson, PredictorOption, SpaceName, option
from hwnas.cli.output import print_table, print_text
from hwnas.cli.verbs import verb
from hwnas.errors import HwnasError, UsageError

if TYPE_CHECKING:
    from hwnas.latency.few_shot.comparison import Accuracy
    from hwnas.pipeline.commands.predict import Lines

FEW_SHOT = "Device without a table"


@verb("hwnas predict --space tiny --lut t.json --archs archs.jsonl --json")
def predict(
    space: SpaceName,
    archs: Archs,
    lut: Annotated[
        Path | None,
        option("--lut", panel=TARGET, help="A latency table, a folder of them, or a known name."),
    ] = None,
    predictor: PredictorOption = "lut",
    measured: Annotated[
        Path | None,
        option("--measured", panel=FEW_SHOT, help="Networks timed on the device, JSON lines."),
    ] = None,
    sources: Annotated[
        list[Path] | None,
        option(
            "--sources",
            panel=FEW_SHOT,
            metavar="FILE",
            help="Networks timed on other devices, JSON lines.",
        ),
    ] = None,
    more_sources: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="More files of --sources.")
    ] = None,
    suggest: Annotated[
        int | None,
        option(
            "--suggest", panel=FEW_SHOT, help="List this many of --archs to time on the device."
        ),
    ] = None,
    force: Annotated[
        bool,
        option("--force", panel=TARGET, help="Accept a table whose latencies do not look like ms."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predict the latency of a list of architectures.

    Each line of --archs gives one line of output. Latencies come from a table; for a device without
    one, from a few networks timed on it and on other devices.
    """
    others = [*(sources or []), *(more_sources or [])]
    if more_sources and not sources:
        raise UsageError(f"what is {more_sources[0]}? Files of other devices follow --sources")
    if lut is not None and (measured or others or suggest is not None):
        raise UsageError(
            "--lut predicts from a table; --measured, --sources and --suggest are for a device "
            "without one: give either"
        )
    if lut is not None:
        from hwnas.pipeline.commands.predict import predict_file

        lines = predict_file(space, lut, archs, predictor, force=force, as_json=as_json)
    else:
        lines = _few_shot(space, archs, measured, others, suggest, as_json=as_json)
    typer.echo(lines.text, nl=False)
    if lines.num_errors:
        raise HwnasError(
            f"{lines.num_errors} line(s) of {archs} could not be predicted; each says why "
            "under its error key"
        )


def _few_shot(
    space: str,
    archs: Path,
    measured: Path | None,
    sources: list[Path],
    suggest: int | None,
    *,
    as_json: bool,
) -> Lines:
    from hwnas.pipeline.commands.few_shot import few_shot_file, suggest_file

    if suggest is not None:
        return suggest_file(space, suggest, measured, sources, archs, as_json=as_json)
    if measured is None:
        raise UsageError(
            "predict needs --lut TABLE, or --measured FILE of networks timed on the device "
            "(--suggest 10 lists which to time)"
        )
    lines, accuracies = few_shot_file(space, measured, sources, archs, as_json=as_json)
    if accuracies is not None:
        _print_comparison(accuracies)
    return lines


def _print_comparison(found: dict[str, Accuracy]) -> None:
    from hwnas.latency.few_shot.comparison import CEILING, CEILING_FROM

    if not found:
        print_text("Too few networks to leave one out: no comparison with simpler predictors.")
        return
    print_table(
        ["predictor, cross-validated", "Spearman", "RMSPE", "within 5 %", "within 10 %"],
        [[name, *accuracy.cells()] for name, accuracy in found.items()],
    )
    if CEILING not in found:
        print_text(f"The {CEILING} needs {CEILING_FROM} timed networks or more.")
