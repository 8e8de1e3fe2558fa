"""``hwnas lut diff``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb


@verb("hwnas lut diff old.json new.json")
def diff(
    old: Annotated[Path, typer.Argument(help="The earlier table.")],
    new: Annotated[Path, typer.Argument(help="The later table.")],
    as_json: AsJson = False,
) -> None:
    """Compare the rows of two tables."""
    from hwnas.pipeline.commands.tables import diff_tables

    found = diff_tables(old, new)
    if as_json:
        print_json(found.to_json())
        return
    for key, (a, b) in found.header.items():
        print_text(f"header {key}: {a} -> {b}")
    print_table(
        ["ratio", "old_ms", "new_ms", "operation"],
        [
            [
                f"{row.ratio:.3f}",
                f"{row.old_ms:.4g}",
                f"{row.new_ms:.4g}",
                str(row.op),
            ]
            for row in found.moved
        ],
    )
    for word, ops in (("gone", found.gone), ("added", found.added)):
        for op in ops:
            print_text(f"{word}: {op}")
