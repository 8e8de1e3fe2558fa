"""Tables: text that diffs by line, all problems at once, no number that nobody measured."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace

import pytest

from hwnas.errors import InputError, MissingRowError
from hwnas.latency.lut.calibration import fit_calibration
from hwnas.latency.table.files import load_table, merge_tables, save_table
from hwnas.latency.table.schemas import Calibration, MeasurementSchema, NetworkRecord
from hwnas.ops import OpSpec
from hwnas.space.catalogue import load_space

CALIBRATION = Calibration(
    scale=0.9,
    per_op_ms=-0.01,
    constant_ms=0.02,
    num_networks=8,
    mean_abs_rel_error=0.01,
    max_abs_rel_error=0.03,
)
ERRORS = {"mean_abs_rel_error": 0.01, "kendall_tau": 0.9}
VALIDATION = {
    **ERRORS,
    "num_networks": 9,
    "repeatability_mean": 0.01,
    "macs_line": ERRORS,
    "op_count_line": ERRORS,
    "bias": 0.01,
}


def _network(space, measurement, ms=1.5, role="sentinel"):
    arch = space.arch({choice.name: choice.options[0] for choice in space.choices})
    model = MeasurementSchema(**measurement(ms).to_json())
    return NetworkRecord(
        space=space.name, role=role, is_sentinel=True, arch=arch.to_json(), measurement=model
    )


@pytest.fixture
def table(tiny, random_table, measurement):
    return random_table(
        tiny,
        calibration={"tiny": CALIBRATION},
        validation={"tiny": VALIDATION},
        networks=(_network(tiny, measurement),),
    )


def _broken(table, tmp_path, change):
    path = tmp_path / "broken.json"
    save_table(table, path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        load_table(path)
    assert str(path) in str(caught.value)
    return caught.value.problems


def test_a_table_is_read_back_as_it_was_written(table, tmp_path):
    save_table(table, tmp_path / "t.json")
    assert load_table(tmp_path / "t.json") == table


def test_entries_are_sorted_one_a_line_and_a_changed_row_changes_one_line(
    table, tmp_path, measurement
):
    save_table(table, tmp_path / "a.json")
    reordered = dict(reversed(table.entries.items()))
    op = next(iter(reordered))
    save_table(replace(table, entries={**reordered, op: measurement(77.0)}), tmp_path / "b.json")
    old, new = ((tmp_path / f"{n}.json").read_text().splitlines() for n in "ab")
    changed = [
        line
        for line in difflib.unified_diff(old, new, lineterm="", n=0)
        if line[0] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert len(changed) == 2
    assert '"latency_ms":77.0' in changed[1]
    rows = [line for line in old if line.startswith('{"latency_ms"') and '"op"' in line]
    assert len(rows) == len(table.entries)
    keys = [OpSpec.from_json(json.loads(row.rstrip(","))["op"]).key for row in rows]
    assert keys == sorted(keys)


def test_all_problems_of_a_table_are_told_at_once(table, tmp_path):
    def change(content):
        content["colour"] = "green"
        content["header"]["host"]["cpu"] = None
        del content["header"]["runtime"]
        content["header"]["serial"] = "R58M123"
        rows = content["entries"]
        rows[0]["op"]["kind"] = "warp"
        rows[1]["latency_ms"] = -1.0
        rows[2]["mean_ms"] = 1.0
        rows[3]["op"]["attrs"]["kernel"] = "3"
        rows[4] = "row"
        rows.append(rows[5])
        content["calibration"]["tiny"]["scale"] = "big"
        content["networks"][0]["role"] = "guard"

    problems = _broken(table, tmp_path, change)
    expected = [
        "unknown key 'colour'",
        "header: host.cpu",
        "header: runtime: is required",
        "header: serial: unknown key",
        "entries.0: unknown operation kind 'warp'",
        "entries.1: latency_ms",
        "entries.2: mean_ms: unknown key",
        "entries.3: ",
        "entries.4: a row is an object",
        f"entries.{len(table.entries)}: a second row for",
        "calibration.tiny: scale",
        "networks.0: role",
    ]
    for beginning in expected:
        assert any(problem.startswith(beginning) for problem in problems), (beginning, problems)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan"), None, "1.0"])
def test_a_latency_that_is_no_positive_number_is_refused(table, tmp_path, value):
    problems = _broken(table, tmp_path, lambda c: c["entries"][0].update(latency_ms=value))
    assert len(problems) == 1
    assert problems[0].startswith("entries.0: latency_ms")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("entries", {}, "entries must be a list of rows"),
        ("networks", {}, "networks must be a list"),
        ("calibration", [], "calibration must be an object"),
        ("validation", 3, "validation must be an object"),
    ],
)
def test_a_part_of_another_kind_is_refused(table, tmp_path, key, value, problem):
    assert _broken(table, tmp_path, lambda c: c.update({key: value})) == (problem,)


@pytest.mark.parametrize("text", ["[]", '{"schema": 2}', "{}", "3"])
def test_what_is_no_table_is_refused_with_the_verb_that_makes_one(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match=r"(?s)is not a latency table.*hwnas profile writes"):
        load_table(tmp_path / "t.json")


def test_a_missing_row_names_the_operation_the_nearest_rows_and_the_command(table):
    wanted = OpSpec.make("conv", (3, 32, 32), 9, kernel=3, act="relu")  # a stem of 9, not 8
    stem = next(op for op in table.entries if op.in_shape[0] == 3)
    with pytest.raises(MissingRowError) as caught:
        table.row_ms(wanted)
    lines = str(caught.value).splitlines()
    assert lines[1].startswith(f"  - {wanted}; nearest rows: {stem}")
    assert lines[-1].startswith("Next: hwnas profile --device desk --runtime onnxruntime")
    assert table.row_ms(stem) == table.entries[stem].latency_ms


def _halves(table):
    ops = list(table.entries)
    return (
        replace(table, entries={op: table.entries[op] for op in ops[:6]}),
        replace(table, entries={op: table.entries[op] for op in ops[5:]}),
    )


def test_merging_unites_rows_spaces_and_networks(table, make_header, measurement):
    other = load_space("tiny:num_classes=7")
    first, second = _halves(table)
    second = replace(
        second,
        header=make_header(date="2026-02-02"),
        calibration={other.name: CALIBRATION},
        validation={},
        networks=(*table.networks, _network(other, measurement)),
    )
    merged = merge_tables([first, second], ["a", "b"])
    assert merged.entries == table.entries
    assert set(merged.calibration) == {"tiny", other.name}
    assert merged.validation == table.validation
    assert merged.networks == (*table.networks, second.networks[1])  # once each
    assert merged.header == first.header  # a later date is no other target


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 2}, "b: threads is 2, but 1 in a"),
        ({"affinity": "4-7"}, "b: affinity is '4-7', but None in a"),
        ({"runtime_version": "onnxruntime 2.0"}, "b: runtime_version is 'onnxruntime 2.0', but"),
        ({"scope": {"resolution": 160}}, "b: scope is {'resolution': 160}, but {} in a"),
        ({"device": "shelf", "precision": "int8"}, "b: precision is 'int8'"),
    ],
)
def test_merging_other_targets_is_refused_by_name_of_the_key(table, make_header, change, words):
    first, second = _halves(table)
    with pytest.raises(InputError) as caught:
        merge_tables([first, replace(second, header=make_header(**change))], ["a", "b"])
    assert any(problem.startswith(words) for problem in caught.value.problems)
    assert len(caught.value.problems) == len(change)


def test_merging_contradictions_is_refused_and_never_decided(table, measurement):
    first, second = _halves(table)
    op = next(op for op in first.entries if op in second.entries)
    second = replace(
        second,
        entries={**second.entries, op: measurement(99.0)},
        calibration={"tiny": CALIBRATION.model_copy(update={"scale": 2.0})},
        validation={"tiny": {"bias": 0.5}},
    )
    with pytest.raises(InputError) as caught:
        merge_tables([first, second], ["a", "b"])
    assert caught.value.problems == (
        f"b: a second, different row for {op}",
        "b: a second, different calibration of tiny",
        "b: a second, different validation of tiny",
    )


def test_a_folder_of_tables_is_read_as_one(table, tmp_path):
    for name, part in zip("ab", _halves(table), strict=True):
        save_table(part, tmp_path / f"{name}.json")
    assert load_table(tmp_path) == table
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no table \(\*.json\)"):
        load_table(tmp_path / "empty")


def test_nothing_in_a_table_stands_for_a_row_that_is_missing(table, tiny):
    op = next(iter(table.entries))
    without = replace(table, entries={k: v for k, v in table.entries.items() if k != op})
    arch = tiny.arch({choice.name: choice.options[0] for choice in tiny.choices})
    assert op in tiny.layers(arch)
    with pytest.raises(MissingRowError):
        fit_calibration(tiny, without, [arch], [1.0])


def test_calibration_forms_are_read_by_their_old_names(table, tmp_path):
    fit = CALIBRATION.model_copy(update={"form": "weight_traffic+ops"})
    save_table(replace(table, calibration={"tiny": fit}), tmp_path / "new.json")
    text = (tmp_path / "new.json").read_text()
    assert '"form": "weight_traffic+ops"' in text
    (tmp_path / "old.json").write_text(text.replace("weight_traffic+ops", "cold+ops"))
    assert load_table(tmp_path / "old.json") == load_table(tmp_path / "new.json")
