"""``hwnas lut merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.options import option
from hwnas.cli.output import print_text
from hwnas.cli.verbs import verb
from hwnas.errors import UsageError


@verb("hwnas lut merge a.json b.json --out c.json")
def merge(
    files: Annotated[list[Path], typer.Argument(help="Tables of one target.")],
    out: Annotated[Path, option("--out", help="The table to write.")],
) -> None:
    """Write one table with the rows of several.

    They must be of the same device, runtime, precision and threads.
    """
    from hwnas.latency.table.files import load_table, merge_tables, save_table

    if out.exists():
        raise UsageError(f"{out} exists. Next: choose another --out")
    merged = merge_tables([load_table(f) for f in files], [str(f) for f in files])
    save_table(merged, out)
    print_text(f"{out}: {len(merged.entries)} rows")
