"""Errors and verbs that only read answer without loading what takes seconds to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hwnas.cli.app import COMMANDS

HEAVY = ("torch", "torchvision", "scipy", "matplotlib", "sklearn", "onnx")

SEARCH = ("search", "--space", "tiny", "--lut", "t.json", "--budget-ms", "3", "--data", "digits")

# each line is a command that fails, with its exit code
ERRORS = {
    "option": [((verb, "--no-such-option"), 2) for verb in COMMANDS],
    "run": [
        (("run",), 2),
        (("run", "wrong.yaml", "--out", "new"), 1),
        (("run", "broken.yaml", "--out", "new"), 1),
        (("run", "absent.yaml", "--out", "new"), 1),
    ],
    "search": [
        (("search",), 2),
        ((*SEARCH, "--strategy", "nosuch", "--out", "new"), 2),
        ((*SEARCH, "--space", "nosuch", "--out", "new"), 1),
        ((*SEARCH[:3], "--lut", "absent.json", *SEARCH[5:], "--out", "new"), 1),
        ((*SEARCH, "--out", "r"), 2),
        ((*SEARCH[:-1], "absent", "--out", "new"), 1),
    ],
    "other": [
        (("profile", "--space", "nosuch", "--device", "host", "--out", "new.json"), 1),
        (("profile", "--space", "tiny", "--device", "nosuch", "--out", "new.json"), 1),
        (("predict", "--space", "tiny", "--lut", "absent.json", "--archs", "archs.jsonl"), 1),
        (("evaluate", "--run", "absent", "--archs", "archs.jsonl"), 2),
        (("retrain", "--run", "absent"), 2),
        (("export", "--run", "absent"), 2),
        (("export", "--arch", "absent.json", "--out", "new"), 1),
        (("bench", "absent"), 2),
        (("report", "absent"), 2),
        (("report", "absent", "r"), 2),
        (("runs", "show", "absent"), 2),
        (("doctor", "--device", "nosuch"), 1),
    ],
}
READING = [
    ("devices",),
    ("spaces",),
    ("spaces", "show", "tiny"),
    ("spaces", "audit", "tiny", "--lut", "t.json", "--budget-ms", "0.1"),
    ("lut", "list"),
    ("lut", "show", "t.json"),
    ("lut", "diff", "t.json", "t.json"),
    ("predict", "--space", "tiny", "--lut", "t.json", "--archs", "archs.jsonl"),
    ("runs", "list", "."),
    ("runs", "show", "r"),
    ("runs", "compare", "r", "r"),
    ("cache", "info"),
    ("run", "--schema"),
]

# runs each command in turn and writes its exit code and the heavy modules that are loaded by then
SCRIPT = """
import contextlib, io, json, sys
from hwnas.cli import app
found = []
for arguments in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            app(arguments, prog_name="hwnas")
            code = 0
        except SystemExit as end:
            code = end.code or 0
    loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    found.append([code, loaded, errors.getvalue()])
print(json.dumps(found))
"""


def outcomes(folder, commands):
    """Return (exit code, heavy modules, standard error) after each command, in one process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands), json.dumps(HEAVY)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_comes_without_heavy_imports(shop, kind):
    (shop / "wrong.yaml").write_text("space: nosuch\nnonsense: 1\nsearch: {strategy: 3}\n")
    (shop / "broken.yaml").write_text("space: [\n")
    commands, codes = zip(*ERRORS[kind], strict=True)
    found = outcomes(shop, commands)
    for command, expected, (code, loaded, err) in zip(commands, codes, found, strict=True):
        assert (code, loaded) == (expected, []), f"{' '.join(command)}: {err}"
        assert err


def test_verbs_that_only_read_load_nothing_heavy(shop):
    found = outcomes(shop, READING)
    for command, (code, loaded, err) in zip(READING, found, strict=True):
        assert (code, loaded) == (0, []), f"{' '.join(command)}: {err}"
