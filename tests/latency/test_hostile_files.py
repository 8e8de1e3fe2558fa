"""Device files, tables, published tables and sums that are broken or meant to harm."""

from __future__ import annotations

import json
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from hwnas.cli.commands.lut.show import show_table
from hwnas.device.device import Device, devices_folder, load_device
from hwnas.errors import HwnasError, InputError
from hwnas.latency.drift.check import anchor_networks
from hwnas.latency.drift.conformal import (
    ValidationSchema,
    append_validation,
    read_validation,
    validation_path,
)
from hwnas.latency.few_shot.data import read_measured, read_sources
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.files import load_table, merge_tables, save_table, store
from hwnas.latency.table.published import import_tables, published_header, require_place
from hwnas.latency.table.sums import import_sums
from hwnas.latency.table.units import problems_of
from hwnas.pipeline.commands.tables import diff_tables
from tests.fuzzing import survives

HEADER = published_header("phone", "litert", "fp32", 1, None)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "file.json"


@pytest.fixture
def table(random_table, tiny, tmp_path) -> bytes:
    """The bytes of a table with everything a table can hold."""
    path = tmp_path / "whole.json"
    save_table(random_table(tiny), path)
    content = json.loads(path.read_text())
    errors = {
        "mean_abs_rel_error": 0.01,
        "max_abs_rel_error": 0.02,
        "within_5_percent": 1.0,
        "bias": 0.0,
        "kendall_tau": 0.9,
    }
    content["entries"] = content["entries"][:6]
    content["calibration"] = {
        "tiny": {
            "scale": 1.0,
            "per_op_ms": 0.0,
            "constant_ms": 0.0,
            "num_networks": 9,
            "mean_abs_rel_error": 0.01,
            "max_abs_rel_error": 0.02,
        }
    }
    content["validation"] = {
        "tiny": {
            "num_networks": 9,
            "fastest_ms": 1.0,
            "slowest_ms": 2.0,
            **errors,
            "repeatability_mean": 0.01,
            "repeatability_max": 0.02,
            "lines_fitted_on": "these",
            "macs_line": errors,
            "op_count_line": errors,
        }
    }
    arch = tiny.arch({f"layer{i}": "mb3_k3" for i in range(1, 6)})
    measured = {key: value for key, value in content["entries"][0].items() if key != "op"}
    content["networks"] = [
        {
            "space": "tiny",
            "role": "sentinel",
            "is_sentinel": True,
            "arch": arch.to_json(),
            "measurement": measured,
        }
    ]
    return json.dumps(content).encode()


def test_device_files_never_break_their_reader(tmp_path):
    valid = yaml.safe_load((devices_folder() / "pixel-6.yaml").read_text())
    path = tmp_path / "d.yaml"

    def read(payload: bytes) -> Device:
        path.write_bytes(payload)
        return load_device(str(path))

    survives(read, json.dumps(valid).encode())
    survives(read, (devices_folder() / "pixel-6.yaml").read_bytes(), is_json=False)


