"""Today's outputs of the command line against the recorded ones, but for the names in renames.py.

The cases and what they run are in ``record.py``. Numbers with decimals may differ in the last
digits (TOLERANCE), everything else is equal. Cases that train or convert are marked slow; those
that train are compared on processors with the instructions they were recorded with only, because
sums in another order end in other weights.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
TOLERANCE = 1e-6
NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]?\d+)?(?![\w.])|(?<![\w.])-?\d+e[+-]?\d+(?!\w)")
COLUMNS = re.compile(r"(?<=\S) {2,}")
SHOWN = 200


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


renames = _loaded("renames")
record = _loaded("record")


def recorded_now(names: list[str], out: Path) -> None:
    """Carry out cases in a fresh process, as the command line runs."""
    paths = [str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(HERE / "record.py"), "--out", str(out), *names],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def outputs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with today's outputs of all quick cases that are asked for."""
    out = tmp_path_factory.mktemp("golden")
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == Path(__file__)
        and hasattr(item, "callspec")
        and "name" in item.callspec.params
    }
    quick = [name for name, case in record.CASES.items() if name in asked and not case.slow]
    if quick:
        recorded_now(quick, out)
    return out


def renamed(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was recorded with today's names; commands and asked files keep the old ones."""

    def text(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: text(item) for key, item in one.items()}
        if isinstance(one, list):
            return [text(item) for item in one]
        if isinstance(one, str):
            for old, new in renames.TEXT:
                one = one.replace(old, new)
        return one

    def names(one: Any) -> Any:
        return text(values(record.renamed_keys(one, renames.JSON_KEYS)))

    found = []
    for step in steps:
        now = {key: names(item) for key, item in step.items()}
        if "command" in step:
            now["command"] = step["command"]
        if "files" in step:
            now["files"] = {name: names(content) for name, content in step["files"].items()}
        if "file" in step:
            head, _, rest = step["file"].partition("/")
            now["file"] = f"{head}/{renames.FILES.get(rest, rest)}"
        if "lines" in step:
            now["lines"] = [
                " ".join(renames.WORDS.get(word, word) for word in line.split())
                for line in now["lines"]
            ]
        found.append(now)
    return found


def values(one: Any) -> Any:
    """Return ``one`` with the values of VALUES called what they are called today."""
    if isinstance(one, dict):
        return {
            key: renames.VALUES.get((key, item), item) if isinstance(item, str) else values(item)
            for key, item in one.items()
        }
    return [values(item) for item in one] if isinstance(one, list) else one


def without_new(one: Any) -> Any:
    """Return today's output without the keys and messages that did not exist."""
    if isinstance(one, dict):
        kept = {
            key: without_new(item)
            for key, item in one.items()
            if not (key in renames.NEW_KEYS and item == renames.NEW_KEYS[key])
        }
        if "stderr" in kept:
            kept["stderr"] = [
                line
                for line in kept["stderr"]
                if not any(re.fullmatch(pattern, line) for pattern in renames.NEW_LINES)
            ]
            if not kept["stderr"]:
                del kept["stderr"]
        return kept
    return [without_new(item) for item in one] if isinstance(one, list) else one


def same(one: str, two: str) -> bool:
    """Whether two lines differ at most in the last digits of numbers with decimals."""
    if one == two:
        return True
    if NUMBER.sub("#", one) != NUMBER.sub("#", two):
        return False
    return all(
        abs(float(a) - float(b)) <= TOLERANCE * max(abs(float(a)), abs(float(b)))
        for a, b in zip(NUMBER.findall(one), NUMBER.findall(two), strict=True)
    )


def difference(golden: Any, found: Any) -> list[str]:
    """Return a unified diff of what differs by more than TOLERANCE, or the width of columns."""
    old, new = (
        [COLUMNS.sub("  ", line) for line in record.pretty(value, width=0).splitlines()]
        for value in (golden, found)
    )
    if len(old) == len(new):
        new = [o if same(o, n) else n for o, n in zip(old, new, strict=True)]
    return list(difflib.unified_diff(old, new, "recorded", "today", n=6, lineterm=""))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if case.slow else [])
        for name, case in record.CASES.items()
    ],
)
def test_the_command_line_says_and_writes_what_it_did(name, outputs):
    case = record.CASES[name]
    if case.trains:
        then = (record.OUTPUTS / f"{name}.processor").read_text().strip()
        if then != record.processor():
            pytest.skip(f"recorded with {then}, this is {record.processor()}")
    if case.slow:
        recorded_now([name], outputs)
    recorded = json.loads((record.OUTPUTS / f"{name}.json").read_text(encoding="utf-8"))
    golden = without_new(recorded if name in renames.TODAY else renamed(recorded))
    found = without_new(json.loads((outputs / f"{name}.json").read_text(encoding="utf-8")))
    if case.subset:
        (now,), (then,) = ([set(step["lines"]) for step in steps] for steps in (found, golden))
        assert sorted(then - now - set(renames.ABSENT)) == []
        return
    lines = difference(golden, found)
    assert not lines, "\n".join([f"{len(lines)} lines of differences:", *lines[:SHOWN]])


def test_names_may_change_as_they_are_written_down_and_figures_may_not(monkeypatch):
    then = [
        {
            "command": "hwnas lut show t.json",
            "stdout": ["lut  mean 1.20%", "x  0.5000001"],
            "json": {"best": {"ms": 2.0, "id": "0a"}, "ms": 1},
        }
    ]
    now = [
        {
            "command": "hwnas lut show t.json",
            "stdout": ["table      mean 1.20%", "x  0.5"],
            "json": {"best": {"latency_ms": 2.0, "id": "0a"}, "ms": 1},
        }
    ]
    assert difference(renamed(then), now)
    monkeypatch.setattr(renames, "JSON_KEYS", {"best/ms": "latency_ms"})
    monkeypatch.setattr(renames, "TEXT", [("lut", "table")])
    assert difference(renamed(then), now) == []
    now[0]["json"]["best"]["latency_ms"] = 2.001
    assert '"latency_ms": 2.001' in "\n".join(difference(renamed(then), now))
