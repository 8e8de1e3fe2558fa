"""What an installation takes on disk, by extra, beside an empty environment.

    python benchmarks/record.py install_size.py

Each row is a fresh virtual environment into which the working tree is installed by pip.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def disk_bytes(folder: Path) -> int:
    """Return what the files below ``folder`` occupy, links not followed."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def install(extra: str, folder: Path) -> float:
    """Make an environment and install the working tree with ``extra``; return the seconds."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    what = f"{ROOT}[{extra}]" if extra else str(ROOT)
    begin = time.monotonic()
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", what]
    subprocess.run(command, check=True)
    return time.monotonic() - begin


def main() -> None:
    """Print one line an extra."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extras", nargs="*", default=["", "device", "predict", "all"])
    extras = parser.parse_args().extras
    with tempfile.TemporaryDirectory() as scratch:
        empty = Path(scratch) / "empty"
        subprocess.run([sys.executable, "-m", "venv", str(empty)], check=True)
        print(f"{'empty environment':18} {disk_bytes(empty) / 1e6:7.0f} MB")
    for extra in extras:
        with tempfile.TemporaryDirectory() as scratch:
            seconds = install(extra, Path(scratch) / "env")
            name = f"hwnas[{extra}]" if extra else "hwnas"
            size = disk_bytes(Path(scratch) / "env")
            print(f"{name:18} {size / 1e6:7.0f} MB   installed in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