def use(path: Path, space) -> None:
    """Do with a table what the verbs do."""
    tables = load_table(path)
    problems_of(tables)
    show_table(path, breakdown=False, as_json=False)
    show_table(path, breakdown=False, as_json=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        LutPredictor(space, tables)


def test_tables_never_break_what_reads_shows_and_predicts_with_them(table, file, tiny, capsys):
    def read(payload: bytes) -> None:
        file.write_bytes(payload)
        loaded = load_table(file)
        show_table(file, breakdown=False, as_json=False)
        with suppress(InputError):  # these rows are too few for networks of the space
            show_table(file, breakdown=True, as_json=False)
        problems_of(loaded)
        for record in loaded.networks:
            tiny.arch(record.arch["choices"])
        anchor_networks(loaded, tiny)
        save_table(loaded, file.with_name("again.json"))
        merge_tables([loaded, load_table(file.with_name("again.json"))], ["a", "b"])
        diff_tables(file, file.with_name("again.json"))

    survives(read, table, examples=150)
    capsys.readouterr()


def test_folders_of_tables_never_break_their_reader(random_table, tiny, tmp_path, capsys):
    made = random_table(tiny)
    for size in (32, 64):
        header = made.header.model_copy(update={"scope": {"resolution": size}})
        save_table(
            replace(made, header=header, entries=dict(list(made.entries.items())[:3])),
            tmp_path / f"{size}.json",
        )
    valid = (tmp_path / "32.json").read_bytes()

    def read(payload: bytes) -> None:
        (tmp_path / "32.json").write_bytes(payload)
        tables = load_table(tmp_path)
        show_table(tmp_path, breakdown=False, as_json=True)
        store(tables, tmp_path / "run", "table")
        import shutil

        shutil.rmtree(tmp_path / "run")

    survives(read, valid)
    capsys.readouterr()


PUBLISHED = {
    "ofa": "".join(
        f"{key}:\n  count: 3\n  mean: 0.01\n  std: 0.01\n"
        for key in (
            "Conv-input:32x32x3-output:16x16x16",
            "Conv_1-input:16x16x16-output:16x16x32",
            "AvgPool2D-input:16x16x32-output:1x1x32",
            "Conv_2-input:1x1x32-output:1x1x64",
            "Logits-input:1x1x64-output:10",
            "expanded_conv-input:16x16x16-output:16x16x16-expand:16-kernel:3-stride:1-idskip:1-"
            "se:0-hs:0",
        )
    ),
    "proxyless": "".join(
        f"{key}:\n  count: 3\n  mean: 0.01\n  var: 0.01\n"
        for key in (
            "Conv-input:32x32x3-output:16x16x16",
            "Conv_1-input:16x16x16-output:16x16x32",
            "Logits-input:16x16x32-output:10",
            "expanded_conv-input:16x16x16-output:16x16x16-expand:3-kernel:3-stride:1-idskip:1",
        )
    ),
}


@pytest.mark.parametrize("table_format", PUBLISHED)
def test_published_tables_never_break_their_reader(table_format, tmp_path):
    path = tmp_path / "t.yaml"

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        tables = import_tables([path], table_format, HEADER)
        require_place(tables, tmp_path / "out")

    text = PUBLISHED[table_format]
    survives(read, text.encode(), is_json=False)
    survives(read, json.dumps(yaml.safe_load(text)).encode())


def test_lines_of_sums_never_break_their_reader(tmp_path, tiny):
    arch = tiny.arch({f"layer{i}": "mb3_k3" for i in range(1, 6)})
    line = json.dumps({"arch": arch.to_json(), "latency_ms": 1.0}).encode()
    path = tmp_path / "s.jsonl"

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        import_sums([path], tiny, HEADER, force=True)

    survives(read, b"\n".join([line] * 3) + b"\n", lines=True)


def test_validation_lines_never_break_their_reader(tmp_path, tiny):
    arch = tiny.arch({f"layer{i}": "mb3_k3" for i in range(1, 6)})
    line = {
        "space": "tiny",
        "arch": arch.to_json(),
        "predicted_ms": 1.0,
        "measured_ms": 1.1,
        "date": "2025-01-01",
        "run": "r",
    }
    table, number = tmp_path / "t.json", iter(range(10**6))

    def read(payload: bytes) -> None:
        validation_path(table).write_bytes(payload)
        before = read_validation(table)
        new = ValidationSchema(**{**line, "run": f"r{next(number)}"})
        append_validation(table, [new])
        assert read_validation(table) == [*before, new]

    survives(read, (json.dumps(line) + "\n").encode() * 2, lines=True)


def test_lines_of_timed_networks_never_break_their_readers(tmp_path, tiny):
    """Those of a new device, and those of others."""
    archs = tiny.decode(
        np.array(
            [[0, 0, 0, 0, n % 4] if n < 4 else [0, 0, 0, n - 3, 0] for n in range(7)],
            dtype=np.int16,
        )
    )
    lines = [
        json.dumps({"arch": arch.to_json(), "latency_ms": 1.0 + n, "device": "phone"})
        for n, arch in enumerate(archs)
    ]
    path = tmp_path / "m.jsonl"

    def measured(payload: bytes) -> None:
        path.write_bytes(payload)
        found = read_measured(path, tiny, least=1)
        assert len(found.codes) == len(found.latency_ms) >= 1
        assert (found.latency_ms > 0).all()

    def sources(payload: bytes) -> None:
        path.write_bytes(payload)
        for one in read_sources([path], tiny).values():
            assert np.isfinite(one.latency_ms).all()

    valid = "\n".join(lines).encode() + b"\n"
    survives(measured, valid, lines=True)
    survives(sources, valid, lines=True)


def test_a_table_of_a_million_rows_is_refused_in_no_time(table, file):
    """250 MB; what is read at all takes seconds and a few hundred MB."""
    content = json.loads(table)
    row = json.dumps(content["entries"][0]) + ","
    head = json.dumps({**content, "entries": []})[:-2]
    with file.open("w") as stream:
        stream.write(head)
        for _ in range(100):
            stream.write(row * 10_000)
        stream.write(row[:-1] + "]}")
    start = time.perf_counter()
    with pytest.raises(InputError, match="is larger than 64 MB, which no file of hwnas is"):
        load_table(file)
    assert time.perf_counter() - start < 10


def test_links_out_of_a_folder_of_tables_are_not_followed(table, tmp_path):
    (tmp_path / "elsewhere.json").write_bytes(table)
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.json").write_bytes(table)
    load_table(folder)
    (folder / "b.json").symlink_to(tmp_path / "elsewhere.json")
    (folder / "c").symlink_to("/etc")
    with pytest.raises(InputError) as caught:
        load_table(folder)
    assert [problem.split()[0] for problem in caught.value.problems] == ["b.json", "c"]
    assert "leads out of it" in caught.value.problems[0]


def test_a_link_beside_a_table_is_not_written_through(table, tmp_path):
    other = tmp_path / "precious.txt"
    other.write_text("a single line, which a reader of lines would take for a torn one")
    (tmp_path / "t.json").write_bytes(table)
    validation_path(tmp_path / "t.json").symlink_to(other)
    for use_it in (read_validation, lambda path: append_validation(path, [])):
        with pytest.raises(InputError, match="is a link"):
            use_it(tmp_path / "t.json")
    assert other.read_text().startswith("a single line")


def test_a_bomb_of_aliases_costs_nothing(tmp_path):
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "d.yaml").write_text("\n".join(levels))
    start = time.perf_counter()
    with pytest.raises(InputError, match="its aliases written out"):
        load_device(str(tmp_path / "d.yaml"))
    with pytest.raises(InputError, match="must hold count, mean, std"):
        import_tables([tmp_path / "d.yaml"], "ofa", HEADER)
    assert time.perf_counter() - start < 5


