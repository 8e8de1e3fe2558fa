"""The code blocks of README and documentation run, page by page, in the order of the page.

Blocks of ``yaml`` and ``json`` with a ``title`` are written to that file. ``bash`` blocks run line
by line without a shell; ``python`` blocks of a page share their names. A block that cannot run here
is preceded by ``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hwnas.cli import app
from hwnas.executor.local import run_tasks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {"cli.md", "configuration.md", "registries.md", "files.md"}
PROFILE = (
    "hwnas profile --device host --runtime onnxruntime --space tiny --calibrate 8 --out table.json"
)
SILENT = {"text", "mermaid"}  # shown, not run: output and drawings
_BLOCK = re.compile(
    r"(?P<skip><!-- not run: (?P<reason>[^>]+) -->\n)?"
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?[^\n]*\n(?P<body>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    body: str
    title: str | None
    reason: str | None


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for found in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield Block(found["language"], found["body"], found["title"], found["reason"])


def pages_with_code() -> list[Path]:
    """Return the pages that hold a block to run."""
    return [
        page
        for page in PAGES
        if page.name not in GENERATED
        and any(b.language in ("bash", "python") and not b.reason for b in blocks_of(page))
    ]


def commands_of(body: str) -> list[list[str]]:
    """Return the commands of a shell block, continuation lines joined, as argument lists."""
    lines = body.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if shlex.split(line, comments=True)]


def run_command(words: list[str]) -> None:
    """Run a command of the documentation; every one is a command of hwnas.

    It runs in this process, since a fresh one imports torch for seconds; one with a plugin in a
    process of its own, since entries stay. ``lut check`` may find that the host has drifted since
    the page profiled it (status 1).
    """
    assert words[0] == "hwnas", f"only hwnas commands are run, got {words}"
    if "--plugin" in words:
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, check=False
        )
        code, out, err = done.returncode, done.stdout, done.stderr
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # as the command line runs
            result = CliRunner().invoke(app, words[1:])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        code, out, err = result.exit_code, result.stdout, result.stderr
    drifted = words[1:3] == ["lut", "check"] and "the device as a whole is at x" in out
    assert code == (1 if drifted and code else 0), f"{shlex.join(words)}\n{out}\n{err}"


@pytest.fixture(autouse=True, scope="module")
def train_in_this_process() -> Iterator[None]:
    """A fresh process imports torch for seconds."""

    def run_here(function: Any, tasks: Any, **_: Any) -> Iterator[tuple[str, Any]]:
        return run_tasks(function, {key: (task, 1) for key, (task, _) in tasks.items()}, workers=1)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hwnas.train.task.run_tasks", run_here)
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The table of ``PROFILE``, the command that many pages begin with: measured once for all."""
    folder = tmp_path_factory.mktemp("table")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HWNAS_CACHE", str(tmp_path_factory.getbasetemp() / "docs-models"))
        patched.chdir(folder)
        run_command(shlex.split(PROFILE))
    return (folder / "table.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", pages_with_code(), ids=lambda page: page.stem)
def test_code_runs(page: Path, table, tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path_factory.getbasetemp() / "docs-models"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    ran = 0
    blocks = list(blocks_of(page))
    if not any(b.language == "bash" and "profile" in b.body and not b.reason for b in blocks):
        Path("table.json").write_text(table, encoding="utf-8")
    for block in blocks:
        if block.reason:
            continue
        if block.title:
            Path(block.title).write_text(block.body, encoding="utf-8")
        elif block.language == "bash":
            for words in commands_of(block.body):
                if words == shlex.split(PROFILE):
                    Path("table.json").write_text(table, encoding="utf-8")
                else:
                    run_command(words)
                ran += 1
        elif block.language == "python":
            exec(compile(block.body, str(page), "exec"), names)
            ran += 1
    assert ran


def test_every_block_is_of_a_kind_that_runs_or_says_why_not():
    for page in PAGES:
        if page.name in GENERATED:
            continue
        for block in blocks_of(page):
            runs = block.language in ("bash", "python") or block.title
            assert runs or block.language in SILENT or block.reason, (page, block.body[:80])
            if block.reason:
                assert len(block.reason) > 10
