"""Every command that a message of hwnas suggests is one that the command line takes.

Messages are read from the source: a call of ``suggest.command`` with its verb and the names of its
options, and text that holds ``hwnas VERB ... --option``, where a value that is filled in counts as
any value.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import hwnas
from hwnas.cli import app

UsageError: Any = typer.BadParameter.__base__  # of the click that typer brings
PACKAGE = Path(hwnas.__file__).parent
VALUE = "7"  # a number and a word
SWITCHES = {"resume"}  # where the call passes on whether they are given
WRITTEN = re.compile(r"hwnas ((?:[a-z]+ ?)+[^`'\";:()\n]*)")
PROSE = re.compile(r"(,|\.) | (and|or|needs|trains|says) ")


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def _text(node: ast.AST) -> str | None:
    """Return a string's text, with VALUE where something is filled in; None for other nodes."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
        )
    return None


def _calls() -> list[tuple[str, list[str]]]:
    """Return the place and the words of every ``command(...)``."""
    found = []
    for path, tree in _sources():
        for node in ast.walk(tree):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if not is_call or node.func.id != "command" or path.name == "suggest.py":
                continue
            verb = node.args[0]
            assert isinstance(verb, ast.Constant), f"{path}: the verb is written out"
            words = [*str(verb.value).split(), *(VALUE for _ in node.args[1:])]
            for option in node.keywords:
                assert option.arg is not None
                words.append("--" + option.arg.replace("_", "-"))
                given = option.value
                is_true = isinstance(given, ast.Constant) and given.value is True
                if not is_true and option.arg not in SWITCHES:
                    words.append(VALUE)
            found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", words))
    return found


def _texts() -> list[tuple[str, list[str]]]:
    """Return the place and the words of every command with an option in a message."""
    found = []
    for path, tree in _sources():
        hidden = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in ast.walk(node)
            if part is not node
        }
        hidden |= {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        hidden |= {  # who writes a file, not a suggestion
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "WRITTEN_BY"
        }
        for node in ast.walk(tree):
            text = None if id(node) in hidden else _text(node)
            for match in WRITTEN.finditer(text or ""):
                written = PROSE.split(match[1])[0].strip().rstrip(".")
                if "--" in written:
                    found.append(
                        (f"{path.relative_to(PACKAGE)}:{node.lineno}", shlex.split(written))
                    )
    return found


def _parse(words: list[str]) -> None:
    """Raise UsageError unless the command line takes the words; nothing is carried out."""
    command, rest = typer.main.get_command(app), list(words)
    while commands := getattr(command, "commands", None):
        name = rest.pop(0)
        if name not in commands:
            raise UsageError(f"there is no command {name}")
        command = commands[name]
    if not {"--help", "--schema"} & set(rest):
        command.make_context(words[0], rest)


@pytest.mark.parametrize(("place", "words"), _calls(), ids=lambda value: str(value)[:60])
def test_a_suggested_command_is_one_of_the_command_line(place, words):
    _parse(words)


@pytest.mark.parametrize(("place", "words"), _texts(), ids=lambda value: str(value)[:60])
def test_a_command_in_a_text_is_one_of_the_command_line(place, words):
    _parse(words)


def test_the_scan_finds_them():
    assert len(_calls()) >= 8
    assert len(_texts()) >= 15


@pytest.mark.parametrize(
    "words",
    [
        ["profile", "--validate", "32"],
        ["profiles", "--out", "t.json"],
        ["lut", "check", "t.json", "--devise", "host"],
    ],
    ids=lambda words: words[-1],
)
def test_an_incomplete_or_unknown_command_is_found(words):
    with pytest.raises(UsageError):
        _parse(words)
