"""Verbs that look: standard output holds the result alone; bad input is told line by line."""

from __future__ import annotations

import itertools
import json

import pytest

from hwnas.latency.table.files import load_table
from hwnas.space.catalogue import SPACES, load_space


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines))
    return path


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def without(path, is_gone):
    """Take the rows away of which ``is_gone(op)`` says so."""

    def edit(content):
        content["entries"] = [row for row in content["entries"] if not is_gone(row["op"])]

    return change(path, edit)


@pytest.mark.parametrize(
    "arguments",
    [
        ("devices", "--json"),
        ("spaces", "--json"),
        ("spaces", "show", "tiny", "--json"),
        ("spaces", "show", "proxyless:width_mult=0.5", "--json"),
        ("spaces", "audit", "tiny", "--lut", "t.json", "--budget-ms", "0.1", "--json"),
        ("lut", "show", "t.json", "--json"),
        ("lut", "diff", "t.json", "quiet.json", "--json"),
        ("lut", "check", "t.json", "--device", "host", "--json"),
        ("retrain", "--run", "r", "--json"),
        ("export", "--run", "r", "--format", "onnx", "--json"),
        ("bench", "r", "--json"),
        ("run", "--schema"),
    ],
    ids=" ".join,
)
def test_json_output_is_one_document_and_nothing_else(shop, hwnas, arguments):
    assert hwnas(*arguments).json


def test_devices_and_spaces_list_what_there_is(hwnas):
    assert "host" in [device["name"] for device in hwnas("devices", "--json").json]
    found = hwnas("spaces", "--json").json
    assert [space["name"] for space in found] == list(SPACES)
    assert {space["name"]: space["num_codes"] for space in found}["tiny"] == 4**5


def test_predict_prints_a_line_per_line_with_the_sum_of_its_rows(shop, hwnas):
    answer = hwnas(
        "predict", "--space", "tiny", "--lut", "t.json", "--archs", "archs.jsonl", "--json"
    )
    assert (answer.code, answer.err) == (0, "")
    space, rows = load_space("tiny"), load_table(shop / "t.json").entries
    given = [json.loads(line) for line in (shop / "archs.jsonl").read_text().splitlines()]
    printed = [json.loads(line) for line in answer.out.splitlines()]
    for value, line in zip(given, printed, strict=True):
        arch = space.arch(value["choices"])
        assert line["arch_id"] == arch.arch_id
        assert line["source"] == "lut"
        expected = sum(rows[op].latency_ms for op in space.layers(arch))
        assert line["latency_ms"] == pytest.approx(expected, abs=2e-6)


def test_bad_lines_are_errors_in_their_places_and_the_others_are_predicted(shop, hwnas):
    good = (shop / "archs.jsonl").read_text().splitlines()[0]
    impossible = good.replace('"layer1": "', '"layer1": "mb9')
    write(
        shop / "bad.jsonl",
        [
            good,
            impossible,
            "",
            "{",
            '{"schema": 1, "space": "fbnet", "choices": {}}',
            good.replace('"schema": 1', '"schema": 9'),
            "[1]",
            good,
        ],
    )
    answer = hwnas(
        "predict", "--space", "tiny", "--lut", "t.json", "--archs", "bad.jsonl", "--json"
    )
    assert answer.code == 1
    assert "6 line(s) of bad.jsonl could not be predicted" in answer.err
    printed = [json.loads(line) for line in answer.out.splitlines()]
    assert [set(line) for line in printed] == [
        {"arch_id", "latency_ms", "source"},
        *[{"error"}] * 6,
        {"arch_id", "latency_ms", "source"},
    ]
    assert printed[0] == printed[-1]
    told = [line["error"] for line in printed[1:-1]]
    for text, found in zip(
        ("'layer1' is 'mb9", "not JSON", "not JSON", "'fbnet'", "schema must", "exactly the keys"),
        told,
        strict=True,
    ):
        assert text in found


def test_a_row_that_is_missing_is_told_for_each_line_that_needs_it(shop, hwnas):
    without(shop / "t.json", lambda op: op["attrs"].get("kernel") == 5)
    answer = hwnas(
        "predict", "--space", "tiny", "--lut", "t.json", "--archs", "archs.jsonl", "--json"
    )
    assert answer.code == 1
    given = (shop / "archs.jsonl").read_text().splitlines()
    for text, line in zip(given, answer.out.splitlines(), strict=True):
        needs = "mb3_k5" in json.loads(text)["choices"].values()
        assert ("error" in json.loads(line)) is needs
        if needs:
            assert "kernel=5" in line
            assert (
                "hwnas profile --device host --runtime onnxruntime --precision fp32 --threads 1 "
                "--space tiny --out TABLE --resume measures what TABLE lacks"
            ) in line


