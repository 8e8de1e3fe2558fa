"""Progress of long work, reported to whoever listens: context variables instead of parameters.

Library functions call :func:`report` and :func:`begin_stage`; a caller that wants to see progress
wraps the call in :func:`reporting`. Without a listener nothing happens. A listener belongs to its
context: other threads and processes have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeAlias

Reporter: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, the number of its units done, and their total number."""


@dataclass(frozen=True)
class Stage:
    """A stage of a whole run, and the trainings of single networks in it.

    ``epochs`` is their number of epochs, summed over networks; 0 where it trains none, or where the
    number is not known beforehand. ``unit_epochs`` maps what :func:`report` calls the trainings to
    the epochs of one unit.
    """

    name: str
    epochs: float = 0.0
    unit_epochs: Mapping[str, float] = field(default_factory=dict)


StageReporter: TypeAlias = Callable[[Sequence[Stage], int], None]
"""Called with all stages of a run in their order, and the number (from 0) of the one begun now."""

_reporter: ContextVar[Reporter | None] = ContextVar("hwnas_reporter", default=None)
_stage_reporter: ContextVar[StageReporter | None] = ContextVar("hwnas_stages", default=None)


def report(stage: str, done: int, total: int) -> None:
    """Report that ``done`` of ``total`` units of ``stage`` are done."""
    reporter = _reporter.get()
    if reporter is not None:
        reporter(stage, done, total)


def begin_stage(stages: Sequence[Stage], number: int) -> None:
    """Report that stage ``number`` (from 0) of a run's ``stages`` begins now."""
    reporter = _stage_reporter.get()
    if reporter is not None:
        reporter(stages, number)


@contextmanager
def reporting(to: Reporter, stages_to: StageReporter | None = None) -> Iterator[None]:
    """Send all reports made inside the block to ``to``; an outer listener gets none of them.

    ``stages_to`` is called as the stages of a whole run begin.

    Example:
        >>> with reporting(lambda stage, done, total: print(f"{stage}: {done} of {total}")):
        ...     report("timing", 1, 2)
        timing: 1 of 2
    """
    token, stage_token = _reporter.set(to), _stage_reporter.set(stages_to)
    try:
        yield
    finally:
        _reporter.reset(token)
        _stage_reporter.reset(stage_token)
