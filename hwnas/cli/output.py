"""What the command line prints: results, log messages, progress, and errors as exit codes.

Results go to standard output. The package's log, progress and errors go to standard error.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from hwnas.errors import HwnasError
from hwnas.io.progress import reporting

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)

INTERRUPTED = 130
PLAIN_INTERVAL_S = 5.0


def guarded(function: Any) -> Callable[..., None]:
    """Return ``function`` with every expected failure turned into a message and an exit code."""

    @functools.wraps(function)
    def verb(*args: Any, **kwargs: Any) -> None:
        try:
            with log_to_stderr():
                function(*args, **kwargs)
        except HwnasError as error:
            _print_error(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            raise  # the reader of standard output has enough; the framework ends quietly
        except OSError as error:
            _print_error(
                f"error: {error.filename or 'a file'}: {error.strerror or error}. "
                "Next: check the path and its permissions, then repeat the command"
            )
            raise typer.Exit(HwnasError.exit_code) from None
        except KeyboardInterrupt:
            how = " with --resume" if "resume" in kwargs else ""
            _print_error(
                "interrupted: what was measured and trained so far is kept. "
                f"Next: repeat the command{how}"
            )
            raise typer.Exit(INTERRUPTED) from None

    return verb


def print_text(text: str) -> None:
    """Print a result to standard output."""
    typer.echo(text)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def _print_error(text: str) -> None:
    typer.echo(text, err=True)


class _StderrHandler(logging.Handler):
    """Prints each message to what standard error is at that moment, warnings marked as such."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        typer.echo(prefix + self.format(record), err=True)


@contextmanager
def log_to_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Print the package's log messages of ``level`` and above to standard error inside the block.

    The logger is as it was afterwards: a program that calls the command line in its own process
    keeps its own handlers and levels.
    """
    log, handler = logging.getLogger("hwnas"), _StderrHandler()
    before = log.level
    log.addHandler(handler)
    log.setLevel(level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print_text("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


class Display:
    """Shows the progress that library functions report inside the block, with the time left.

    On a terminal as bars, elsewhere as a log message every few seconds.
    """

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._last_line = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Display:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bars.start()
            self._stack.callback(self._bars.stop)
        self._stack.enter_context(reporting(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a stage are done."""
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total)
            self._bars.update(self._tasks[stage], completed=done, total=total)
            return
        now = time.monotonic()
        first = stage not in self._begun
        begun = self._begun.setdefault(stage, now)
        if first or done == total or now - self._last_line >= PLAIN_INTERVAL_S:
            self._last_line = now
            left = (now - begun) / done * (total - done) if done and not first else None
            logger.info(f"{stage} {done}/{total}" + (f", {left:.0f} s left" if left else ""))
