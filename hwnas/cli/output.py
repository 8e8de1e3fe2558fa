"""The one door in and out: results, messages, progress, and errors turned into exit codes."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from hwnas.errors import HwnasError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

INTERRUPTED = 130
PLAIN_INTERVAL_S = 5.0


def guarded(function: Any) -> Callable[..., None]:
    """Return ``function`` with every expected failure turned into a message and an exit code."""

    @functools.wraps(function)
    def verb(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except HwnasError as error:
            say(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:
            raise  # the reader of standard output has enough; the framework ends quietly
        except OSError as error:
            say(
                f"error: {error.filename or 'a file'}: {error.strerror or error}. "
                "Next: check the path and its permissions, then repeat the command"
            )
            raise typer.Exit(HwnasError.exit_code) from None
        except KeyboardInterrupt:
            how = " with --resume" if "resume" in kwargs else ""
            say(
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


def say(text: str) -> None:
    """Print a message to standard error."""
    typer.echo(text, err=True)


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print_text("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


class Display:
    """Progress with the time left: bars on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, float] = {}
        self._last_line = 0.0

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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

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
            say(f"{stage} {done}/{total}" + (f", {left:.0f} s left" if left else ""))
