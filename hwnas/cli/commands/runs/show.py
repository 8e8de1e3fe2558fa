"""``hwnas runs show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.answer import print_verdict, verdict_json
from hwnas.cli.display import duration
from hwnas.cli.formatting import percent_text
from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_text
from hwnas.cli.verbs import verb

if TYPE_CHECKING:
    from hwnas.pipeline.commands.overview import RunSummary


@verb("hwnas runs show r")
def show(
    run: Annotated[Path, typer.Argument(help="A run folder.")], as_json: AsJson = False
) -> None:
    """Show what a run is and how far it has come."""
    from hwnas.pipeline.commands.overview import summarise_run

    found = summarise_run(run)
    if as_json:
        print_json({**found.to_json(), **verdict_json(run)})
        return
    for name, text in _lines(found):
        print_text(f"{name + ':':<11} {text}")
    if found.winner is not None:
        print_verdict(run)


def _lines(run: RunSummary) -> list[tuple[str, str]]:
    """Return the name and the text of each line."""
    lines = [
        ("run", f"{run.path}, begun {run.started}, {run.state}"),
        ("space", f"{run.space}, images {run.data or 'none'}, seed {run.seed}"),
        ("search", f"{run.strategy}, scored by {run.evaluator}"),
        ("targets", "; ".join(run.targets)),
        ("budgets", ", ".join(f"{ms:.4g} ms" for ms in run.budgets_ms) or "not known yet"),
        (
            "stages",
            ", ".join(f"{name} {duration(wall_s)}" for name, wall_s in run.stages.items())
            or "none is done",
        ),
    ]
    if run.found is not None:
        lines.append(
            (
                "found",
                f"{run.found}, predicted {run.predicted_ms:.4g} ms, "
                f"top-1 {percent_text(run.search_top1)} in the search",
            )
        )
    if run.winner is not None and run.measured_ms is not None:
        relation = "within" if run.within_budget else "OVER"
        accuracies = "".join(
            f", {split} top-1 {percent_text(value)}"
            for split, value in (("val", run.val_top1), ("test", run.test_top1))
            if value is not None
        )
        lines.append(
            (
                "winner",
                f"{run.winner}, measured {run.measured_ms:.4g} ms, {relation} budget{accuracies}",
            )
        )
    return lines
