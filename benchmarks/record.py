"""Run a benchmark and write what it prints into RESULTS.md, with host, date, commit and command.

    python benchmarks/record.py latency/predict_speed.py --repeats 9

Every figure of README and the documentation comes from a section of RESULTS.md. A section belongs
to one command: running the command again replaces it. A benchmark that fails replaces nothing.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
PACKAGES = ("numpy", "torch", "onnxruntime", "ai-edge-litert")
INTRODUCTION = """\
# Results

Written by `benchmarks/record.py`; do not edit sections by hand. Each section is the output of one
command on one machine. Latencies of a shared or virtual machine vary from session to session:
compare figures of one section with each other, and sections with care.
"""
_SECTION = re.compile(r"^## `(?P<command>[^`]+)`$", re.MULTILINE)


def processor() -> str:
    """Return the model name of the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^(?:model name|Model)\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def commit() -> str:
    """Return the commit that is checked out, marked where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", ":!benchmarks/RESULTS.md", "--untracked-files=no")
    return git("rev-parse", "--short=10", "HEAD") + (" and uncommitted changes" if changed else "")


def sections(text: str) -> dict[str, str]:
    """Return the sections of RESULTS.md by their command, each without its heading."""
    found = list(_SECTION.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        match["command"]: text[match.end() : end].strip()
        for match, end in zip(found, ends, strict=True)
    }


def section(output: str, seconds: float) -> str:
    """Return the text of a section: where and when, then what was printed."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {packages}.\n"
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {commit()}, "
        f"{seconds:.0f} s.\n\n```text\n{output.rstrip()}\n```"
    )


def run(script: Path, arguments: Sequence[str]) -> tuple[str, float]:
    """Run a benchmark, show what it prints as it comes, and return it with the seconds taken."""
    start = datetime.now(timezone.utc)
    lines = []
    with subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    return "".join(lines), (datetime.now(timezone.utc) - start).total_seconds()


def main(arguments: Sequence[str]) -> None:
    """Run the benchmark named by the first argument and record what it prints."""
    if not arguments or not (HERE / arguments[0]).is_file():
        raise SystemExit(__doc__)
    output, seconds = run(HERE / arguments[0], arguments[1:])
    shown = [word if "/" not in word else f"{Path(word).name}" for word in arguments[1:]]
    command = shlex.join(["python", f"benchmarks/{arguments[0]}", *shown])
    known = sections(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known[command] = section(output, seconds)
    body = "\n\n".join(f"## `{name}`\n\n{known[name]}" for name in sorted(known))
    RESULTS.write_text(f"{INTRODUCTION}\n{body}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
