"""How fast 100,000 architectures are predicted: as arrays, and from and to JSON lines.

Beside it, in the same run, what the published tools do: one dictionary look-up per block and
architecture, keyed by a text (the tables of ProxylessNAS and Once-for-All). No device is needed:
the table is synthetic.
Usage: python benchmarks/latency/predict_speed.py [--archs 100000] [--repeats 7]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import Measurement
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import save_table
from hwnas.latency.table.schemas import Calibration, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.space.catalogue import load_space


def synthetic_table(space: SearchSpace) -> LatencyTable:
    """Return a table whose rows cost one millisecond per ten million MACs."""
    ops = {op for f in space.factors() for op in f.ops.ravel() if op is not None}
    header = TableHeader(
        device="host",
        runtime="litert",
        runtime_version="synthetic",
        precision="fp32",
        threads=1,
        affinity=None,
        layout="nhwc",
        protocol=TimingProtocol(),
        host={},
        date="2000-01-01",
    )
    entries = {op: Measurement(op.macs / 1e7, 1, 1, 1, 1, 12, 36, 0.01) for op in ops}
    calibration = Calibration(
        scale=1.05,
        per_op_ms=0.001,
        constant_ms=0.1,
        num_networks=16,
        mean_abs_rel_error=0.01,
        max_abs_rel_error=0.02,
    )
    return LatencyTable(header, entries, {space.name: calibration})


def loop_of_lookups(space: SearchSpace, table: LatencyTable, codes: np.ndarray) -> list[float]:
    """Predict one architecture at a time by text keys, as the published tables are used."""
    rows = {op.key: m.latency_ms for op, m in table.entries.items()}
    keys = [[None if op is None else op.key for op in f.ops.ravel()] for f in space.factors()]
    choices = [f.choices for f in space.factors()]
    predicted = []
    for code in codes.tolist():
        total = 0.0
        for options, choice in zip(keys, choices, strict=True):
            key = options[code[choice[0]]] if choice else options[0]
            if key is not None:
                total += rows[key]
        predicted.append(total)
    return predicted


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    space = load_space("proxyless")
    table = synthetic_table(space)
    sizes = [len(choice.options) for choice in space.choices]
    codes = stream(0, "benchmark").integers(sizes, size=(options.archs, len(sizes)))
    codes = codes.astype(np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predictor = LutPredictor(space, table)
    arrays, loops, files = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_table(table, folder / "table.json")
        lines = [json.dumps(arch.to_json()) for arch in space.decode(codes)]
        (folder / "archs.jsonl").write_text("\n".join(lines) + "\n")
        command = [
            sys.executable,
            "-c",
            "from hwnas.cli import main; main()",
            "predict",
            "--space",
            "proxyless",
            "--lut",
            str(folder / "table.json"),
            "--archs",
            str(folder / "archs.jsonl"),
            "--json",
        ]
        for _ in range(options.repeats):  # interleaved: drift hits all three alike
            start = time.perf_counter()
            predictor.predict_ms(codes)
            arrays.append(time.perf_counter() - start)
            start = time.perf_counter()
            loop_of_lookups(space, table, codes)
            loops.append(time.perf_counter() - start)
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, check=True)
            files.append(time.perf_counter() - start)
            assert done.stdout.count(b"latency_ms") == options.archs
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}; "
        f"{options.archs:,} architectures of proxyless, median of {options.repeats} "
        "interleaved runs"
    )
    array_s, loop_s, file_s = (float(np.median(times)) for times in (arrays, loops, files))
    print(f"as arrays           {array_s * 1e3:8.1f} ms")
    print(f"loop of look-ups    {loop_s * 1e3:8.1f} ms  ({loop_s / array_s:.0f} x as long)")
    print(
        f"JSON lines to lines {file_s:8.2f} s   (whole process: start, table, read, predict, "
        "name, write)"
    )


if __name__ == "__main__":
    main()
