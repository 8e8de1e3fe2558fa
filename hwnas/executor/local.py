"""Many independent tasks in processes: results come as they are ready, failures name their task.

Tasks are keyed and idempotent, so that a later back end (a cluster) can run one twice.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from hwnas.errors import HwnasError, HwnasWarning
from hwnas.plugins.loading import load_plugins, loaded_files

Result = TypeVar("Result")
GRACE_S = 1.0
"""How long a worker has to end when it is asked to."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class TaskError(HwnasError):
    """Tasks failed in their processes; the other tasks' results were kept.

    ``failures`` maps the keys of the failed ones to their errors, where it is known.
    """

    def __init__(self, text: str, failures: Mapping[str, BaseException] | None = None) -> None:
        super().__init__(text)
        self.failures = dict(failures or {})


def available_cores() -> int:
    """Return how many cores this process may use (respects affinity)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _begin_worker(plugins: tuple[str, ...]) -> None:
    """Load the plugin files of the parent, which tasks may hold objects of.

    Ctrl-C in a terminal reaches every process of a command; this one leaves it to its parent, which
    ends it. It would else give its task up and begin the next one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # what libraries warn a developer of is not for the terminal; hwnas' own warnings are
    warnings.simplefilter("ignore")
    warnings.simplefilter("default", HwnasWarning)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    _end_with_parent()
    load_plugins(plugins)


def _end_with_parent() -> None:
    """Make this worker end when its parent is killed, so that it writes nothing beside a resume.

    Linux tells a process of its parent's death where it asks to be told (prctl(2)); elsewhere a
    worker finishes its task.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_now(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool amid their tasks, which are idempotent, and wait for that."""
    processes = list((pool._processes or {}).values())  # public from Python 3.14 on
    # typeshed gives it another type
    manager: threading.Thread | None = getattr(pool, "_executor_manager_thread", None)
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(GRACE_S)
        if process.is_alive():
            process.kill()
    if manager is not None:
        # The interpreter's exit writes to this thread's pipe, which the thread closes when it ends.
        manager.join(GRACE_S)


def run_tasks(
    function: Callable[..., Result],
    tasks: Mapping[str, tuple[Any, ...]],
    *,
    workers: int | None = None,
    isolate: bool = False,
) -> Iterator[tuple[str, Result]]:
    """Call ``function(*arguments)`` for each ``key: arguments`` and yield ``(key, result)``.

    With one worker or one task the calls run in this process, in order, unless ``isolate`` asks
    for processes all the same (a task that changes its process, say its number of threads).
    Otherwise they run in fresh processes and come in the order of completion. ``function`` must
    be importable. When the caller takes no more results, or is interrupted, running tasks are ended
    at once.

    Raises:
        TaskError: after all other results were yielded, naming every task that failed.
    """
    workers = min(workers or available_cores(), len(tasks))
    failures: dict[str, BaseException] = {}
    if not tasks:
        return
    if workers <= 1 and not isolate:
        for key, arguments in tasks.items():
            try:
                result = function(*arguments)
            except HwnasError as failed:
                failures[key] = failed
            else:
                yield key, result
        if failures:
            raise TaskError(_failure_text(failures), failures)
        return
    context = multiprocessing.get_context("spawn")
    plugins = tuple(origin.place for origin in loaded_files())
    pool = ProcessPoolExecutor(
        max_workers=workers, mp_context=context, initializer=_begin_worker, initargs=(plugins,)
    )
    try:
        pending: dict[Future[Result], str] = {
            pool.submit(function, *arguments): key for key, arguments in tasks.items()
        }
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                key = pending.pop(future)
                error = future.exception()
                if error is None:
                    yield key, future.result()
                else:
                    failures[key] = error
    except BaseException:  # also of who takes the results: an interruption, or enough of them
        _end_now(pool)
        raise
    pool.shutdown()
    if failures:
        raise TaskError(_failure_text(failures), failures)


def _failure_text(failures: Mapping[str, BaseException]) -> str:
    lines = [f"{len(failures)} task(s) failed:"]
    for key, error in failures.items():
        reason = "its process died" if isinstance(error, BrokenProcessPool) else str(error)
        lines.append(f"  - {key}: {type(error).__name__}: {reason}")
    return "\n".join(lines)
