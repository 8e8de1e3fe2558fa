"""What works where an extra is not installed: its packages are hidden from a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.io.installed import EXTRAS

# hides modules, then runs each command in turn and writes its exit code, output and errors
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
COMMANDS = """
import contextlib, io, json
from hwnas.cli import app
found = []
for arguments in json.loads(sys.argv[1]):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            app(arguments, prog_name="hwnas")
            code = 0
        except SystemExit as end:
            code = end.code or 0
    found.append([code, out.getvalue(), errors.getvalue()])
print(json.dumps(found))
"""


def without(extras: tuple[str, ...], script: str, *arguments: str, cwd: Path) -> str:
    """What a script prints where the packages of these extras are absent."""
    hidden = tuple(module for extra in extras for module in EXTRAS[extra])
    done = subprocess.run(
        [sys.executable, "-c", f"HIDDEN = {hidden!r}\n{HIDE}\n{script}", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


READING = [
    ("--help",),
    ("spaces", "show", "tiny"),
    ("spaces", "audit", "proxyless", "--lut", "pixel-1", "--budget-ms", "80"),
    ("lut", "list"),
    ("lut", "show", "pixel-1"),
    ("devices",),
    ("examples", "new"),
    ("predict", "--space", "tiny", "--lut", "t.json", "--archs", "archs.jsonl"),
    ("runs", "list", "."),
    ("runs", "show", "r"),
]
BUDGET = ("--budget-ms", "80", "--out", "new2")
HEAVY = [
    (("profile", "--space", "tiny", "--device", "host", "--out", "t.json"), "hwnas["),
    (
        ("search", "--space", "proxyless", "--data", "digits", "--lut", "pixel-1", *BUDGET),
        "hwnas[",
    ),
    (("retrain", "--run", "r"), "hwnas["),
    (("report", "r"), "hwnas[all]"),
]


def test_without_extras_tables_are_read_and_heavy_commands_name_what_to_install(
    shop: Path,
) -> None:
    commands = [*READING, *(arguments for arguments, _ in HEAVY)]
    found = json.loads(
        without(("device", "predict", "all"), COMMANDS, json.dumps(commands), cwd=shop)
    )
    for arguments, (code, out, errors) in zip(READING, found, strict=False):
        assert code == 0, (arguments, errors)
        assert out, arguments
    for (arguments, says), (code, _, errors) in zip(HEAVY, found[len(READING) :], strict=True):
        assert code != 0, arguments
        assert says in errors, (arguments, errors)
        assert "Traceback" not in errors


OWN_FUNCTION = """
import hwnas
space = hwnas.load_space("proxyless")
latency = hwnas.latency_model(space, hwnas.load_table("pixel-1"))
result = hwnas.search(
    space, {"latency_ms": (latency, 80.0)}, evaluate=lambda arch: len(str(arch)) / 1000,
    strategy="evolution", evaluations=60, seed=0,
)
print(len(result.trials), result.best.latency_ms)
for name in ("build", "export"):
    try:
        getattr(hwnas, name)(space, result.best.arch)
    except hwnas.MissingPackageError as error:
        print(error)
"""


@pytest.mark.filterwarnings("ignore")
def test_predict_searches_by_a_function_of_ones_own_without_torch(tmp_path: Path) -> None:
    lines = without(("device", "all"), OWN_FUNCTION, cwd=tmp_path).splitlines()
    evaluations, latency_ms = lines[0].split()
    assert int(evaluations) == 60
    assert float(latency_ms) <= 80
    assert len(lines) == 3
    assert all("Next: pip install 'hwnas[all]'" in line for line in lines[1:])


def test_device_measures_a_model_file_without_torch(shop: Path) -> None:
    model = next((shop / "r" / "winner").glob("*.onnx"))
    command = ("bench", str(model), "--json")
    ((code, out, errors),) = json.loads(
        without(("predict", "all"), COMMANDS, json.dumps([command]), cwd=shop)
    )
    assert code == 0, errors
    assert json.loads(out)["rows"][0]["measurement"]["latency_ms"] > 0


def test_a_board_without_its_runtime_says_what_to_install_there(tmp_path: Path) -> None:
    agent = "from hwnas.device import agent\nagent.main()"
    for runtime, package in (("litert", "ai-edge-litert"), ("onnxruntime", "onnxruntime")):
        hidden = f"HIDDEN = {EXTRAS['device']!r}\n{HIDE}\n{agent}"
        request = json.dumps({"cmd": "hello", "runtime": runtime, "threads": 1, "cpus": None})
        done = subprocess.run(
            [sys.executable, "-c", hidden],
            input=request + "\n",
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        answer = json.loads(done.stdout)
        assert not answer["ok"]
        assert f"-m pip install {package}" in answer["error"]
