"""``hwnas cache``: how much is in the cache of converted models, and emptied."""

from __future__ import annotations

import hashlib


def test_the_cache_is_measured_and_cleared_of_models_only(hwnas, tmp_path, monkeypatch):
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path))
    empty = hwnas("cache", "info", "--json").json
    assert empty == {
        "folder": str(tmp_path),
        "num_conversions": 0,
        "num_files": 0,
        "num_bytes": 0,
        "limit_bytes": 5_000_000_000,
    }
    digest = hashlib.sha256(b"").hexdigest()
    for name in (f"conversions/{digest}.json", f"blobs/{digest}.onnx", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1234")
    assert (
        hwnas("cache", "info").out
        == f"{tmp_path}: 1 conversions in 1 files, 0.0 MB of at most 5 GB (HWNAS_CACHE_GB)\n"
    )
    assert "deleted 1 files" in hwnas("cache", "clear").out
    assert hwnas("cache", "info", "--json").json == empty
    assert (tmp_path / "notes.txt").is_file()