def test_predict_by_op_predictor_predicts_missing_rows_and_marks_their_networks(shop, hwnas):
    without(shop / "t.json", lambda op: op["attrs"].get("kernel") == 5 and op["in_shape"][0] == 16)
    answer = hwnas(
        "predict",
        "--space",
        "tiny",
        "--lut",
        "t.json",
        "--archs",
        "archs.jsonl",
        "--predictor",
        "op-predictor",
        "--json",
    )
    assert answer.code == 0
    assert "rows are predicted (mbconv: " in answer.err
    printed = [json.loads(line) for line in answer.out.splitlines()]
    assert "op-predictor" in {line["source"] for line in printed} <= {"lut", "op-predictor"}
    assert all(line["latency_ms"] > 0 for line in printed)


@pytest.mark.parametrize(
    ("is_gone", "named"),
    [
        (lambda op: op["kind"] == "head", "head 64x4x4->10"),
        (lambda op: op["in_shape"] == [32, 8, 8] and op["out_channels"] == 64, "32x8x8->64"),
        (lambda op: True, "nearest rows: none"),
    ],
    ids=["a fixed part", "every option of a choice", "all rows"],
)
def test_a_table_without_what_every_network_needs_is_refused(shop, hwnas, is_gone, named):
    without(shop / "t.json", is_gone)
    for verb in (
        ("predict", "--archs", "archs.jsonl", "--space"),
        ("spaces", "audit", "--budget-ms", "0.1"),
    ):
        answer = hwnas(*verb, "tiny", "--lut", "t.json")
        assert (answer.code, answer.out) == (1, "")
        assert named in answer.err
        assert "Next: hwnas profile --device host" in answer.err


