"""A run's configuration and files that are broken or meant to harm: told, never followed."""

from __future__ import annotations

import json

import pytest

from hwnas.errors import HwnasError, InputError
from hwnas.files import read_yaml
from hwnas.journal import Journal, read_json
from hwnas.pipeline.config import load_config
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.run import cross_runs
from hwnas.report.facts import read_run
from tests.fuzzing import survives

STAGES = ("finalists.json", "retrained.json", "export/index.json")
SHOWN = ("env.json", "result.json", "finalists.json", "front.json", "retrained.json",
         "winner.json", "journal.jsonl", "table.json")


def test_configurations_never_break_their_reader(copied):
    path = copied / "config.yaml"
    valid, content = path.read_bytes(), read_yaml(path)

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        load_config(path).to_yaml()

    survives(read, valid, is_json=False)
    survives(read, json.dumps(content).encode())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_never_reads_more_than_it_was_promised(copied, name):
    folder, path = RunFolder.existing(copied), copied / name
    places = {"finalists.json": "answers", "retrained.json": "finalists",
              "export/index.json": "networks"}

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        content = folder.read(name, "hwnas")
        for row in content[places[name]]:
            for one in row.get("finalists", [row]):
                assert folder.weights(one["network_id"]).parent == copied / "checkpoints"
                assert len(one["arch_id"]) == 16

    survives(read, path.read_bytes())


@pytest.mark.parametrize("name", SHOWN)
def test_a_report_never_breaks_on_a_runs_files(copied, name):
    path = copied / name

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        read_run(copied)

    survives(read, path.read_bytes(), lines=name.endswith("l"), examples=20)


def test_runs_side_by_side_never_break_on_a_file(copied):
    path = copied / "result.json"

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        cross_runs([copied, copied])

    survives(read, path.read_bytes())


def test_journals_never_break_their_reader(tmp_path):
    path = tmp_path / "j.jsonl"

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        journal = Journal(path)
        before = journal.records()
        with journal:
            journal.append({"event": "x"})
        assert journal.records() == [*before, {"event": "x"}]

    survives(read, b'{"event": "a", "value": [1, {"b": null}]}\n{"event": "b"}\n', lines=True)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000,
                                  "9" * 5000, "\ud800".encode("utf-8", "surrogatepass").decode(
                                      "latin-1"), "\x00", "NaN,"])
def test_json_that_harms_is_an_input_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError):
        read_json(tmp_path / "a.json")


def test_a_folder_or_a_name_no_file_can_have_is_an_input_error(tmp_path):
    for read in (read_json, read_yaml):
        for path in (tmp_path, tmp_path / "x\x00y", tmp_path / "none"):
            with pytest.raises(HwnasError):
                read(path)
