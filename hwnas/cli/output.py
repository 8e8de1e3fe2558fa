"""What the command line prints: results, log messages, and errors as exit codes.

Results go to standard output. The package's log, progress and errors go to standard error, in
colour only on a terminal and never with ``NO_COLOR`` set (https://no-color.org).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer

from hwnas.errors import HwnasError, HwnasWarning
from hwnas.io.installed import missing_package

logger = logging.getLogger(__name__)

INTERRUPTED = 130


@contextmanager
def reported_errors(*, can_resume: bool = False) -> Iterator[None]:
    """Turn every expected failure inside the block into a message and an exit code.

    ``can_resume``: the command has an option ``--resume``, which an interruption then names.
    """
    try:
        yield
    except HwnasError as error:
        logger.debug("", exc_info=True)
        _print_error(str(error))
        raise typer.Exit(error.exit_code) from None
    except ModuleNotFoundError as error:
        told = missing_package(error)
        if told is None:
            raise
        logger.debug("", exc_info=True)
        _print_error(str(told))
        raise typer.Exit(told.exit_code) from None
    except BrokenPipeError:
        raise  # the reader of standard output has enough; the framework ends quietly
    except OSError as error:
        logger.debug("", exc_info=True)
        _print_error(
            f"{error.filename or 'a file'}: {error.strerror or error}. "
            "Next: check the path and its permissions, then repeat the command"
        )
        raise typer.Exit(HwnasError.exit_code) from None
    except KeyboardInterrupt:
        how = " with --resume" if can_resume else ""
        typer.echo(
            "interrupted: kept are complete measurements and evaluations, and trainings of "
            f"finalists up to their last whole epoch. Next: repeat the command{how}",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None


def print_text(text: str) -> None:
    """Print a result to standard output."""
    typer.echo(text)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print_text("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def print_warning(text: str) -> None:
    """Print a warning to standard error, also where no log is shown yet."""
    typer.echo(_marked("warning:", typer.colors.YELLOW) + f" {text}", err=True)


def _print_error(text: str) -> None:
    typer.echo(_marked("error:", typer.colors.RED) + f" {text}", err=True)


def _marked(word: str, colour: str) -> str:
    return typer.style(word, fg=colour, bold=True) if shows_colour() else word


def shows_colour() -> bool:
    """Whether standard error is a terminal whose user has not asked for plain text."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and is_capable_terminal()


def is_capable_terminal() -> bool:
    """Whether standard error is a terminal that can move its cursor."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _StderrHandler(logging.Handler):
    """Prints each message to what standard error is at that moment, warnings marked as such.

    A warning is printed once, however many stages of a command read the file that it is about.
    """

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            if text not in self._warned:
                print_warning(text)
            self._warned.add(text)
        else:
            typer.echo(text, err=True)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Take the place of ``warnings.showwarning``."""
    if issubclass(category, HwnasWarning):
        logger.warning("%s", message)
    else:
        logger.debug("%s:%d: %s: %s", filename, lineno, category.__name__, message)


@contextmanager
def log_to_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Print the package's log messages of ``level`` and above to standard error inside the block.

    Warnings of hwnas become log messages; those of libraries, which tell a developer of hwnas
    something, do so at the level of debugging. The logger is as it was afterwards: a program that
    calls the command line in its own process keeps its own handlers and levels.
    """
    log, handler = logging.getLogger("hwnas"), _StderrHandler()
    before, passed_on = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(level)
    # converters set handlers of their own on the root logger, which would print a message again
    log.propagate = False
    shown = warnings.showwarning
    warnings.showwarning = _log_warning
    try:
        yield
    finally:
        warnings.showwarning = shown
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = passed_on
