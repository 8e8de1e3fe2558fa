"""One writer at a time: the second names the first, and a dead one holds nobody up."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.errors import StorageError, UsageError
from hwnas.io.lock import hold, one_writer, writes

HOLD = """
import sys, time
from pathlib import Path
from hwnas.io.lock import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of ``tmp_path / "run"``."""
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_writer_is_told_who_the_first_is(other, tmp_path: Path) -> None:
    says = rf"is being written by process {other.pid} on .*-c"
    with pytest.raises(UsageError, match=says), one_writer(tmp_path / "run"):
        pass


def test_a_writer_killed_amid_its_work_holds_nobody_up(other, tmp_path: Path, caplog) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    begin = time.monotonic()
    with caplog.at_level(logging.INFO, "hwnas"), one_writer(tmp_path / "run"):
        pass
    assert time.monotonic() - begin < 5
    assert f"process {other.pid}" in caplog.text
    assert "ended amid its work" in caplog.text
    assert list((tmp_path / "run").iterdir()) == []


def test_a_process_may_hold_it_again_and_leaves_nothing(tmp_path: Path) -> None:
    table = tmp_path / "new" / "table.json"
    with one_writer(table), one_writer(table):
        assert sorted(path.name for path in table.parent.iterdir()) == [
            ".table.json.lock",
            ".table.json.lock.owner",
        ]
    assert list(table.parent.iterdir()) == []


def test_what_a_writer_holds_is_released_when_it_ends(tmp_path: Path) -> None:
    seen = []

    @writes
    def write(*, fails: bool) -> None:
        hold(tmp_path)
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        if fails:
            raise ValueError

    write(fails=False)
    with pytest.raises(ValueError):
        write(fails=True)
    assert seen == [[".lock", ".lock.owner"]] * 2
    assert list(tmp_path.iterdir()) == []
    hold(tmp_path)  # reading commands hold nothing
    assert list(tmp_path.iterdir()) == []


def test_a_broken_note_of_the_owner_still_gives_an_error(other, tmp_path: Path) -> None:
    (tmp_path / "run" / ".lock.owner").write_text("{")
    says = "is being written by another process"
    with pytest.raises(UsageError, match=says), one_writer(tmp_path / "run"):
        pass


def test_a_place_that_cannot_be_locked_is_an_error(tmp_path: Path, monkeypatch) -> None:
    def no_locks(*_: object, **__: object) -> None:
        raise OSError("No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    says = "cannot be locked against a second writer: No locks available"
    with pytest.raises(StorageError, match=says), one_writer(tmp_path / "table.json"):
        pass
