"""The API as a type checker sees it, in a script of a user who has ``mypy --strict``."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "user_script.py"
ROOT = Path(__file__).parents[2]

WRONG = """
import hwnas

space = hwnas.load_spice("tiny")
hwnas.load_space("tiny").sample(1, max_mss=3.0)
hwnas.Study("tiny", {"latencyms": 3.0})
hwnas.search("tiny", {"macs": 3e6}, evaluate=lambda arch: "good")
hwnas.search("tiny", {"macs": 3e6})
result: int = hwnas.search("tiny", {"macs": 3e6}, evaluate=lambda arch: 1.0)
"""
ERRORS = (
    (4, "attr-defined"),
    (5, "call-arg"),
    (6, "typeddict"),
    (7, "return-value"),
    (8, "call-arg"),
    (9, "assignment"),
)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[str]:
    """What mypy says of the script and of one full of mistakes; one run of it for both."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "wrong.py").write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(SCRIPT), str(folder / "wrong.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_the_script_of_a_user_has_no_error(found):
    assert [line for line in found if "wrong.py" not in line] == []


@pytest.mark.parametrize(("line", "kind"), ERRORS)
def test_mistakes_are_seen_by_a_type_checker(found, line, kind):
    errors = [text for text in found if f"wrong.py:{line}:" in text]
    assert any(kind in error for error in errors)


def test_the_script_runs(shop, capsys):
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("SearchResult(evolution on tiny")
    assert "there is no space 'tny'" in lines[-1]


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "hwnas" / "py.typed").is_file()
