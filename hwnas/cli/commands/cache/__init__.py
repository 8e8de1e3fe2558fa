"""``hwnas cache``: the cache of converted models."""

from __future__ import annotations

import typer

from hwnas.cli.verbs import Entry, group_of

COMMANDS = {
    "info": Entry(f"{__name__}.info:info", "Show where the cache is and how much it holds."),
    "clear": Entry(
        f"{__name__}.clear:clear", "Delete converted models, all or those used longest ago."
    ),
}


app = typer.Typer(
    cls=group_of(COMMANDS),
    help="Show or clear the cache of converted models.\n\nprofile, export and bench share it; "
    "HWNAS_CACHE sets its folder, HWNAS_CACHE_GB how much it may hold (5).",
    epilog="Example:  hwnas cache info",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def cache() -> None:
    """Take no options of its own."""
