"""What holds for every command: version, quiet and verbose, earlier names, plugins, start-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import hwnas as package
from hwnas.cli.verbs import VerbCommand, verb


def run_python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


def test_version_by_every_way_to_start():
    for way in (
        ("-m", "hwnas", "--version"),
        ("-c", "from hwnas.cli import main; main()", "--version"),
    ):
        done = run_python(*way)
        assert (done.returncode, done.stdout) == (0, f"hwnas {package.__version__}\n")


def test_the_module_is_called_hwnas_in_its_messages():
    done = run_python("-m", "hwnas", "spaces", "shwo")
    assert done.returncode == 2
    assert "Usage: hwnas spaces" in done.stderr
    assert "show" in done.stderr  # the nearest name


def test_the_shell_completes_verbs_and_options():
    def completed(words):
        done = run_python(
            "-m",
            "hwnas",
            _HWNAS_COMPLETE="complete_bash",
            COMP_WORDS=f"hwnas {words}",
            COMP_CWORD=str(len(words.split())),
        )
        return done.stdout.split()

    assert completed("re") == ["retrain", "report"]
    assert completed("runs com") == ["compare"]
    assert "--budget-ms" in completed("search --b")


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_quiet_hides_messages_but_no_warnings_results_and_errors(
    shop, hwnas, make_table, place, option
):
    table = json.loads((shop / "t.json").read_text())
    table["calibration"] = {}
    (shop / "bare.json").write_text(json.dumps(table))
    before, after = ([option], []) if place == "before" else ([], [option])
    loud = hwnas("devices")
    assert "Device files: " in loud.err
    quiet = hwnas(*before, "devices", *after)
    assert (quiet.out, quiet.err) == (loud.out, "")
    predict = ("predict", "--space", "tiny", "--lut", "bare.json", "--archs", "archs.jsonl")
    assert "warning: the table of host is not calibrated" in hwnas(*before, *predict, *after).err
    failed = hwnas(*before, "runs", "show", "nowhere", *after)
    assert (failed.code, failed.out) == (2, "")
    assert failed.err.startswith("error: nowhere is not a run folder")


def test_verbose_adds_the_traceback_of_an_error(hwnas, tmp_path):
    answer = hwnas("-v", "runs", "show", tmp_path)
    assert "Traceback" in answer.err
    assert "Traceback" not in hwnas("runs", "show", tmp_path).err


def test_a_command_in_a_program_leaves_its_logging_as_it_was(hwnas):
    import logging

    log = logging.getLogger("hwnas")
    before = (log.level, list(log.handlers))
    hwnas("devices")
    assert (log.level, list(log.handlers)) == before


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (("profile", "--device", "nowhere", "--space", "tiny", "--out", "t"), "--likes", None),
        (("lut", "show", "nowhere.json"), "--hot", "--breakdown"),
    ],
)
def test_an_earlier_option_name_works_and_names_its_successor(hwnas, words, old, new):
    new = new or "--augment-ops"
    value = ["3"] if old == "--likes" else []
    earlier, now = hwnas(*words, old, *value), hwnas(*words, new, *value)
    warning = f"warning: {old} is now called {new}; the next version will not accept {old}\n"
    assert earlier.err == warning + now.err
    assert (earlier.code, earlier.out) == (now.code, now.out)
    assert old not in hwnas(*words[:2] if words[0] == "lut" else words[:1], "--help").out
    if value:
        assert hwnas(*words, f"{old}=3").err == earlier.err


def test_only_whole_names_before_two_dashes_are_earlier_names():
    @verb("hwnas x", renamed={"--old": "--new"})
    def command(new: int = 0) -> None:
        """Do nothing."""

    made = command.command("x")
    assert isinstance(made, VerbCommand)
    assert [made._present(word) for word in ("--older", "old", "--new=--old")] == [
        "--older",
        "old",
        "--new=--old",
    ]


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_plugin_file_is_run_before_the_verb(hwnas, tmp_path, place):
    marker = tmp_path / "ran"
    (tmp_path / "plugin.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    option = ("--plugin", tmp_path / "plugin.py")
    words = (*option, "devices") if place == "before" else ("devices", *option)
    assert hwnas(*words).code == 0
    assert marker.exists()


def test_a_plugin_that_fails_is_an_error_with_its_line(hwnas, tmp_path):
    (tmp_path / "plugin.py").write_text("x = 1\nraise ValueError('no')\n")
    answer = hwnas("devices", "--plugin", tmp_path / "plugin.py")
    assert (answer.code, answer.out) == (1, "")
    assert "line 2 of plugin.py: ValueError: no" in answer.err


HEAVY = (
    "torch",
    "torchvision",
    "torch._dynamo",
    "scipy.stats",
    "sklearn",
    "matplotlib",
    "onnxruntime",
    "litert_torch",
    "pandas",
)


def loaded(shop, *arguments):
    """The heavy modules that a command has loaded when it is done."""
    code = (
        "import sys\nfrom hwnas.cli import app\ntry:\n    app()\nexcept SystemExit as exit:\n"
        f"    print([n for n in {HEAVY!r} if n in sys.modules], exit.code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=shop,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "modules"),
    [
        ("devices", []),
        ("spaces show tiny", []),
        ("spaces audit tiny --lut t.json --budget-ms 0.1", []),
        ("lut show t.json --breakdown", []),
        ("lut diff old.json new.json", []),
        ("predict --space tiny --lut t.json --archs archs.jsonl", []),
        ("runs list .", []),
        ("runs show r", []),
        ("runs compare r r", []),
        ("cache info", []),
        ("run --schema", []),
        ("export --arch arch.json --format onnx", ["torch", "onnxruntime"]),
    ],
)
def test_no_verb_loads_what_it_does_not_use(shop, make_table, command, modules):
    for name in ("old", "new"):
        make_table(shop / f"{name}.json")
    (shop / "arch.json").write_text((shop / "archs.jsonl").read_text().splitlines()[0])
    assert loaded(shop, *command.split()) == f"{modules} 0"


def test_importing_the_package_loads_nothing_heavy():
    names = (*HEAVY, "numpy", "typer", "pydantic")
    done = run_python("-c", f"import hwnas, sys; print([n for n in {names!r} if n in sys.modules])")
    assert done.stdout == "[]\n"
