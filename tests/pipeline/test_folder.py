"""Run folders: who may begin where, which file is missing, and names that stay inside."""

from __future__ import annotations

import pytest

from hwnas.artifacts.search import FrontFile
from hwnas.artifacts.training import RetrainedFile
from hwnas.errors import InputError, UsageError
from hwnas.pipeline.folder import RunFolder, checked_id, environment


@pytest.mark.parametrize(
    "value",
    [
        "../../../etc/x",
        "",
        "0123456789abcde",
        "0123456789abcdef0",
        "0123456789ABCDEF",
        "0123456789abcdeg",
        "0123456789abcdef\n",
        7,
        None,
        ["0123456789abcdef"],
    ],
)
def test_only_sixteen_hex_digits_are_an_id(tmp_path, value):
    folder = RunFolder(tmp_path)
    for use in (checked_id, folder.weights, folder.training_state):
        with pytest.raises(InputError, match="not an id of 16 hex digits"):
            use(value)


def test_an_id_names_files_inside_the_folder(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.weights("0123456789abcdef").parent == tmp_path / "checkpoints"
    assert folder.training_state("0123456789abcdef").parent == tmp_path / "checkpoints"


def test_a_run_begins_in_a_new_or_empty_folder_and_holds_its_configuration(tmp_path, make_config):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "new" / "deep", tmp_path / "empty"):
        folder = RunFolder(path)
        folder.require_free(make_config(), resume=False)
        assert not folder.is_begun
        folder.begin(make_config())
        assert folder.is_begun
        assert RunFolder.existing(path).config() == make_config()
        assert {"config.yaml", "env.json"} <= {entry.name for entry in path.iterdir()}


def test_asking_whether_a_run_may_begin_writes_nothing(tmp_path, make_config):
    RunFolder(tmp_path / "new").require_free(make_config(), resume=True)
    assert not (tmp_path / "new").exists()


def test_a_begun_run_goes_on_only_when_asked_and_only_as_it_was_begun(tmp_path, make_config):
    folder = RunFolder(tmp_path)
    folder.begin(make_config())
    with pytest.raises(UsageError, match=r"already holds a run. Next: add --resume"):
        folder.require_free(make_config(), resume=False)
    with pytest.raises(InputError, match="seed: the run was begun with 0, now it is 9"):
        folder.require_free(make_config(seed=9), resume=True)
    folder.require_free(make_config(), resume=True)
    folder.begin(make_config())
    assert [record["event"] for record in folder.journal().records()] == ["resume"]


def test_a_run_begins_in_no_folder_of_something_else_and_in_no_file(tmp_path, make_config):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(UsageError, match="exists and is not a run"):
            RunFolder(path).require_free(make_config(), resume=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_a_run_killed_at_its_beginning_leaves_does_not_stop_the_next(tmp_path, make_config):
    (tmp_path / "env.json").write_text("{}")
    (tmp_path / ".env.json.x1").write_text("{")
    RunFolder(tmp_path).require_free(make_config(), resume=False)


def test_a_folder_that_is_no_run_says_what_makes_one(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match=r"not a run folder.*hwnas search"):
            RunFolder.existing(path)


def test_a_missing_file_is_told_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(
        UsageError, match=f"no retrained.json yet. Next: hwnas retrain --run {tmp_path}$"
    ):
        RunFolder(tmp_path).read(RetrainedFile)


@pytest.mark.parametrize("text", ["[1]", "{}", '{"schema": 2}', "{", "3"])
def test_a_file_that_hwnas_did_not_write_is_an_input_error(tmp_path, text):
    (tmp_path / "retrained.json").write_text(text)
    with pytest.raises(InputError, match=r"retrained.json"):
        RunFolder(tmp_path).read(RetrainedFile)


def test_a_stage_runs_once_and_is_in_the_journal_with_its_cost(tmp_path):
    folder = RunFolder(tmp_path)
    calls = []

    def work():
        calls.append(1)
        return FrontFile(points=()), {"device_s": 2.0}

    assert folder.stage("thing", FrontFile.path(tmp_path), work)
    assert not folder.stage("thing", FrontFile.path(tmp_path), work)
    assert len(calls) == 1
    assert folder.read(FrontFile).points == ()
    (record,) = folder.journal().records()
    assert (record["event"], record["stage"]) == ("stage", "thing")
    assert record["cost"]["device_s"] == 2.0


def test_a_stage_that_fails_leaves_no_file_and_runs_again(tmp_path):
    folder = RunFolder(tmp_path)

    def fails():
        raise UsageError("no")

    with pytest.raises(UsageError, match="no"):
        folder.stage("thing", FrontFile.path(tmp_path), fails)
    assert not FrontFile.path(tmp_path).exists()
    assert folder.stage("thing", FrontFile.path(tmp_path), lambda: (FrontFile(points=()), {}))


def test_the_environment_names_what_results_depend_on():
    found = environment()
    assert {"hwnas", "python", "platform", "cores", "packages", "started"} <= set(found.to_json())
    assert found.packages["torch"][0].isdigit()
