"""Measure the latency tables of ``lut/x86-64-vm``: ``tiny`` and ``proxyless`` on both runtimes.

    python lut/measure_host.py [TABLE.json ...]

Without arguments every space is profiled on this machine, which should do nothing else meanwhile,
by the protocol of ``devices/x86-64-vm.yaml``. Tables given as arguments are taken instead of those
measured now. One table a runtime holds the rows and calibrations of both spaces.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.latency.table.files import load_table, merge_tables, save_table
from hwnas.latency.table.table import LatencyTable

HERE = Path(__file__).parent
DEVICE = HERE.parent / "devices" / "x86-64-vm.yaml"
SPACES = ("tiny", "proxyless")
RUNTIMES = ("litert", "onnxruntime")
PROVENANCE = {
    "source": "measured by hwnas on a virtual machine of two AMD EPYC cores (first generation)",
    "license": "that of hwnas",
    "space": ", ".join(SPACES),
}


def measured(folder: Path) -> list[Path]:
    """Profile every space on every runtime; return the tables."""
    tables = []
    for runtime in RUNTIMES:
        for space in SPACES:
            out = folder / f"{runtime}-{space}.json"
            command = [sys.executable, "-m", "hwnas", "profile", "--device", str(DEVICE)]
            command += ["--runtime", runtime, "--space", space, "--out", str(out)]
            subprocess.run([*command, "--calibrate", "16", "--validate", "8"], check=True)
            tables.append(out)
    return tables


def named(table: LatencyTable) -> LatencyTable:
    """Return ``table`` with its source in the header, and of the system only its name."""
    header = table.header
    host = {**header.host, "system": str(header.host.get("system", "")).split("-")[0]}
    return replace(
        table, header=header.model_copy(update={"host": host, "provenance": dict(PROVENANCE)})
    )


def write(files: Sequence[Path]) -> None:
    """Write one table a runtime from the tables of its spaces."""
    by_runtime: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_runtime[load_table(file).header.runtime].append(file)
    for runtime, parts in by_runtime.items():
        merged = merge_tables([load_table(part) for part in parts], [str(part) for part in parts])
        out = HERE / DEVICE.stem / f"{runtime}-fp32-t1.json"
        out.parent.mkdir(exist_ok=True)
        save_table(named(merged), out)
        print(f"{out.relative_to(HERE.parent)}: {len(merged.entries)} rows")


if __name__ == "__main__":
    if sys.argv[1:]:
        write([Path(argument) for argument in sys.argv[1:]])
    else:
        with tempfile.TemporaryDirectory() as scratch:
            write(measured(Path(scratch)))