def test_nothing_in_a_file_is_executed(tmp_path):
    mark = tmp_path / "mark"
    (tmp_path / "d.yaml").write_text(f"!!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(InputError, match="could not determine a constructor"):
        load_device(str(tmp_path / "d.yaml"))
    with pytest.raises(InputError):
        import_tables([tmp_path / "d.yaml"], "proxyless", HEADER)
    assert not mark.exists()


def test_tables_say_all_that_is_wrong_with_their_rows(table, file):
    content = json.loads(table)
    row = content["entries"][0]
    content["entries"] = [
        row,
        row,
        {**row, "latency_ms": float("nan")},
        {**row, "latency_ms": -1.0},
        {**row, "p5_ms": float("inf")},
        {**row, "num_runs": 2**70},
        {"op": row["op"], "x": 1},
        {**row, "op": {**row["op"], "in_shape": [10**30, 1, 1]}},
    ]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load_table(file)
    text = str(caught.value)
    for number in range(1, 8):
        assert f"entries.{number}" in text
    assert "a second row for" in text


def test_a_device_named_as_a_path_writes_nowhere(tmp_path, monkeypatch):
    with pytest.raises(HwnasError, match="must be a name"):
        published_header("../../phone", "litert", "fp32", 1, None)
    with pytest.raises(InputError, match="there is no such device"):
        load_device("../devices/host")
