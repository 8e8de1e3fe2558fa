"""``hwnas lut list``."""

from __future__ import annotations

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table
from hwnas.cli.verbs import verb


@verb("hwnas lut list")
def list_(as_json: AsJson = False) -> None:
    """List the latency tables that come with hwnas.

    A name can be given wherever a table is: --lut galaxy-note10.
    """
    from hwnas.latency.table.library import bundled_tables

    tables = bundled_tables()
    if as_json:
        print_json(
            [
                {
                    "name": table.name,
                    "device": table.parts[0].header.device,
                    "runtime": table.parts[0].header.runtime,
                    "precision": table.parts[0].header.precision,
                    "num_rows": table.num_rows,
                    "space": table.space,
                    "source": table.source,
                    "license": table.parts[0].header.provenance.get("license"),
                }
                for table in tables
            ]
        )
        return
    print_table(
        ["table", "runtime", "rows", "space", "source"],
        [
            [
                table.name,
                table.parts[0].header.runtime,
                str(table.num_rows),
                table.space,
                table.source,
            ]
            for table in tables
        ],
    )
