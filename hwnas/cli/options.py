"""Options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue what was begun.")]
RunPath = Annotated[Path, typer.Option("--run", help="A run folder.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Decides every random draw.")]
PredictorOption = Annotated[
    str,
    typer.Option(
        "--predictor",
        help="lut: measured rows only; op-predictor: rows the table does not hold are predicted "
        "from those it holds.",
    ),
]
Spread = Annotated[
    float | None,
    typer.Option(
        "--spread",
        min=0,
        max=86_400,
        help="Go on, in more rounds, for so many seconds: a host's speed wanders within a minute.",
    ),
]
