"""Files survive kills and full disks: whole files stay whole, journals lose at most a torn line."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.errors import InputError, StorageError
from hwnas.io.journal import Journal, canonical_json, read_json, write_json, write_whole


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, which only root can make."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system needs root and mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"this system allows no mount: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_canonical_json_has_one_spelling_and_no_numbers_that_are_not_json():
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_write_whole_makes_folders_replaces_the_content_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_whole(path, "a longer first content")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_write_whole_keeps_the_old_file_when_a_step_fails(tmp_path, monkeypatch, call):
    path = tmp_path / "file.txt"
    write_whole(path, "old")
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(StorageError, match=r"file\.txt: No space left.*Next: free space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_whole_keeps_the_old_file_on_a_disk_that_is_full(small_disk):
    path = small_disk / "file.bin"
    write_whole(path, b"old")
    with pytest.raises(StorageError, match="No space left"):
        write_whole(path, bytes(1 << 20))
    assert path.read_bytes() == b"old"
    assert list(small_disk.iterdir()) == [path]


def test_write_whole_names_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="taken"):
        write_whole(tmp_path / "taken" / "file.txt", "data")


def test_write_json_is_read_back_and_refuses_what_is_not_json(tmp_path):
    path = tmp_path / "value.json"
    value = {"schema": 1, "rows": [1, "zwölf", None, True]}
    write_json(path, value)
    assert read_json(path) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("inf"))
    assert read_json(path) == value


def test_read_json_names_what_is_wrong(tmp_path):
    path = tmp_path / "value.json"
    with pytest.raises(InputError, match="there is no such file"):
        read_json(path)
    path.write_text('{"a": 1,\n oops}')
    with pytest.raises(InputError, match=r"not JSON: .*line 2"):
        read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not JSON"):
        read_json(path)


def test_a_journal_without_a_file_is_empty_and_appending_makes_the_file(tmp_path):
    path = tmp_path / "run" / "journal.jsonl"
    with Journal(path) as journal:
        assert journal.records() == []
        journal.append({"step": 1, "name": "größer"})
        journal.append({"step": 2})
        # readable at once by another process: nothing waits in a buffer
        assert Journal(path).records() == [{"step": 1, "name": "größer"}, {"step": 2}]
    assert path.read_bytes().count(b"\n") == 2


def test_every_append_is_forced_to_disk(tmp_path, monkeypatch):
    synced: list[int] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        real(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", spy)
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"a": 1})
        journal.append({"a": 2})
    assert synced == [8, 16]


def test_a_journal_torn_at_any_byte_keeps_its_whole_lines_and_goes_on_after_them(tmp_path):
    records = [{"step": 1}, {"name": "a\nb"}, {"nested": {"x": [1, 2]}}]
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for record in records:
            journal.append(record)
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        kept = records[: sum(end <= cut for end in ends)]
        with Journal(path) as journal:
            assert journal.records() == kept
            journal.append({"after": cut})
            assert journal.records() == [*kept, {"after": cut}]
        assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("broken", [b'{"step": 2', b"\xff\xfe", b"[1, 2]", b""])
def test_a_broken_line_before_the_last_is_an_error_that_names_it(tmp_path, broken):
    path = tmp_path / "journal.jsonl"
    content = b'{"step": 1}\n' + broken + b'\n{"step": 3}\n'
    path.write_bytes(content)
    with pytest.raises(InputError, match="line 2 is not a record"):
        Journal(path).records()
    with Journal(path) as journal, pytest.raises(InputError, match="line 2 is not a record"):
        journal.append({"step": 4})
    assert path.read_bytes() == content


def test_a_record_that_is_not_json_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({"a": 1})
        with pytest.raises(ValueError, match="not JSON compliant"):
            journal.append({"a": float("nan")})
    assert Journal(path).records() == [{"a": 1}]


def test_a_full_disk_stops_a_journal_with_its_earlier_records_kept(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.append({"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(StorageError, match=r"journal\.jsonl: No space left.*--resume"):
            journal.append({"step": 2})
    journal.close()
    assert Journal(path).records()[0] == {"step": 1}


def test_a_journal_on_a_full_disk_goes_on_once_there_is_room(small_disk):
    path, filler = small_disk / "journal.jsonl", small_disk / "filler"
    large = {"text": "x" * 20_000}
    with Journal(path) as journal:
        journal.append({"step": 1})
        filler.write_bytes(bytes(48_000))
        with pytest.raises(StorageError, match="No space left"):
            journal.append(large)
    assert Journal(path).records() == [{"step": 1}]
    filler.unlink()
    with Journal(path) as journal:
        journal.append(large)
        journal.append({"step": 3})
    assert Journal(path).records() == [{"step": 1}, large, {"step": 3}]