def test_a_check_that_updates_leaves_the_table_and_writes_one_of_today(shop, hwnas):
    before = (shop / "t.json").read_bytes()
    answer = hwnas(
        "lut", "check", "t.json", "--device", "host", "--anchors", "2", "--update", "--json"
    )
    found = answer.json
    assert len(found["anchors"]) == 2
    assert {"scale", "uncertainty", "applied"} <= set(found["model"])
    assert found["state_before"]
    assert found["state_after"]
    assert (shop / "t.json").read_bytes() == before
    new, old = load_table(shop / found["updated"]), load_table(shop / "t.json")
    assert "recalibrated" in new.header.provenance
    assert new.entries == old.entries
    for name, fit in old.calibration.items():
        assert new.calibration[name].scale / fit.scale == pytest.approx(
            found["model"]["scale" if found["model"]["offset_ms"] else "applied"], rel=1e-3
        )
    again = hwnas("lut", "check", found["updated"], "--device", "host", "--anchors", "2", "--json")
    ratios = [sentinel["ratio"] for sentinel in again.json["anchors"]]
    assert all(0.2 < ratio < 5 for ratio in ratios)  # of today, whatever the table said before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1]", "is not a latency table"),
        ('{"schema": 1, "hader": {}}', "hader"),
        ("\x00\xff", "not JSON"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_every_verb(shop, hwnas, text, message):
    (shop / "t.json").write_text(text)
    for verb in (
        ("lut", "show", "t.json"),
        ("lut", "check", "t.json", "--device", "host"),
        ("predict", "--space", "tiny", "--lut", "t.json", "--archs", "archs.jsonl"),
        (
            "search",
            "--space",
            "tiny",
            "--lut",
            "t.json",
            "--budget-ms",
            "1",
            "--data",
            "digits",
            "--out",
            "new",
        ),
    ):
        answer = hwnas(*verb)
        assert (answer.code, answer.out) == (1, "")
        assert message in answer.err
    assert not (shop / "new").exists()


def test_a_truncated_table_says_where_it_ends(shop, hwnas):
    text = (shop / "t.json").read_text()
    (shop / "t.json").write_text(text[: len(text) // 2])
    answer = hwnas("lut", "show", "t.json")
    assert answer.code == 1
    assert "t.json" in answer.err
    assert "line " in answer.err


def test_all_problems_of_a_table_are_told_at_once(shop, hwnas):
    def spoil(content):
        content["header"]["devce"] = content["header"].pop("device")
        content["entries"][0]["latency_ms"] = -1
        content["entries"][1]["op"]["kind"] = "magic"

    change(shop / "t.json", spoil)
    answer = hwnas("lut", "show", "t.json")
    assert answer.code == 1
    for text in (
        "4 problems",
        "device: is required and missing",
        "did you mean 'device'?",
        "entries.0: latency_ms: must be greater than 0, got -1",
        "entries.1: unknown operation kind 'magic'",
    ):
        assert text in answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("spaces", "show", "tinny"), 1, "there is no space 'tinny'; known: tiny"),
        (("spaces", "show", "tiny:num_class=3"), 1, "is not one of its parameters"),
        (("spaces", "show", "absent.yaml"), 1, "there is no such file"),
        (("lut", "show", "absent.json"), 1, "there is no such file"),
        (("lut", "check", "t.json", "--device", "pixel-8"), 2, "Next: --device host"),
        (("lut", "merge", "t.json", "--out", "quiet.json"), 2, "choose another --out"),
        (
            ("predict", "--space", "tiny", "--lut", "t.json", "--archs", "absent.jsonl"),
            1,
            "cannot be read",
        ),
        (
            (
                "predict",
                "--space",
                "tiny",
                "--lut",
                "t.json",
                "--archs",
                "archs.jsonl",
                "--predictor",
                "magic",
            ),
            2,
            "allowed: lut, op-predictor",
        ),
        (("spaces", "audit", "tiny", "--lut", "t.json", "--budget-ms", "inf"), 2, "got inf"),
        (("spaces", "audit", "tiny", "--lut", "t.json", "--budget-ms", "0"), 2, "got 0"),
        (("predict", "--space", "tiny"), 2, "Missing option"),
        (("predicct",), 2, "No such command 'predicct'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_use_or_input_is_a_message_and_an_exit_code(shop, hwnas, arguments, code, message):
    answer = hwnas(*arguments)
    assert answer.code == code
    assert message in answer.err
    assert answer.out == ""


def test_an_audit_counts_what_enumeration_counts(shop, hwnas):
    space, rows = load_space("tiny"), load_table(shop / "t.json").entries
    names = [choice.name for choice in space.choices]
    times = [
        sum(
            rows[op].latency_ms
            for op in space.layers(space.arch(dict(zip(names, options, strict=True))))
        )
        for options in itertools.product(*(choice.options for choice in space.choices))
    ]
    found = hwnas(
        "spaces", "audit", "tiny", "--lut", "t.json", "--budget-ms", "0.0801", "--json"
    ).json
    assert (
        found["num_feasible_low"] == found["num_feasible_high"] == sum(ms <= 0.0801 for ms in times)
    )
    assert found["fastest_ms"] == pytest.approx(min(times), abs=1e-6)


def test_an_audit_of_a_budget_nothing_meets_still_says_what_the_space_reaches(shop, hwnas):
    answer = hwnas("spaces", "audit", "tiny", "--lut", "t.json", "--budget-ms", "0.001")
    assert answer.code == 1
    assert "0 of 1,024 architectures" in answer.out
    assert "no network of tiny meets latency_ms <= 0.001" in answer.err


def test_merged_tables_hold_the_rows_of_both_and_different_targets_do_not_merge(
    shop, hwnas, make_table
):
    without(shop / "t.json", lambda op: op["kind"] == "head")
    without(shop / "quiet.json", lambda op: op["kind"] != "head")
    assert hwnas("lut", "merge", "t.json", "quiet.json", "--out", "both.json").code == 0
    assert len(load_table(shop / "both.json").entries) == 20
    make_table(shop / "other.json", threads=4)
    answer = hwnas("lut", "merge", "t.json", "other.json", "--out", "none.json")
    assert answer.code == 1
    assert "threads is 4, but 1" in answer.err
    assert not (shop / "none.json").exists()


def test_doctor_prints_a_line_per_check(hwnas):
    answer = hwnas("doctor", "--json")
    checks = {check["check"]: check["ok"] for check in answer.json}
    assert answer.code == (0 if all(checks.values()) else 1)
    assert checks["onnxruntime agent"]
    assert checks["int8"]
    assert checks["conversion cache"]
