"""A run's configuration and files that are broken or meant to harm: told, never followed."""

from __future__ import annotations

import json

import pytest

from hwnas.artifacts.exported import ExportIndexFile
from hwnas.artifacts.search import FinalistsFile
from hwnas.artifacts.training import RetrainedFile
from hwnas.device.device import load_device
from hwnas.device.runner import make_target
from hwnas.errors import HwnasError, InputError
from hwnas.io.journal import Journal, read_json
from hwnas.io.schemas import read_yaml
from hwnas.pipeline.commands.runs import cross_runs, whole_run
from hwnas.pipeline.commands.single import _predictions, export_arch
from hwnas.pipeline.config.run import load_config
from hwnas.pipeline.folder import RunFolder
from hwnas.report.model import read_run
from hwnas.report.page import render
from tests.fuzzing import survives

STAGES = {
    FinalistsFile: lambda file: [one for answer in file.answers for one in answer.finalists],
    RetrainedFile: lambda file: file.finalists,
    ExportIndexFile: lambda file: file.networks,
}
SHOWN = (
    "env.json",
    "result.json",
    "finalists.json",
    "front.json",
    "retrained.json",
    "winner.json",
    "journal.jsonl",
    "table.json",
)


def test_configurations_never_break_their_reader(copied):
    path = copied / "config.yaml"
    valid, content = path.read_bytes(), read_yaml(path)

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        load_config(path).to_yaml()

    survives(read, valid, is_json=False)
    survives(read, json.dumps(content).encode())


@pytest.mark.parametrize("kind", STAGES)
def test_a_stage_never_reads_more_than_it_was_promised(copied, kind):
    folder, path = RunFolder.existing(copied), kind.path(copied)

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        for one in STAGES[kind](folder.read(kind)):
            assert folder.weights(one.network_id).parent == copied / "checkpoints"
            assert len(one.arch_id) == 16

    survives(read, path.read_bytes())


@pytest.mark.parametrize("name", SHOWN)
def test_a_report_never_breaks_on_a_runs_files(copied, name):
    path = copied / name

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        read_run(copied)

    survives(read, path.read_bytes(), lines=name.endswith("l"), examples=12)


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


def test_bundles_never_break_their_readers(copied, table):
    """``export.json`` in a report, ``arch.json`` where its model is predicted."""
    winner = json.loads((copied / "winner.json").read_text())
    folder = copied / "export" / winner["arch_id"]
    target = make_target(load_device("host"), "onnxruntime", "fp32", 1, None)

    def manifest(payload: bytes) -> None:
        (folder / "export.json").write_bytes(payload)
        render(read_run(copied))

    def description(payload: bytes) -> None:
        (folder / "arch.json").write_bytes(payload)
        _predictions([folder / "model.onnx"], table, target)

    whole = (folder / "arch.json").read_bytes()
    survives(manifest, (folder / "export.json").read_bytes(), examples=12)
    survives(description, whole)


def test_a_bundle_that_was_changed_is_made_anew(copied):
    """What an earlier ``export.json`` says is believed only of the files that are there."""
    winner = json.loads((copied / "winner.json").read_text())
    path = copied / "export" / winner["arch_id"] / "export.json"
    arch, valid = path.with_name("arch.json"), path.read_bytes()
    (copied / "a.json").write_text(json.dumps(winner["arch"]))
    weights = copied / "checkpoints" / f"{winner['network_id']}.safetensors"

    def export() -> None:
        export_arch(
            copied / "a.json", ("onnx",), space=None, weights=weights, out=copied / "export"
        )

    export()

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        arch.write_bytes(payload)
        export()
        assert json.loads(arch.read_text())["arch"] == winner["arch"]
        assert (path.parent / json.loads(path.read_text())["formats"]["onnx"]["file"]).is_file()

    survives(read, valid, examples=15)


def test_links_out_of_a_run_folder_are_not_followed(copied, tmp_path, make_config):
    (tmp_path / "precious.txt").write_text("one line, no newline")
    (copied / "journal.jsonl").unlink()
    (copied / "journal.jsonl").symlink_to(tmp_path / "precious.txt")
    (copied / "figures" / "x").symlink_to("/etc")
    (copied / "inside").symlink_to("figures")
    for use in (
        lambda: RunFolder.existing(copied),
        lambda: whole_run(make_config(), copied, resume=True),
    ):
        with pytest.raises(InputError, match="is a link that leads out of it") as caught:
            use()
        assert len(caught.value.problems) == 2
    assert (tmp_path / "precious.txt").read_text() == "one line, no newline"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        "9" * 5000,
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        "\x00",
        "NaN,",
    ],
)
def test_json_that_harms_is_an_input_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError):
        read_json(tmp_path / "a.json")


def test_a_folder_or_a_name_no_file_can_have_is_an_input_error(tmp_path):
    for read in (read_json, read_yaml):
        for path in (tmp_path, tmp_path / "x\x00y", tmp_path / "none"):
            with pytest.raises(HwnasError):
                read(path)
