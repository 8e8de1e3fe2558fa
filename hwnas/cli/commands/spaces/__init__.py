"""``hwnas spaces``: the search spaces, listed, shown and audited."""

from __future__ import annotations

import typer

from hwnas.cli.formatting import count_text
from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table, reported_errors
from hwnas.cli.verbs import Entry, group_of

COMMANDS = {
    "show": Entry(f"{__name__}.show:show", "Show the choices and sizes of a space."),
    "audit": Entry(f"{__name__}.audit:audit", "Show what a latency budget leaves of a space."),
}


app = typer.Typer(
    cls=group_of(COMMANDS),
    help="List the search spaces, show one, or audit one.",
    epilog="Example:  hwnas spaces show tiny  ;  "
    "hwnas spaces audit tiny --lut t.json --budget-ms 0.1",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def spaces(context: typer.Context, as_json: AsJson = False) -> None:
    """List the built-in search spaces with their sizes."""
    if context.invoked_subcommand is None:
        with reported_errors():
            _list_spaces(as_json)


def _list_spaces(as_json: bool) -> None:
    from hwnas.space.catalogue import SPACES
    from hwnas.space.show import describe, sizes_of

    if as_json:
        print_json([{**describe(name), "summary": entry.help} for name, entry in SPACES.items()])
        return
    found = [{**sizes_of(name), "summary": entry.help} for name, entry in SPACES.items()]
    rows = [
        [
            f["name"],
            str(f["num_choices"]),
            count_text(f["num_codes"]),
            str(f["num_ops"]),
            "x".join(map(str, f["input_shape"])),
            f"{f['macs'][0] / 1e6:.1f}..{f['macs'][1] / 1e6:.1f}",
            f"{f['params'][0] / 1e6:.2f}..{f['params'][1] / 1e6:.2f}",
            f["summary"],
        ]
        for f in found
    ]
    print_table(
        ["space", "choices", "architectures", "ops", "input", "M MACs", "M params", "what"], rows
    )
