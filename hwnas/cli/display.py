"""Progress on standard error: bars on a terminal, a log message every few seconds elsewhere."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from hwnas.cli.output import is_capable_terminal
from hwnas.io.progress import Stage, reporting

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)

PLAIN_INTERVAL_S = 5.0
FEW_UNITS = 20
WINDOW_S = 60.0


class Display:
    """Shows the progress that library functions report inside the block, with the time left."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._rates: dict[str, Rate] = {}
        self._last_line = 0.0
        self._stack = ExitStack()
        self._run = RunEstimate()
        self._run_task: TaskID | None = None

    def __enter__(self) -> Display:
        # bars are information, which --quiet leaves out as it does log messages
        if is_capable_terminal() and logger.isEnabledFor(logging.INFO):
            self._bars = _bars()
            self._bars.start()
            self._stack.callback(self._bars.stop)
        self._stack.enter_context(reporting(self, self.begin_stage))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def begin_stage(self, stages: Sequence[Stage], number: int) -> None:
        """Show that stage ``number`` (from 0) of a whole run begins."""
        self._run.begin(stages, number)
        if self._bars is None:
            logger.info(self._run.text())
            return
        if self._run_task is None:
            self._run_task = self._bars.add_task("", total=len(stages))
        self._bars.update(self._run_task, completed=number, description=self._run.text())

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` units of a stage are done."""
        now = time.monotonic()
        first = stage not in self._rates
        rate = self._rates.setdefault(stage, Rate(now, done))
        left_s = rate.left_s(now, done, total)
        self._run.progress(stage, done - rate.before, now - rate.begun, left_s)
        if self._bars is not None:
            self._show_bar(stage, done, total)
        elif first or done == total or now - self._last_line >= PLAIN_INTERVAL_S:
            self._last_line = now
            left = f", {duration(left_s)} left" if left_s else ""
            logger.info(f"{stage} {done}/{total}{left}{self._run.left_text()}")

    def _show_bar(self, stage: str, done: int, total: int) -> None:
        assert self._bars is not None
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)
        if self._run_task is not None:
            text = self._run.text() + self._run.left_text()
            self._bars.update(self._run_task, description=text)


class Rate:
    """How long the rest of some units will take, by those done in this process lately.

    The first unit takes what starting takes as well (imports, processes), which many units do not
    repeat: of more than FEW_UNITS, it is left out.
    """

    def __init__(self, begun: float, before: int) -> None:
        self.begun = begun
        self.before = before  # units that were there before (a resumed run) took no time
        self._seen: deque[tuple[float, int]] = deque([(begun, before)])

    def left_s(self, now: float, done: int, total: int) -> float | None:
        """Return the seconds left when ``done`` of ``total`` are done; None if not known yet."""
        if done <= self._seen[-1][1]:
            return None
        self._seen.append((now, done))
        if self._seen[0][1] == self.before and total - self.before > FEW_UNITS:
            self._seen.popleft()
        while len(self._seen) > 2 and self._seen[1][0] < now - WINDOW_S:
            self._seen.popleft()
        (since, at_first), (_, at_last) = self._seen[0], self._seen[-1]
        if at_last == at_first:
            return None
        return (now - since) / (at_last - at_first) * (total - done)


class RunEstimate:
    """How long the trainings of a whole run will still take, from the seconds of an epoch so far.

    Only trainings of single networks are estimated: their epochs are known beforehand, and one
    takes about as long in one stage as in another. There is no estimate before the first of them is
    done in this process.
    """

    def __init__(self) -> None:
        self._stages: Sequence[Stage] = ()
        self._number = 0
        self._epoch_s: float | None = None
        self._left_s: float | None = None

    def begin(self, stages: Sequence[Stage], number: int) -> None:
        """Note that stage ``number`` of ``stages`` begins."""
        self._stages, self._number, self._left_s = stages, number, None

    def progress(self, name: str, done: int, passed_s: float, left_s: float | None) -> None:
        """Note that ``done`` units of ``name`` took ``passed_s`` s, and ``left_s`` s are left."""
        epochs = self._stages[self._number].unit_epochs.get(name) if self._stages else None
        if epochs and done:
            self._epoch_s, self._left_s = passed_s / (epochs * done), left_s

    def text(self) -> str:
        """Return the number and name of the stage."""
        return f"{self._number + 1}/{len(self._stages)} {self._stages[self._number].name}"

    def left_text(self) -> str:
        """Return how long the trainings of the run will take from now on; empty if unknown."""
        later = [stage.epochs for stage in self._stages[self._number + 1 :]]
        if self._epoch_s is None or not sum(later):
            return ""
        left_s = (self._left_s or 0.0) + self._epoch_s * sum(later)
        return f" (about {duration(left_s)} of training left in the run)"


def duration(seconds: float) -> str:
    """Return ``40 s``, ``3 min`` or ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
