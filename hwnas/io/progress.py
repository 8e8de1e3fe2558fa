"""Progress of long work, reported to whoever listens: a context variable instead of a parameter.

Library functions call :func:`report`; a caller that wants to see progress wraps the call in
:func:`reporting`. Without a listener nothing happens. A listener belongs to its context: other
threads and processes have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Reporter: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of a stage, the number of its units done, and their total number."""

_reporter: ContextVar[Reporter | None] = ContextVar("hwnas_reporter", default=None)


def report(stage: str, done: int, total: int) -> None:
    """Report that ``done`` of ``total`` units of ``stage`` are done."""
    reporter = _reporter.get()
    if reporter is not None:
        reporter(stage, done, total)


@contextmanager
def reporting(to: Reporter) -> Iterator[None]:
    """Send all reports made inside the block to ``to``; an outer listener gets none of them.

    Example:
        >>> with reporting(lambda stage, done, total: print(f"{stage}: {done} of {total}")):
        ...     report("timing", 1, 2)
        timing: 1 of 2
    """
    token = _reporter.set(to)
    try:
        yield
    finally:
        _reporter.reset(token)
