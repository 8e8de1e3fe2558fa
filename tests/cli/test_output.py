"""Output: every expected failure is a message and an exit code; progress in bars or lines."""

from __future__ import annotations

import json
import logging

import pytest
import typer

from hwnas.cli import display as showing
from hwnas.cli import output
from hwnas.cli.display import Display, Rate
from hwnas.cli.output import log_to_stderr, print_json, print_table, reported_errors
from hwnas.errors import (
    DeviceError,
    HwnasError,
    InfeasibleError,
    InputError,
    MissingRowError,
    StorageError,
    UsageError,
)
from hwnas.io.progress import Stage, begin_stage, report


def outcome(error, **settings):
    with pytest.raises(typer.Exit) as caught, reported_errors(**settings):
        raise error
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
    with pytest.raises(BrokenPipeError), reported_errors():
        raise BrokenPipeError
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("kwargs", "next_step"),
    [({"can_resume": True}, "repeat the command with --resume"), ({}, "repeat the command")],
)
def test_an_interruption_says_how_to_go_on(capsys, kwargs, next_step):
    assert outcome(KeyboardInterrupt(), **kwargs) == 130
    assert capsys.readouterr().err == (
        "interrupted: kept are complete measurements and evaluations, and trainings of finalists "
        "up to their last whole epoch. Next: " + next_step + "\n"
    )


def test_a_mistake_of_the_program_is_not_hidden():
    with pytest.raises(ZeroDivisionError), reported_errors():
        raise ZeroDivisionError


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
    monkeypatch.setattr(showing.time, "monotonic", lambda: now[0])
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
    monkeypatch.setenv("TERM", "xterm")
    with log_to_stderr(), Display():
        begin_stage(RUN, 1)
        report("timing", 1, 4)
        report("timing", 4, 4)
    out, err = capsys.readouterr()
    assert out == ""
    assert "timing" in err
    assert "4/4" in err
    assert "2/3 search" in err


@pytest.mark.parametrize("plain", [{"TERM": "dumb"}, {}])
def test_a_terminal_without_cursor_or_a_quiet_command_gets_no_bars(capsys, monkeypatch, plain):
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", plain.get("TERM", "xterm"))
    with log_to_stderr(logging.INFO if plain else logging.WARNING), Display():
        report("timing", 4, 4)
    assert capsys.readouterr().err == ("timing 4/4\n" if plain else "")


def test_colour_is_for_terminals_whose_user_wants_it(capsys, monkeypatch):
    monkeypatch.setattr(output.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.shows_colour()
    outcome(UsageError("the rule"))
    assert "\x1b[" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    outcome(UsageError("the rule"))
    assert capsys.readouterr().err == "error: the rule\n"


RUN = (Stage("profile"), Stage("search", 8.0, {"evaluating": 4.0}), Stage("retrain", 10.0))


def test_a_whole_run_shows_its_stages_and_how_long_its_trainings_will_take(capsys, clock):
    with log_to_stderr(), Display():
        begin_stage(RUN, 0)
        report("timing", 5, 10)
        begin_stage(RUN, 1)
        report("evaluating", 0, 2)
        clock[0] += 40
        report("evaluating", 1, 2)
        clock[0] += 40
        report("evaluating", 2, 2)
        begin_stage(RUN, 2)
        report("retraining", 0, 1)
    assert capsys.readouterr().err.splitlines() == [
        "1/3 profile",
        "timing 5/10",
        "2/3 search",
        "evaluating 0/2",
        # 10 s an epoch: 40 s in this stage, 100 s in the next
        "evaluating 1/2, 40 s left (about 2 min of training left in the run)",
        "evaluating 2/2 (about 2 min of training left in the run)",
        "3/3 retrain",
        "retraining 0/1",
    ]


def test_work_of_an_earlier_session_does_not_shorten_the_estimate(capsys, clock):
    with log_to_stderr(), Display():
        begin_stage(RUN, 1)
        report("evaluating", 1, 4)
        clock[0] += 40
        report("evaluating", 2, 4)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "evaluating 2/4, 80 s left (about 3 min of training left in the run)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.4, "1 s"), (89, "89 s"), (95, "2 min"), (5400, "1.5 h")]
)
def test_durations_are_read_at_a_glance(seconds, text):
    assert showing.duration(seconds) == text


def test_many_units_are_estimated_without_the_start() -> None:
    rate = Rate(0.0, 0)
    assert rate.left_s(10.0, 1, 1001) is None  # 10 s of imports do not come again
    assert rate.left_s(10.1, 2, 1001) == pytest.approx(99.9)


def test_few_units_are_estimated_from_the_first() -> None:
    assert Rate(0.0, 2).left_s(60.0, 3, 6) == pytest.approx(180.0)


def test_units_that_were_there_before_took_no_time() -> None:
    rate = Rate(0.0, 900)
    rate.left_s(1.0, 901, 1000)
    assert rate.left_s(2.0, 902, 1000) == pytest.approx(98.0)


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = Rate(0.0, 0)
    for done in range(1, 501):  # from the cache
        rate.left_s(done / 1000, done, 1000)
    for done in range(501, 601):  # converted
        left_s = rate.left_s(float(done - 500), done, 1000)
    assert left_s == pytest.approx(400.0, rel=0.05)
