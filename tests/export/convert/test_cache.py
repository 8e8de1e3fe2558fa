"""The cache converts once, uses only whole files, and keeps what worked when something fails."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwnas.errors import InputError, UsageError
from hwnas.export.convert import cache as cache_module
from hwnas.export.convert import conversion as conversion_module
from hwnas.export.convert.cache import ConversionCache, default_root, limit_bytes
from hwnas.export.convert.conversion import Conversion, FileWeights, InitWeights
from hwnas.export.formats import ConversionError, converter_versions
from hwnas.export.verify.parity import check_parity, parity
from hwnas.nn.build import build_layers
from hwnas.ops import OpSpec

FILL = """
import sys
from pathlib import Path
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.ops import OpSpec

root, model_format, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
conversions = [
    Conversion.make([OpSpec.make("conv", (3, 8, 8), 4 + n, kernel=3)], InitWeights(), model_format)
    for n in range(count)
]
files = ConversionCache(root).fill(conversions, workers=1)
assert len(files) == count
heavy = sorted({"torch", "litert_torch", "onnx", "jax"} & set(sys.modules))
sys.exit(0 if heavy == sys.argv[4:] else f"imported {heavy}")
"""


def _conv(out_channels=4):
    return OpSpec.make("conv", (3, 8, 8), out_channels, kernel=3)


def _onnx(out_channels=4, weights=None):
    return Conversion.make([_conv(out_channels)], weights or InitWeights(), "onnx")


def _run_fill(root, model_format, count, *modules):
    return subprocess.run(
        [sys.executable, "-c", FILL, str(root), model_format, str(count), *modules],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _entries(root):
    return sorted((root / "conversions").glob("*.json"))


def test_what_is_cached_is_not_converted_again(tmp_path):
    cache = ConversionCache(tmp_path)
    done = []
    assert cache.path(_onnx()) is None
    first = cache.fill([_onnx()], on_done=done.append)
    file = first[_onnx()].stat().st_ino
    again = cache.fill([_onnx(5), _onnx(), _onnx(5)], on_done=done.append)
    assert list(again) == [_onnx(5), _onnx()]
    assert again[_onnx()] == first[_onnx()] == cache.path(_onnx())
    assert first[_onnx()].stat().st_ino == file
    assert done == [_onnx(), _onnx(), _onnx(5)]


def test_the_file_holds_the_seeded_network(tmp_path):
    import torch

    conversion = _onnx(weights=InitWeights(seed=7))
    path = ConversionCache(tmp_path).fill([conversion])[conversion]
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = build_layers([_conv()], seed=7)
    check_parity(parity(network, path, images, layout="nchw"), path)
    other = build_layers([_conv()], seed=8)
    assert parity(other, path, images, layout="nchw").max_rel > 0.1


def test_the_file_holds_the_weights_of_a_safetensors_file(tmp_path, trained, save_weights):
    import torch

    network = trained([_conv()])
    weights = FileWeights.of(save_weights(network, tmp_path / "w.safetensors"))
    conversion = _onnx(weights=weights)
    path = ConversionCache(tmp_path / "cache").fill([conversion])[conversion]
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    check_parity(parity(network, path, images, layout="nchw"), path)


def test_a_fresh_process_is_silent_and_with_a_full_cache_imports_no_converter(tmp_path):
    first = _run_fill(tmp_path, "tflite", 1, "jax", "litert_torch", "torch")
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    second = _run_fill(tmp_path, "tflite", 1)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


@pytest.mark.parametrize("damage", ["truncated", "changed", "deleted", "entry"])
def test_a_damaged_entry_is_converted_again(tmp_path, damage):
    cache = ConversionCache(tmp_path)
    path = cache.fill([_onnx()])[_onnx()]
    whole = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[:-1])
    elif damage == "changed":
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    elif damage == "deleted":
        path.unlink()
    else:
        _entries(tmp_path)[0].write_text("{")
    assert cache.path(_onnx()) is None
    assert cache.fill([_onnx()])[_onnx()].read_bytes() == whole


def test_failures_are_named_together_and_the_rest_is_kept(tmp_path, trained, save_weights):
    good = FileWeights.of(save_weights(trained([_conv(4)]), tmp_path / "four.safetensors"))
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_bytes(b"no weights")
    lost = FileWeights(tmp_path / "lost.safetensors", "0" * 64)
    bad = [_onnx(5, good), _onnx(6, FileWeights.of(garbage)), _onnx(7, lost)]
    cache = ConversionCache(tmp_path / "cache")
    done = []
    with pytest.raises(ConversionError, match="3 of 4 conversions failed") as error:
        cache.fill([*bad, _onnx(4, good)], on_done=done.append)
    text = str(error.value)
    for expected in (
        "conv 3x8x8->5",
        "size mismatch",
        "conv 3x8x8->6",
        "garbage.safetensors",
        "conv 3x8x8->7",
        "lost.safetensors",
        "Next: ",
    ):
        assert expected in text
    assert "conv 3x8x8->4" not in text
    assert done == [_onnx(4, good)]
    assert cache.path(_onnx(4, good)) is not None
    assert cache.path(_onnx(5, good)) is None


def test_processes_do_the_same_work_and_report_the_same_failures(
    tmp_path, monkeypatch, save_weights, trained
):
    monkeypatch.setattr(cache_module, "_POOL_SECONDS", 0.0)
    bad = FileWeights.of(save_weights(trained([_conv(9)]), tmp_path / "nine.safetensors"))
    here, there = ConversionCache(tmp_path / "here"), ConversionCache(tmp_path / "there")
    wanted = [_onnx(4), _onnx(5)]
    with pytest.raises(ConversionError, match="1 of 3 conversions failed") as error:
        there.fill([*wanted, _onnx(6, bad)], workers=2)
    assert "conv 3x8x8->6" in str(error.value)
    assert "nine.safetensors" in str(error.value)
    one_process = here.fill(wanted, workers=1)
    for conversion in wanted:
        path = there.path(conversion)
        assert path is not None
        assert path.read_bytes() == one_process[conversion].read_bytes()


def test_weights_that_changed_since_they_were_hashed_are_not_used(tmp_path, trained, save_weights):
    path = save_weights(trained([_conv()]), tmp_path / "w.safetensors")
    conversion = _onnx(weights=FileWeights.of(path))
    save_weights(build_layers([_conv()]), path)
    with pytest.raises(ConversionError, match="has changed since"):
        ConversionCache(tmp_path / "cache").fill([conversion])


def test_a_kill_leaves_whole_entries_only_and_the_next_run_continues(tmp_path):
    command = [sys.executable, "-c", FILL, str(tmp_path), "onnx", "400"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(_entries(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    entries = _entries(tmp_path)
    assert 3 <= len(entries) < 400
    cache = ConversionCache(tmp_path)
    conversions = [_onnx(4 + n) for n in range(400)]
    present = [c for c in conversions if cache.path(c) is not None]
    assert len(present) == len(entries)
    stamps = {entry: entry.stat().st_mtime_ns for entry in entries}
    cache.fill(conversions[: len(entries) + 2], workers=1)
    assert {entry: entry.stat().st_mtime_ns for entry in entries} == stamps


def test_two_processes_can_fill_one_cache_at_once(tmp_path):
    command = [sys.executable, "-c", FILL, str(tmp_path), "onnx", "10", "onnx", "torch"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, b"")
    cache = ConversionCache(tmp_path)
    assert all(cache.path(_onnx(4 + n)) is not None for n in range(10))


def test_the_key_changes_with_each_ingredient(monkeypatch):
    base = Conversion.make([_conv()], InitWeights(), "tflite")
    weights = FileWeights(Path("w.safetensors"), "0" * 64)
    others = [
        Conversion.make([_conv(5)], InitWeights(), "tflite"),
        Conversion.make(
            [_conv(), OpSpec.make("conv", (4, 8, 8), 4, kernel=3)], InitWeights(), "tflite"
        ),
        Conversion.make([_conv()], InitWeights(seed=1), "tflite"),
        Conversion.make([_conv()], weights, "tflite"),
        Conversion.make([_conv()], dataclasses.replace(weights, sha256="1" * 64), "tflite"),
        Conversion.make([_conv()], InitWeights(), "onnx"),
        Conversion.make([_conv()], InitWeights(), "tflite", layout="nchw"),
        dataclasses.replace(base, precision="int8"),
        Conversion.make([_conv()], InitWeights(), "tflite", wiring=((-1,),)),
    ]
    keys = {base.key, *(other.key for other in others)}
    assert len(keys) == len(others) + 1
    assert Conversion.make([_conv()], InitWeights(), "tflite", layout="nhwc").key == base.key
    versions = {**converter_versions("tflite"), "litert-torch": "9.9.9"}
    monkeypatch.setattr(conversion_module, "converter_versions", lambda model_format: versions)
    assert Conversion.make([_conv()], InitWeights(), "tflite").key not in keys


def test_weights_are_known_by_content_not_by_place(tmp_path, trained, save_weights):
    network = trained([_conv()])
    first = FileWeights.of(save_weights(network, tmp_path / "a.safetensors"))
    second = FileWeights.of(save_weights(network, tmp_path / "b.safetensors"))
    assert first == second
    assert _onnx(weights=first).key == _onnx(weights=second).key
    with pytest.raises(InputError, match="cannot be read"):
        FileWeights.of(tmp_path / "absent.safetensors")


def test_all_impossible_values_of_a_conversion_are_named():
    with pytest.raises(InputError) as error:
        Conversion.make([], InitWeights(), "onnx", layout="nhwc", precision="fp8")
    assert len(error.value.problems) == 3
    assert "layout of onnx must be one of nchw, got 'nhwc'" in str(error.value)
    with pytest.raises(InputError, match="format must be one of onnx, tflite, got 'pb'"):
        Conversion.make([_conv()], InitWeights(), "pb")


def test_an_entry_says_what_it_is(tmp_path):
    ConversionCache(tmp_path).fill([_onnx()])
    (entry,) = _entries(tmp_path)
    assert entry.stem == _onnx().key
    value = json.loads(entry.read_text())
    assert value["schema"] == 1
    assert value["description"] == ("conv 3x8x8->4 kernel=3, weights init:0, as onnx fp32 nchw")


def test_a_folder_that_cannot_be_written_is_an_error_with_the_reason(tmp_path):
    occupied = tmp_path / "file"
    occupied.write_text("here is a file")
    with pytest.raises(ConversionError, match=r"cannot write .*file"):
        ConversionCache(occupied).fill([_onnx()])


def test_the_default_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HWNAS_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert ConversionCache().root == Path("/a")
    monkeypatch.delenv("HWNAS_CACHE")
    assert default_root() == Path("/b/hwnas")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert default_root() == Path("/c/.cache/hwnas")


def test_the_folder_of_version_0_1_is_used_where_it_is_the_only_one(monkeypatch, tmp_path):
    own = tmp_path / "Library/Caches/hwnas"
    monkeypatch.setattr("hwnas.export.convert.cache.user_cache_path", lambda *_, **__: own)
    for name in ("HWNAS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == own
    (tmp_path / ".cache/hwnas").mkdir(parents=True)
    assert default_root() == tmp_path / ".cache/hwnas"
    own.mkdir(parents=True)
    assert default_root() == own


def _used(root, conversion, days_ago):
    """Make a conversion that was used so long ago."""
    path = ConversionCache(root).fill([conversion])[conversion]
    os.utime(path, (time.time() - 86400 * days_ago,) * 2)
    return path


def test_the_models_used_longest_ago_are_deleted_above_the_limit(tmp_path):
    cache = ConversionCache(tmp_path)
    old, older = _used(tmp_path, _onnx(4), 2), _used(tmp_path, _onnx(5), 3)
    assert cache.path(_onnx(5)) == older  # used again now
    size = older.stat().st_size
    assert cache.trim(10**9) == (0, 0, 0)
    deleted = cache.trim(size)
    assert deleted.num_files == deleted.num_conversions == 1
    assert not old.exists()
    assert cache.path(_onnx(4)) is None
    assert cache.path(_onnx(5)) == older
    assert cache.trim(0) == (0, 0, 0)  # a command may be reading what was used today
    assert cache.trim(0, in_use_s=0.0) == (1, 1, size)
    assert cache.size() == (0, 0, 0)


def test_a_cache_that_grows_above_its_limit_is_trimmed(tmp_path, monkeypatch):
    old = _used(tmp_path, _onnx(4), 2)
    monkeypatch.setenv("HWNAS_CACHE_GB", "0.000001")
    new = ConversionCache(tmp_path).fill([_onnx(5)])[_onnx(5)]
    assert not old.exists()
    assert new.exists()


def test_a_limit_that_is_no_size_is_an_error_before_any_work(tmp_path, monkeypatch):
    monkeypatch.delenv("HWNAS_CACHE_GB", raising=False)
    assert limit_bytes() == 5_000_000_000
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("HWNAS_CACHE_GB", wrong)
        with pytest.raises(UsageError, match=f"HWNAS_CACHE_GB is '{wrong}'"):
            ConversionCache(tmp_path).fill([_onnx()])
    assert not list(tmp_path.iterdir())
