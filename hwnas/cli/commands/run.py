"""``hwnas run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.answer import print_verdict, print_winner
from hwnas.cli.display import Display
from hwnas.cli.formatting import parity_text
from hwnas.cli.options import AsJson, Confidence, Resume, option
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError

if TYPE_CHECKING:
    from hwnas.artifacts.winner import WinnerFile
    from hwnas.pipeline.config.run import RunConfig


@verb("hwnas run --preset demo --out runs/demo")
def run(
    config: Annotated[Path | None, typer.Argument(help="A run's YAML file.")] = None,
    preset: Annotated[
        str | None, option("--preset", help="A configuration of hwnas's own: demo.")
    ] = None,
    out: Annotated[
        Path | None, option("--out", help="The run folder; by default runs/<name>.")
    ] = None,
    confidence: Confidence = None,
    resume: Resume = False,
    schema: Annotated[
        bool, option("--schema", help="Print the JSON schema of the YAML file and exit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run all stages, from profile to report.

    The stages are profile, search, retrain, export, bench, select and report. The run folder holds
    what every stage wrote; --resume continues after the last whole step.
    """
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
    from hwnas.pipeline.commands.runs import whole_run

    with Display():
        found = whole_run(wanted, folder, resume=resume)
    if as_json:
        print_json(found.to_json())
        return
    _print_run(folder, found.winner)


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
            f"{winner.test.top1:.4f}",
            f"{winner.macs / 1e6:.3g}",
            f"{winner.params / 1e3:.3g}",
            "",
        ]
    ]
    rows += [
        [
            one.name,
            f"{one.measured_ms:.4g}",
            f"{one.test_top1:.4f}",
            f"{one.macs / 1e6:.3g}",
            f"{one.params / 1e3:.3g}",
            one.note,
        ]
        for one in winner.baselines
    ]
    if (drawn := winner.random_baseline) is not None:
        rows.append(
            ["best random network", "-", f"{drawn.test_top1:.4f}", "-", "-", "not measured"]
        )
    print_table(["same rounds", "measured_ms", "test top-1", "M MACs", "k params", "note"], rows)
    for name, parity in winner.parity.items():
        print_text(f"parity {name}: {parity_text(parity)}, {parity.num_images} images")
    for name, precision in winner.precisions.items():
        measured = (
            f"measured {precision.measured_ms:.4g} ms" if precision.measured_ms else "not measured"
        )
        print_text(
            f"{name}: {measured}, val top-1 {precision.val_top1:.4f}, test top-1 "
            f"{precision.test.top1:.4f}"
        )
    print_winner(folder)
    print_text(str(folder / "report.html"))
