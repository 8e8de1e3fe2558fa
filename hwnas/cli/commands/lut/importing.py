"""``hwnas lut import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.options import option
from hwnas.cli.output import print_text
from hwnas.cli.verbs import verb


@verb(
    "hwnas lut import --format ofa 160_lookup_table.yaml 224_lookup_table.yaml "
    "--device galaxy-note10 --out note10"
)
def import_(
    files: Annotated[list[Path], typer.Argument(help="Published tables (YAML), or lines of sums.")],
    table_format: Annotated[
        str, option("--format", help="Format of the files: ofa, proxyless or sums.")
    ],
    device: Annotated[str, option("--device", help="The device they were measured on.")],
    out: Annotated[Path, option("--out", help="The folder to write tables into.")],
    space: Annotated[
        str | None, option("--space", help="Sums: the space of their networks.")
    ] = None,
    runtime: Annotated[
        str, option("--runtime", help="The runtime they were measured with.")
    ] = "litert",
    precision: Annotated[
        str, option("--precision", help="The precision of the models: fp32.")
    ] = "fp32",
    threads: Annotated[int, option("--threads", min=1, help="The number of threads.")] = 1,
    affinity: Annotated[
        str | None, option("--affinity", help="The CPUs that threads were bound to, as in 4-7.")
    ] = None,
    force: Annotated[
        bool, option("--force", help="Accept latencies that do not look like ms, or like sums.")
    ] = False,
) -> None:
    """Read published latency tables.

    A folder of tables is used as one table. With --format sums, the files hold latencies of whole
    networks, lines {"arch": {...}, "latency_ms": 3.1}, from which the rows are solved; the output
    states rank and residual.
    """
    from hwnas.pipeline.commands.tables import import_files

    for path, said in import_files(
        files,
        table_format,
        out,
        space=space,
        force=force,
        target=(device, runtime, precision, threads, affinity),
    ):
        print_text(f"{path}: " + "\n  ".join(said))
