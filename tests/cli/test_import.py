"""Published tables through the command line: imported, shown, used, refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.latency.table.sums_solver import Design
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

WIDE = "ofa-mbv3:width_mult=1.2"


@pytest.fixture
def note10(hwnas, shared_data, tmp_path):
    files = [shared_data(f"ofa-note10/{size}_lookup_table.yaml") for size in (160, 224)]
    out = tmp_path / "note10"
    answer = hwnas(
        "lut", "import", "--format", "ofa", *files, "--device", "galaxy-note10", "--out", out
    )
    assert (answer.code, answer.err) == (0, "")
    assert [line.split(": ")[1] for line in answer.out.splitlines()] == ["93 rows"] * 2
    return out


def test_an_imported_folder_is_shown_whole(hwnas, note10):
    shown = hwnas("lut", "show", note10)
    assert shown.code == 0
    for words in (
        "for networks of resolution=160",
        "for networks of resolution=224",
        "file 224_lookup_table.yaml",
        "galaxy-note10, litert, version not recorded",
    ):
        assert words in shown.out
    content = hwnas("lut", "show", note10, "--json").json
    assert [table["header"]["scope"] for table in content["tables"]] == [
        {"resolution": 160},
        {"resolution": 224},
    ]
    one = hwnas("lut", "show", sorted(note10.iterdir())[0], "--json").json
    assert one == content["tables"][0]


def test_predict_uses_the_table_of_each_lines_resolution(hwnas, note10, tmp_path):
    space = load_space(WIDE)
    codes = space.repair(np.zeros((3, len(space.choices)), dtype=np.int16))
    codes[:, 0] = [2, 3, 6]  # 160, 176, 224
    lines = [json.dumps(arch.to_json()) for arch in space.decode(codes)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    answer = hwnas(
        "predict", "--space", WIDE, "--lut", note10, "--archs", tmp_path / "a.jsonl", "--json"
    )
    assert answer.code == 1
    small, none, large = [json.loads(line) for line in answer.out.splitlines()]
    assert small["latency_ms"] < large["latency_ms"]
    assert small["source"] == "lut-uncalibrated"
    assert "there are tables of resolution=160; resolution=224" in none["error"]
    assert "(resolution=160, resolution=224) is not calibrated" in answer.err


def test_an_audit_lists_the_resolutions_without_a_table(hwnas, note10):
    found = hwnas("spaces", "audit", WIDE, "--lut", note10, "--budget-ms", "20", "--json").json
    assert sorted(text.split(" ")[0] for text in found["restricted"]) == [
        f"resolution={r}" for r in (128, 144, 176, 192, 208)
    ]
    assert found["fastest_ms"] < 20 < found["slowest_ms"]


def test_a_second_import_and_an_unknown_format_write_nothing(hwnas, note10, shared_data):
    before = {path.name: path.read_bytes() for path in note10.iterdir()}
    file = shared_data("ofa-note10/160_lookup_table.yaml")
    again = hwnas(
        "lut", "import", "--format", "ofa", file, "--device", "galaxy-note10", "--out", note10
    )
    assert (again.code, again.out) == (1, "")
    assert "resolution=160.json is there already" in again.err
    other = hwnas("lut", "import", "--format", "tsv", file, "--device", "x", "--out", note10)
    assert other.code == 2
    assert "one of ofa, proxyless" in other.err
    assert {path.name: path.read_bytes() for path in note10.iterdir()} == before


def test_sums_are_solved_stated_and_used(hwnas, tmp_path):
    space = load_space("tiny")
    codes = stream(0, "sums").integers(4, size=(300, 5)).astype(np.int16)
    design = Design(space)
    rows = np.array([op.macs for op in design.ops]) / 1e7
    lines = [
        json.dumps({"arch": arch.to_json(), "latency_ms": ms})
        for arch, ms in zip(
            space.decode(codes), (design.counts(codes) @ rows).tolist(), strict=True
        )
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(json.loads(x)["arch"]) for x in lines))
    arguments = (
        "lut",
        "import",
        "--format",
        "sums",
        tmp_path / "s.jsonl",
        "--device",
        "pixel-3",
        "--out",
        tmp_path / "out",
    )
    answer = hwnas(*arguments, "--space", "tiny")
    assert (answer.code, answer.err) == (0, "")
    assert "rank: 16 of 20 rows" in answer.out
    assert "residual: max " in answer.out
    table = tmp_path / "out" / "litert-fp32-t1.json"
    predicted = hwnas(
        "predict", "--space", "tiny", "--lut", table, "--archs", tmp_path / "a.jsonl", "--json"
    ).out.splitlines()
    for line, sums in zip(predicted, lines, strict=True):
        assert json.loads(line)["latency_ms"] == pytest.approx(
            json.loads(sums)["latency_ms"], abs=1e-9
        )
    without = hwnas(*arguments)
    assert without.code == 2
    assert "--format sums needs --space" in without.err


def test_a_table_in_microseconds_is_refused_where_it_is_used_and_warned_of_where_shown(
    hwnas, shop, tmp_path
):
    content = json.loads((shop / "t.json").read_text())
    for row in content["entries"]:
        for key in ("latency_ms", "p5_ms", "p50_ms", "p90_ms", "p95_ms"):
            row[key] *= 1e3
    (shop / "t.json").write_text(json.dumps(content))
    predict = ("predict", "--space", "tiny", "--lut", "t.json", "--archs", "archs.jsonl")
    refused = hwnas(*predict)
    assert (refused.code, refused.out) == (1, "")
    assert "are its latencies in microseconds?" in refused.err
    assert "GMAC/s" in refused.err
    assert hwnas(*predict, "--force").out
    search = (
        "search",
        "--space",
        "tiny",
        "--lut",
        "t.json",
        "--budget-ms",
        "1000",
        "--data",
        "digits",
        "--out",
        tmp_path / "new",
    )
    refused = hwnas(*search)
    assert refused.code == 1
    assert "are its latencies in microseconds?" in refused.err
    assert not (tmp_path / "new").exists()
    shown = hwnas("lut", "show", "t.json")
    assert shown.code == 0
    assert "warning: t.json: its rows imply" in shown.err
