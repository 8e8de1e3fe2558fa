from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.rng import stream
from hwnas.space.catalogue import load_space


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Files of two known devices and a new one, whose latencies are plain sums."""
    monkeypatch.chdir(tmp_path)
    space = load_space("tiny")
    rng = stream(0, "cli transfer")
    codes = np.unique(rng.integers(0, 4, (150, 5)).astype(np.int16), axis=0)
    archs = space.decode(space.repair(codes))
    costs = [rng.gamma(3.0, 1.0, (5, 4)) for _ in range(2)]
    costs.append(0.5 * costs[0] + 0.5 * costs[1])

    def ms(arch, cost):
        return float(1 + cost[np.arange(5), space.encode([arch])[0]].sum())

    def write(name, chosen, cost, device=None):
        lines = [{"arch": arch.to_json(), "latency_ms": ms(arch, cost)} for arch in chosen]
        lines = [{**line, "device": device} if device else line for line in lines]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    write("a.jsonl", archs[1::2], costs[0], "a")
    write("b.jsonl", archs[1::2], costs[1], "b")
    write("new.jsonl", archs[::12], costs[2])
    (tmp_path / "pool.jsonl").write_text(
        "".join(json.dumps(arch.to_json()) + "\n" for arch in archs)
    )
    truth = np.array([ms(arch, costs[2]) for arch in archs])
    return archs, truth


PREDICT = ("predict", "--space", "tiny", "--measured", "new.jsonl", "--archs", "pool.jsonl")


def test_a_new_device_is_predicted_line_by_line(desk, hwnas):
    archs, truth = desk
    answer = hwnas(*PREDICT, "--sources", "a.jsonl", "b.jsonl", "--json")
    assert answer.code == 0
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["arch_id"] for row in rows] == [arch.arch_id for arch in archs]
    assert set(rows[0]) == {"arch_id", "latency_ms", "source", "std_ms"}
    assert {row["source"] for row in rows} == {"few-shot"}
    np.testing.assert_allclose([row["latency_ms"] for row in rows], truth, rtol=0.05)
    again = hwnas(*PREDICT, "--sources", "a.jsonl", "--sources", "b.jsonl", "--json")
    assert again.out == answer.out


def test_text_stands_beside_simpler_predictors(desk, hwnas):
    answer = hwnas(*PREDICT, "--sources", "a.jsonl", "b.jsonl")
    assert answer.code == 0
    for name in (
        "transfer",
        "line through MACs",
        "counts in the code",
        "best single source",
        "source ridge",
        "many-sample ceiling",
    ):
        assert name in answer.out
    assert hwnas(*PREDICT).code == 0  # no other device is needed


def test_bad_lines_stay_in_their_places(desk, hwnas, tmp_path):
    lines = (tmp_path / "pool.jsonl").read_text().splitlines()[:3]
    lines.insert(1, "{}")
    (tmp_path / "pool.jsonl").write_text("\n".join(lines))
    answer = hwnas(*PREDICT, "--json")
    assert answer.code == 1
    keys = [set(json.loads(line)) for line in answer.out.splitlines()]
    assert ["error" in one for one in keys] == [False, True, False, False]
    assert "1 line(s) of pool.jsonl could not be predicted" in answer.err


def test_networks_to_time_are_suggested_from_the_pool(desk, hwnas):
    archs, _ = desk
    ask = (
        "predict",
        "--space",
        "tiny",
        "--suggest",
        "6",
        "--sources",
        "a.jsonl",
        "b.jsonl",
        "--archs",
        "pool.jsonl",
        "--json",
    )
    rows = [json.loads(line) for line in hwnas(*ask).out.splitlines()]
    assert len({row["arch_id"] for row in rows}) == 6
    for row in rows:
        assert archs[row["line"] - 1].to_json() == row["arch"]
    timed = {arch.arch_id for arch in archs[::12]}
    more = hwnas(*ask, "--measured", "new.jsonl").out.splitlines()
    assert not timed & {json.loads(line)["arch_id"] for line in more}


def test_every_wrong_line_of_a_measured_file_is_told(desk, hwnas, tmp_path):
    good = (tmp_path / "new.jsonl").read_text().splitlines()
    arch = json.loads(good[0])["arch"]
    other = {**arch, "space": "fbnet"}
    wrong = [
        json.dumps({"arch": arch, "latency_ms": 77.0}),
        '{"arch": {}, "latency_ms": NaN}',
        json.dumps({"arch": arch, "latency_ms": -1}),
        json.dumps({"arch": arch}),
        json.dumps({"arch": other, "latency_ms": 1}),
        json.dumps([1]),
        json.dumps({"arch": arch, "latency_ms": True}),
        json.dumps({"arch": {**arch, "choices": {}}, "latency_ms": 1}),
        json.dumps({"arch": arch, "latency_ms": 1, "device": 3}),
    ]
    (tmp_path / "new.jsonl").write_text("\n".join(good + wrong))
    answer = hwnas(*PREDICT)
    assert answer.code == 1
    assert not answer.out
    for number in range(len(good) + 1, len(good) + len(wrong) + 1):
        assert f"line {number}: " in answer.err
    assert "77.0 ms here" in answer.err
    assert "in line 1" in answer.err
    assert "of space 'fbnet'" in answer.err
    assert "must be a positive number, got -1" in answer.err


def test_files_that_do_not_suffice_are_refused(desk, hwnas, tmp_path):
    good = (tmp_path / "new.jsonl").read_text().splitlines()
    (tmp_path / "new.jsonl").write_text("\n".join(good[:3] + good[:1]))
    assert "5 to 400 networks are needed, got 3" in hwnas(*PREDICT).err
    (tmp_path / "new.jsonl").write_text("")
    assert "got 0" in hwnas(*PREDICT).err
    two = [json.dumps({**json.loads(line), "device": f"d{i % 2}"}) for i, line in enumerate(good)]
    (tmp_path / "new.jsonl").write_text("\n".join(two))
    assert "several devices: d0, d1" in hwnas(*PREDICT).err
    (tmp_path / "new.jsonl").write_text("\n".join(good))
    assert "must name the device" in hwnas(*PREDICT, "--sources", "new.jsonl").err
    twice = hwnas(*PREDICT, "--sources", "a.jsonl", "a.jsonl")
    assert twice.code == 1
    assert "device 'a' is in an earlier file" in twice.err
    assert hwnas(*PREDICT, "--sources", "absent.jsonl").code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--lut", "t.json", "--measured", "new.jsonl"),
        ("--suggest", "0"),
        ("a.jsonl",),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(desk, hwnas, arguments):
    assert hwnas("predict", "--space", "tiny", "--archs", "pool.jsonl", *arguments).code == 2
