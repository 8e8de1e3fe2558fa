"""``hwnas runs``: run folders, listed, shown and compared."""

from __future__ import annotations

import typer

from hwnas.cli.verbs import Entry, group_of

COMMANDS = {
    "list": Entry(f"{__name__}.listing:list_", "List the runs in a folder and below it."),
    "show": Entry(f"{__name__}.show:show", "Show what a run is and how far it has come."),
    "compare": Entry(f"{__name__}.compare:compare", "Compare the settings and results of runs."),
}


app = typer.Typer(
    cls=group_of(COMMANDS),
    help="List, show and compare run folders.",
    epilog="Example:  hwnas runs list .",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def runs() -> None:
    """Take no options of its own."""
