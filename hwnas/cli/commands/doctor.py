"""``hwnas doctor``."""

from __future__ import annotations

from typing import Annotated

from hwnas.cli.options import AsJson, option
from hwnas.cli.output import print_json, print_table
from hwnas.cli.verbs import verb
from hwnas.errors import HwnasError


@verb("hwnas doctor")
def doctor(
    device: Annotated[
        str | None, option("--device", help="Check this device and its connection instead.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check what this host, or a device, can do.

    Each failed check states how to fix it.
    """
    from hwnas.pipeline.commands.doctor import examine

    found = examine(device)
    if as_json:
        print_json([{"check": c.name, "ok": c.ok, "says": c.says} for c in found])
    else:
        print_table(
            ["check", "state", "says"],
            [[c.name, "ok" if c.ok else "FAILED", c.says] for c in found],
        )
    if not all(check.ok for check in found):
        raise HwnasError("something that hwnas needs is missing; see the lines marked FAILED")
