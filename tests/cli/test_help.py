"""Help is instant, lists the verbs in the order of the flow, and its examples run."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys

import pytest
import typer

from hwnas.cli import VERBS, app
from hwnas.pipeline.config.run import PRESETS

PREFIX = "Example:  "
# what an example leaves to the defaults, made quick; the last value of an option counts
QUICK = {
    "search": "--evaluations 1 --epochs 1 --workers 1",
    "retrain": "--epochs 1",
    "export": "--format onnx",
}


def commands(group, path=()):
    """Every command of the tree with its path, groups included."""
    found = {path: group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, (*path, name))
    return found


COMMANDS = commands(typer.main.get_command(app))
EXAMPLES = sorted(
    {
        example.strip()
        for command in COMMANDS.values()
        for example in (command.epilog or "").removeprefix(PREFIX).split(" ; ")
    }
)


def test_help_takes_less_than_a_third_of_a_second():
    """Of processor time, which other programs on the machine do not lengthen by waiting."""

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", "from hwnas.cli import main; main()", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "Commands:" in done.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert any(seconds() < 0.3 for _ in range(8))  # the quietest that a shared machine has


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from hwnas.cli import app; "
        "print(sorted({'torch', 'numpy', 'scipy', 'pydantic', 'rich', 'matplotlib'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_verbs_are_listed_in_the_order_of_the_flow(hwnas):
    out = hwnas("--help").out
    listed = [
        line.split()[0]
        for line in out.split("Commands:")[1].splitlines()
        if line.startswith("  ") and line.split()
    ]
    assert tuple(listed[: len(VERBS)]) == VERBS
    assert set(VERBS) == {path[0] for path in COMMANDS if path}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "hwnas")
def test_every_help_ends_with_an_example_of_itself(hwnas, path):
    answer = hwnas(*path, "--help")
    assert answer.code == 0
    assert hwnas(*path, "-h").out == answer.out
    epilog = COMMANDS[path].epilog
    assert epilog.startswith(PREFIX + " ".join(("hwnas", *path)))
    assert " ".join(answer.out.split()).endswith(" ".join(epilog.split()))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "hwnas")
def test_every_command_and_option_says_what_it_is(path):
    assert COMMANDS[path].help
    silent = [
        parameter.name
        for parameter in COMMANDS[path].params
        if not getattr(parameter, "help", None)
    ]
    assert silent == []


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "hwnas")
def test_a_list_of_commands_repeats_the_first_sentence_of_each(path):
    for name, entry in getattr(COMMANDS[path], "entries", {}).items():
        assert COMMANDS[(*path, name)].help.splitlines()[0] == entry.summary


def test_a_long_help_groups_its_options_and_ends_with_those_of_all_commands(hwnas):
    out = hwnas("search", "--help").out
    titles = [line[:-1] for line in out.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles[0] == "Options"
    assert titles[-1] == "Common options"
    assert {"Limits", "Strategy", "Training", "Published weights"} < set(titles)
    assert out.index("--evaluations") > out.index("Strategy:")


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_runs(shop, hwnas, make_table, monkeypatch, example):
    program, verb, *rest = shlex.split(example)
    assert program == "hwnas"
    _set_out(shop, verb, make_table)
    if verb == "run":
        monkeypatch.setitem(PRESETS, "demo", _quicker(PRESETS["demo"]))
    answer = hwnas(verb, *rest, *QUICK.get(verb, "").split())
    if (verb, *rest[:1]) == ("lut", "check"):  # of a made-up table: not what this machine measures
        assert answer.code == 1, answer.err
        assert "Next: " in answer.out
    else:
        assert answer.code == 0, answer.err
        assert answer.out


def _set_out(shop, verb, make_table):
    """Bring the shop to the state in which someone would type the example."""
    for name in ("old", "new", "a", "b"):
        make_table(shop / f"{name}.json")
    if verb == "profile":
        (shop / "t.json").unlink()
    if verb == "search":
        (shop / "r").rename(shop / "earlier")
    later = {
        "retrain": ("retrained.json",),
        "export": ("export/index.json",),
        "bench": ("bench/host-onnxruntime-fp32.json", "winner.json"),
    }
    for name in later.get(verb, ()):
        (shop / "r" / name).unlink()


def _quicker(demo):
    """The demo with less of everything, on the runtime that needs no slow conversion."""
    once = {"epochs": 1, "warmup_epochs": 0}
    target = {**demo["targets"][0], "runtime": "onnxruntime", "calibrate": 2, "validate": 0}
    return {
        **demo,
        "targets": [target],
        "workers": 1,
        "formats": ["onnx"],
        "search": {"evaluations": 1, "recipe": once},
        "retrain": {"top": 1, "recipe": once},
        "bench": {"baselines": []},
    }
