"""``hwnas spaces show``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hwnas.cli.formatting import count_text
from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table, print_text
from hwnas.cli.verbs import verb


@verb("hwnas spaces show proxyless:width_mult=0.5 --json")
def show(
    space: Annotated[str, typer.Argument(help="NAME[:key=value,...] or a .yaml file.")],
    as_json: AsJson = False,
) -> None:
    """Show the choices and sizes of a space.

    An example architecture ends the output.
    """
    from hwnas.space.show import describe

    found = describe(space)
    if as_json:
        print_json(found)
        return
    print_text(
        f"{found['name']}: {count_text(found['num_codes'])} architectures, "
        f"{found['num_ops']} distinct operations, input {found['input_shape']}, "
        f"{found['num_classes']} classes"
    )
    print_table(
        ["choice", "options"],
        [[name, " ".join(map(str, options))] for name, options in found["choices"].items()],
    )

    print_text("example: " + json.dumps(found["example"]))
