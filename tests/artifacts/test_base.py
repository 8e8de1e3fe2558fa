"""What holds for every file of a run: nothing is lost, old names are read, all problems at once."""

from __future__ import annotations

import copy
import json
import logging

import pytest

from hwnas.artifacts.base import Artifact
from hwnas.artifacts.benched import BenchFile
from hwnas.artifacts.environment import EnvironmentFile
from hwnas.artifacts.search import FinalistsFile, FrontFile, ResultFile
from hwnas.artifacts.winner import WinnerFile
from hwnas.errors import InputError

ID = "0123456789abcdef"
ARCH = {"schema": 1, "space": "tiny", "choices": {"layer1": "mb3_k3", "layer2": 7}}
TOP1 = {"value": 0.5, "unit": "fraction", "direction": "max", "source": "scratch"}
NETWORK = {"arch": ARCH, "arch_id": ID, "network_id": ID, "latency_ms": 2.5}
CANDIDATE = {**NETWORK, "objectives": {"top1": TOP1}}
FINALISTS = {"schema": 1, "answers": [{"limits": [], "finalists": [CANDIDATE], "random": []}]}
ROW = {
    "name": "mobilenet_v2 x0.5",
    "kind": "shelf",
    "network_id": ID,
    "predicted_ms": None,
    "val_top1": 0.5,
    "measurement": {
        "latency_ms": 1.0,
        "p5_ms": 1.0,
        "p50_ms": 1.0,
        "p90_ms": 1.0,
        "p95_ms": 1.0,
        "num_rounds": 2,
        "num_runs": 4,
        "repeatability": 0.0,
    },
    "within_budget": True,
    "macs": 10,
    "params": 5,
    "also": {},
}
OLD_BENCH = {
    "schema": 1,
    "device": "host",
    "runtime": "litert",
    "precision": "fp32",
    "drift": {"ratio": 1.01, "sentinels": {}},
    "rows": [ROW, {**ROW, "kind": "finalist", "arch_id": ID}],
}


def test_a_file_that_is_loaded_and_saved_is_the_same_bytes(tmp_path):
    path = tmp_path / "finalists.json"
    path.write_text(json.dumps(FINALISTS, indent=2) + "\n")
    before = path.read_bytes()
    assert FinalistsFile.load(tmp_path).save(tmp_path) == path
    assert path.read_bytes() == before


def test_keys_of_a_newer_version_are_kept(tmp_path):
    newer = copy.deepcopy(FINALISTS)
    newer["answers"][0]["finalists"][0]["colour"] = ["red"]
    newer["mood"] = {"good": True}
    assert FinalistsFile.parse(newer, "f").to_json() == newer


def test_what_was_not_given_is_not_written_and_what_was_given_as_none_is():
    content = {"schema": 1, "points": [{"arch_id": ID, "latency_ms": 1.0, "top1": 0.5}]}
    content["points"][0]["on_front"] = True
    assert FrontFile.parse(content, "f").to_json() == content
    content["points"][0]["network_id"] = ID
    assert FrontFile.parse(content, "f").to_json() == content


def test_all_problems_come_at_once_with_their_places():
    broken = copy.deepcopy(FINALISTS)
    finalist = broken["answers"][0]["finalists"][0]
    finalist |= {"network_id": "../../outside", "latency_ms": -1.0}
    del finalist["objectives"]
    with pytest.raises(InputError) as caught:
        FinalistsFile.parse(broken, "finalists.json")
    assert len(caught.value.problems) == 3
    place = "answers.0.finalists.0"
    assert {p.partition(":")[0] for p in caught.value.problems} == {
        f"{place}.network_id",
        f"{place}.latency_ms",
        f"{place}.objectives",
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, True])
def test_a_number_is_a_finite_number(value):
    content = copy.deepcopy(FINALISTS)
    content["answers"][0]["finalists"][0]["objectives"]["top1"]["value"] = value
    with pytest.raises(InputError, match=r"top1\.value"):
        FinalistsFile.parse(content, "f")


@pytest.mark.parametrize("content", [[1], {}, {"schema": 2, "answers": []}, None])
def test_what_is_no_file_of_a_run_says_so(content):
    with pytest.raises(InputError, match="it must hold schema: 1"):
        FinalistsFile.parse(content, "f")


def test_a_file_without_a_version_is_read_and_written_without_one():
    content = {"hwnas": "0.1.0", "threads": None, "packages": {"torch": "2"}}
    assert EnvironmentFile.parse(content, "env.json").to_json() == content


def test_numbers_of_architectures_may_have_many_digits():
    audit = {"num_codes": 7**200, "num_feasible_low": 0, "num_feasible_high": 7**100}
    content = {
        "schema": 1,
        "strategy": "random",
        "space": "tiny",
        "seed": 0,
        "num_evaluations": 1,
        "audit": audit,
        "answers": [{"limits": []}],
    }
    found = ResultFile.parse(content, "r")
    assert found.audit is not None
    assert found.audit.num_codes == 7**200
    assert found.to_json() == content
    content["audit"] = {"num_codes": 10**301}
    with pytest.raises(InputError, match=r"audit\.num_codes"):
        ResultFile.parse(content, "r")


def test_old_names_are_read_with_a_warning_that_names_the_new_one(caplog):
    with caplog.at_level(logging.WARNING):
        found = BenchFile.parse(OLD_BENCH, "bench.json")
    assert [row.kind for row in found.rows] == ["baseline", "finalist"]
    assert found.drift is not None
    written = found.to_json()
    assert written["drift"] == {"ratio": 1.01, "anchors": {}}
    assert all(row["other_precisions"] == {} and "also" not in row for row in written["rows"])
    assert [record.getMessage() for record in caplog.records] == [
        "bench.json: the kind of row 'shelf' is called baseline now; the old name is read for one "
        "more version",
        "bench.json: the key drift.sentinels is called anchors now; the old name is read for one "
        "more version",
        "bench.json: the key rows.also is called other_precisions now; the old name is read for "
        "one more version",
    ]
    caplog.clear()
    assert BenchFile.parse(written, "bench.json") == found
    assert not caplog.records


def test_an_absent_file_is_none_only_where_it_may_be_absent(tmp_path):
    assert WinnerFile.load_if_present(tmp_path) is None
    with pytest.raises(InputError, match="there is no such file"):
        WinnerFile.load(tmp_path)


def test_a_bench_file_is_named_by_its_target(tmp_path):
    found = BenchFile.parse(OLD_BENCH, "b")
    path = found.save(tmp_path)
    assert path == tmp_path / "bench" / "host-litert-fp32.json"
    assert path == BenchFile.path_of(tmp_path, "host", "litert", "fp32")
    assert BenchFile.load_all(tmp_path) == (found,)


def test_every_file_names_the_command_that_writes_it():
    files = Artifact.__subclasses__()
    assert len({file.FILE for file in files}) == len(files) > 8
    assert all(file.WRITTEN_BY.startswith("hwnas ") for file in files)
