"""Files that survive a kill: append-only JSON lines, and whole files written aside then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from hwnas.errors import InputError, StorageError

MAX_JSON_BYTES = 64 << 20  # a table of 200,000 rows, twenty times any space's operations
MAX_DEPTH = 64


def canonical_json(value: Any) -> str:
    """Return the one spelling of ``value`` that hashes are taken of: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}. "
            "What was written before is kept. "
            "Next: free space or choose a writable place, then repeat the command with --resume."
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are not there; StorageError where that fails."""
    with _storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, data: str | bytes) -> None:
    """Write ``data`` so that ``path`` holds either its old content or all of the new one.

    The bytes go to a temporary file beside ``path``, are flushed to disk, and take its name.

    Raises:
        StorageError: the folder is not writable or the disk is full; ``path`` is unchanged.
    """
    payload = data.encode() if isinstance(data, str) else data
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            os.fchmod(descriptor, 0o644)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(payload)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole (see :func:`write_whole`)."""
    write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _write_all(stream: FileIO, data: bytes) -> None:
    written = stream.write(data)
    while written < len(data):
        written += stream.write(data[written:])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Read a JSON file of at most MAX_JSON_BYTES, nested at most MAX_DEPTH deep.

    Raises:
        InputError: the file is absent, unreadable, or not such JSON; the message names the line.
    """
    try:
        with path.open("rb") as stream:
            payload = stream.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise InputError(str(path), ["there is no such file"]) from None
    except (OSError, ValueError) as error:  # a path that holds a NUL is a ValueError
        raise InputError(str(path), [f"cannot be read: {error}"]) from error
    if len(payload) > MAX_JSON_BYTES:
        raise InputError(
            str(path), [f"is larger than {MAX_JSON_BYTES >> 20} MB, which no file of hwnas is"]
        )
    try:
        value = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:  # also of numbers with thousands of digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(str(path), [f"not JSON: {reason}"]) from error
    if is_deep(value):
        raise InputError(
            str(path), [f"is nested more than {MAX_DEPTH} deep, which no file of hwnas is"]
        )
    return value


def is_deep(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether containers of plain data lie within one another more than ``depth`` deep."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


class Journal:
    """An append-only file of JSON objects, one a line, each on disk before ``append`` returns.

    A last line torn by a kill is dropped when the journal is opened again; a broken line anywhere
    else is an error, because something other than a kill wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: FileIO | None = None

    def records(self) -> list[dict[str, Any]]:
        """Return every whole record written so far, oldest first; empty if there is no file."""
        return self._read()[0]

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        if not self.path.exists():
            return [], 0
        records: list[dict[str, Any]] = []
        whole_bytes = 0
        try:
            raw_lines = self.path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise InputError(str(self.path), [f"cannot be read: {error}"]) from error
        for number, raw in enumerate(raw_lines, start=1):
            is_last = number == len(raw_lines)
            try:
                record = json.loads(raw)
                if not isinstance(record, dict) or is_deep(record):
                    raise ValueError(
                        f"a line must be a JSON object, nested at most {MAX_DEPTH} deep"
                    )
            except (ValueError, RecursionError) as error:
                if is_last:
                    break
                raise InputError(
                    str(self.path),
                    [f"line {number} is not a record: {error}"],
                    "restore the file or start anew in another folder",
                ) from error
            if not raw.endswith(b"\n"):
                break
            records.append(record)
            whole_bytes += len(raw)
        return records, whole_bytes

    def append(self, record: dict[str, Any], *, sync: bool = True) -> None:
        """Add one record; it survives a kill of the process, and with ``sync`` a loss of power.

        A later synced record carries all before it to disk.

        Raises:
            StorageError: it cannot be written; the records before it are kept.
        """
        with _storage_errors(self.path):
            if self._stream is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _, whole_bytes = self._read()
                self._stream = FileIO(self.path, "a")
                self._stream.truncate(whole_bytes)
            line = json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
            try:
                _write_all(self._stream, line.encode())
                if sync:
                    os.fsync(self._stream.fileno())
            except OSError:
                self.close()  # a torn line is dropped when the file is opened again
                raise

    def close(self) -> None:
        """Close the file; a later ``append`` opens it again."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()
            self._stream = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
