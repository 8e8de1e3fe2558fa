"""``hwnas lut``: latency tables, listed, shown, imported, merged, compared and checked."""

from __future__ import annotations

import typer

from hwnas.cli.verbs import Entry, group_of

COMMANDS = {
    "list": Entry(f"{__name__}.listing:list_", "List the latency tables that come with hwnas."),
    "show": Entry(f"{__name__}.show:show", "Show a table: source, rows, accuracy."),
    "import": Entry(f"{__name__}.importing:import_", "Read published latency tables."),
    "merge": Entry(f"{__name__}.merge:merge", "Write one table with the rows of several."),
    "diff": Entry(f"{__name__}.diff:diff", "Compare the rows of two tables."),
    "check": Entry(f"{__name__}.check:check", "Measure whether a table still holds."),
}


app = typer.Typer(
    cls=group_of(COMMANDS),
    help="List, show, import, merge, compare and check latency tables.",
    epilog="Example:  hwnas lut show t.json --breakdown  ;  hwnas lut check t.json --device host",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def lut() -> None:
    """Take no options of its own."""
