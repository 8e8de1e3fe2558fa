"""The door: every expected failure is a message and an exit code; progress without a terminal."""

from __future__ import annotations

import json
import logging

import pytest
import typer

from hwnas.cli import output
from hwnas.cli.output import Display, guarded, log_to_stderr, print_json, print_table
from hwnas.errors import (
    DeviceError,
    HwnasError,
    InfeasibleError,
    InputError,
    MissingRowError,
    StorageError,
    UsageError,
)
from hwnas.io.progress import report


def outcome(error, **kwargs):
    @guarded
    def verb(**_):
        raise error

    with pytest.raises(typer.Exit) as caught:
        verb(**kwargs)
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("the rule"), 2),
        (InputError("the rule", ["a", "b"]), 1),
        (HwnasError("the rule"), 1),
        (InfeasibleError("the rule"), 1),
        (MissingRowError("the rule"), 1),
        (DeviceError("the rule"), 1),
        (StorageError("the rule"), 1),
    ],
)
def test_an_error_of_ours_is_its_message_and_its_exit_code(capsys, error, code):
    assert outcome(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {error}\n"


def test_an_error_of_the_system_names_the_file_and_a_next_step(capsys):
    assert outcome(PermissionError(13, "Permission denied", "there/t.json")) == 1
    assert capsys.readouterr().err == (
        "error: there/t.json: Permission denied. Next: check the path and its permissions, then "
        "repeat the command\n"
    )


def test_a_reader_that_had_enough_is_no_error_of_ours(capsys):
    @guarded
    def verb():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        verb()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("kwargs", "next_step"),
    [({"resume": False}, "repeat the command with --resume"), ({}, "repeat the command")],
)
def test_an_interruption_says_how_to_go_on(capsys, kwargs, next_step):
    assert outcome(KeyboardInterrupt(), **kwargs) == 130
    assert capsys.readouterr().err == (
        "interrupted: what was measured and trained so far is kept. Next: " + next_step + "\n"
    )


def test_a_mistake_of_the_program_is_not_hidden():
    @guarded
    def verb():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verb()


def test_results_and_messages_go_to_their_own_streams(capsys):
    print_json({"latency_ms": 3.5})
    log = logging.getLogger("hwnas.somewhere")
    log.info("nobody listens")
    with log_to_stderr():
        log.info("a message")
        log.warning("beware")
        log.debug("a detail")
    log.info("nobody listens")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"latency_ms": 3.5}
    assert err == "a message\nwarning: beware\n"


def test_what_is_no_json_is_never_printed_as_json(capsys):
    with pytest.raises(ValueError, match="JSON compliant"):
        print_json({"latency_ms": float("nan")})
    assert capsys.readouterr().out == ""


def test_a_table_is_aligned_and_ends_its_lines_clean(capsys):
    print_table(["name", "ms"], [["long name", "1"], ["b", "22.5"]])
    assert capsys.readouterr().out == "name       ms\nlong name  1\nb          22.5\n"


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [1000.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    return now


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, clock):
    with log_to_stderr(), Display():
        for done in range(11):
            clock[0] = 1000 + done
            report("timing", done, 10)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["timing 0/10", "timing 5/10, 5 s left", "timing 10/10"]


def test_each_stage_begins_and_ends_with_a_line(capsys, clock):
    with log_to_stderr(), Display() as display:
        display("one", 0, 2)
        display("one", 1, 2)
        display("one", 2, 2)
        display("two", 1, 3)
        display("two", 3, 3)
    assert capsys.readouterr().err.splitlines() == ["one 0/2", "one 2/2", "two 1/3", "two 3/3"]


def test_a_terminal_gets_bars_on_standard_error(capsys, monkeypatch):
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True, raising=False)
    with Display() as display:
        display("timing", 1, 4)
        display("timing", 4, 4)
    out, err = capsys.readouterr()
    assert out == ""
    assert "timing" in err
    assert "4/4" in err
