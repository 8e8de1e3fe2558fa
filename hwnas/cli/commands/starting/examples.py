"""``hwnas examples``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.output import print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError


@verb("hwnas examples")
def examples(
    out: Annotated[
        Path | None, typer.Argument(help="A new folder to copy them into; without it a list.")
    ] = None,
) -> None:
    """List the examples that come with hwnas, or copy them into a folder."""
    import shutil

    from hwnas.io.bundled import bundled_folder

    folder = bundled_folder("examples")
    if out is None:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                print_text(str(path.relative_to(folder)))
        return
    if out.exists():
        raise UsageError(f"{out} exists. Next: name a folder that does not")
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("__pycache__"))
    print_text(f"the examples are in {out}")
