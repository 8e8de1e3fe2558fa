"""One process at a time writes a run folder or a table; readers are never held up.

The lock is the operating system's on a file, so that it ends with its process, however that ends.
Beside it stands who holds it, for the message of whoever comes second.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import ParamSpec, TypeVar

from hwnas.errors import StorageError, UsageError
from hwnas.io.journal import make_folder

logger = logging.getLogger(__name__)

LOCK = ".lock"

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")

_held: set[Path] = set()
_stack: ContextVar[ExitStack | None] = ContextVar("hwnas_locks", default=None)


def writes(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Make ``function`` a writer: what it holds by :func:`hold` is released when it ends."""

    @functools.wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        with ExitStack() as stack:
            token = _stack.set(stack)
            try:
                return function(*args, **kwargs)
            finally:
                _stack.reset(token)

    return wrapped


def hold(place: Path) -> None:
    """Hold the right to write ``place`` until the writer ends; nothing outside of a writer.

    ``place`` is a run folder that is there, or a file. A process may hold it more than once.

    Raises:
        UsageError: another process holds it; names that process.
        StorageError: no lock can be made there.
    """
    stack = _stack.get()
    if stack is not None:
        stack.enter_context(one_writer(place))


@contextmanager
def one_writer(place: Path) -> Iterator[None]:
    """Hold the right to write ``place`` inside the block; errors as in :func:`hold`."""
    from filelock import FileLock, Timeout  # reading commands need none

    prefix = place / LOCK if place.is_dir() else place.with_name(f".{place.name}{LOCK}")
    if prefix.resolve() in _held:
        yield
        return
    owner = prefix.with_name(prefix.name + ".owner")
    make_folder(prefix.parent)
    inodes: list[int] = []
    lock = FileLock(prefix, timeout=0, on_acquired=lambda fd: inodes.append(os.fstat(fd).st_ino))
    try:
        lock.acquire()
        while not _is_file(prefix, inodes[-1]):  # whoever held it has deleted it by now
            lock.release()
            lock.acquire()
    except Timeout:
        raise UsageError(_busy(place, owner)) from None
    except (OSError, NotImplementedError) as error:
        raise StorageError(
            f"{place} cannot be locked against a second writer: {error}. Next: write to a folder "
            "of a local disk"
        ) from error
    try:
        if owner.is_file():
            logger.info(f"{place}: {_owner_text(owner)} ended amid its work; going on after it")
        owner.write_text(json.dumps(_me()), encoding="utf-8")
        _held.add(prefix.resolve())
        yield
    finally:
        _held.discard(prefix.resolve())
        owner.unlink(missing_ok=True)
        prefix.unlink(missing_ok=True)
        lock.release()


def _is_file(path: Path, inode: int) -> bool:
    try:
        return path.stat().st_ino == inode
    except FileNotFoundError:
        return False


def _me() -> dict[str, object]:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "command": " ".join(words)[:200],
        "since": time.time(),
    }


def _busy(place: Path, owner: Path) -> str:
    return (
        f"{place} is being written by {_owner_text(owner)}, and one process at a time may. "
        "Next: wait until it has ended, or end it, then repeat this command"
    )


def _owner_text(owner: Path) -> str:
    """Return who holds a lock, as far as it can be read."""
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
        age_min = (time.time() - float(found["since"])) / 60
        return (
            f"process {int(found['pid'])} on {found['host']} ({found['command']}), "
            f"for {age_min:.0f} min"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
