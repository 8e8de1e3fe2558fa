"""``hwnas init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.display import Display
from hwnas.cli.options import TARGET, option
from hwnas.cli.output import print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError


@verb("hwnas init photos --runtime onnxruntime --out photos.yaml")
def init(
    images: Annotated[Path, typer.Argument(help="A folder of images by class.")],
    out: Annotated[
        Path | None, option("--out", help="The file to write; by default <folder>.yaml here.")
    ] = None,
    device: Annotated[
        str, option("--device", panel=TARGET, help="A device's name or .yaml file.")
    ] = "host",
    runtime: Annotated[
        str, option("--runtime", panel=TARGET, help="litert or onnxruntime.")
    ] = "litert",
    budget_ms: Annotated[
        float | None,
        option("--budget-ms", panel=TARGET, help="Latency budget in ms; by default the middle."),
    ] = None,
    weights: Annotated[
        str | None,
        option(
            "--init",
            panel=TARGET,
            help="Once-for-All's published supernet to start from, or none; "
            "by default one that is at hand.",
        ),
    ] = None,
) -> None:
    """Write the YAML file of a run on a folder of images, with comments.

    The smallest and the largest network of the space are timed on the device, so that the file says
    which budgets can be reached.
    """
    path = out or Path(f"{images.resolve().name}.yaml")
    if path.exists():
        raise UsageError(f"{path} exists. Next: choose another --out")
    from hwnas.io.journal import write_whole
    from hwnas.io.suggest import command
    from hwnas.pipeline.commands.first_run import file_for

    with Display():
        text = file_for(
            images, str(path), device=device, runtime=runtime, budget_ms=budget_ms, init=weights
        )
    write_whole(path, text)
    print_text(f"{path} is written. Next: {command('run', path)}")
