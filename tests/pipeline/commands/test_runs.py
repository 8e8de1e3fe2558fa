"""What each verb does with a run: begin, reopen, carry out, and refuse before any work."""

from __future__ import annotations

import json
import shutil

import pytest

from hwnas.errors import InfeasibleError, InputError, MissingRowError, UsageError
from hwnas.pipeline import checks
from hwnas.pipeline.commands import runs as verbs
from hwnas.pipeline.commands import single
from hwnas.pipeline.config.run import PRESETS, load_config, preset

FILES = (
    "config.yaml",
    "env.json",
    "journal.jsonl",
    "result.json",
    "finalists.json",
    "front.json",
    "retrained.json",
    "winner.json",
    "report.html",
    "table.json",
    "export/index.json",
    "bench/host-onnxruntime-fp32.json",
)


def forbidden(*_args, **_kwargs):
    raise AssertionError("work was begun")


def test_a_whole_run_leaves_every_file_of_the_contract_and_no_half_written_one(finished):
    found = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    assert set(FILES) <= found
    assert not [name for name in found if name.rsplit("/", 1)[-1].startswith(".")]
    for name in found:
        if name.endswith(".json"):
            json.loads((finished / name).read_text())


def test_the_journal_holds_each_stage_once_with_its_cost(finished):
    records = [json.loads(line) for line in (finished / "journal.jsonl").read_text().splitlines()]
    stages = [record["stage"] for record in records if record["event"] == "stage"]
    assert stages == ["profile", "search", "retrain", "export", "bench", "winner"]
    costs = {record["stage"]: record["cost"] for record in records if record["event"] == "stage"}
    assert costs["retrain"]["images_trained"] == 2 * (1148 + 145)  # two finalists, train and arch
    assert costs["bench"]["device_s"] > 0


def test_the_configuration_of_a_run_is_in_its_folder(finished, make_config):
    assert load_config(finished / "config.yaml") == make_config()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"space": "tinny"}, InputError, "no space 'tinny'"),
        ({"data": "absent"}, InputError, "absent"),
        ({"limits": {"params": 3}}, InfeasibleError, "params <= 3"),
        ({"torch_device": "toaster"}, UsageError, "torch_device 'toaster'"),
        ({"space": "macro-cifar"}, MissingRowError, "no row for"),
    ],
)
def test_what_cannot_be_is_an_error_before_any_work_and_leaves_nothing(
    tmp_path, make_config, changes, error, message
):
    for verb in (verbs.search_run, verbs.whole_run):
        with pytest.raises(error, match=message):
            verb(make_config(**changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_device_that_cannot_be_measured_is_told_before_any_work(
    make_config, make_table, tmp_path
):
    path = make_table(tmp_path / "t.json", device="raspberry-pi-4", runtime="litert")
    there = {"device": "raspberry-pi-4", "runtime": "litert", "budget_ms": 0.08}
    for target in (there, {**there, "table": str(path)}):
        with pytest.raises(UsageError, match="reached by ssh, which this version cannot do"):
            verbs.whole_run(make_config(targets=[target]), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_search_needs_no_device_where_its_table_is_given(
    make_config, make_table, tmp_path, monkeypatch
):
    path = make_table(tmp_path / "t.json", device="raspberry-pi-4", runtime="litert")
    target = {
        "device": "raspberry-pi-4",
        "runtime": "litert",
        "table": str(path),
        "budget_ms": 0.08,
    }
    monkeypatch.setattr(checks, "open_runner", forbidden)
    config = make_config(
        targets=[target], search={"evaluations": 1, "recipe": {"epochs": 1, "warmup_epochs": 0}}
    )
    assert verbs.search_run(config, tmp_path / "run").answers[0].best


def test_a_run_that_is_there_is_left_alone(copied, make_config):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="already holds a run"):
        verbs.whole_run(make_config(), copied)
    with pytest.raises(InputError, match="seed: the run was begun with 0, now it is 5"):
        verbs.whole_run(make_config(seed=5), copied, resume=True)
    assert {path: path.read_bytes() for path in before} == before


def test_retrain_export_and_bench_say_when_there_is_nothing_to_do(copied, said):
    assert verbs.retrain_run(copied).finalists
    assert verbs.export_run(copied, formats=("onnx",)).models
    assert verbs.bench_run(copied).rows
    assert [text.split(" already")[0] for text in said] == [
        f"{copied} holds retrained.json",
        f"{copied} holds export/index.json",
        f"{copied} holds its bench file",
    ]


def test_an_unknown_format_is_refused(copied):
    for formats in (("onx",), ("onnx", ""), ()):
        with pytest.raises(UsageError, match="allowed are onnx, tflite or both"):
            verbs.export_run(copied, formats=formats)


@pytest.fixture
def winner_file(finished, content, tmp_path):
    """The winner's ONNX file with its description beside it, and what the table predicts."""
    winner = content(finished, "winner.json")
    folder = shutil.copytree((finished / winner["files"]["onnx"]).parent, tmp_path / "model")
    return folder / "model.onnx", winner["predicted_ms"]


def test_a_model_file_is_measured_beside_what_the_table_predicts(winner_file, table):
    model, predicted_ms = winner_file
    found = single.bench_models([model], "host", None, None, None, rounds=2, lut=table)
    (row,) = found.rows
    assert found.runtime == "onnxruntime"
    assert row.predicted_ms == pytest.approx(predicted_ms, abs=1e-6)
    assert row.measurement.latency_ms > 0
    assert len(row.round_medians_ms) == 2


def test_without_a_table_or_a_description_nothing_is_predicted(winner_file, table):
    model, _ = winner_file
    (row,) = single.bench_models([model], "host", None, None, None, rounds=2).rows
    assert row.predicted_ms is None
    (model.parent / "arch.json").unlink()
    (row,) = single.bench_models([model], "host", None, None, None, rounds=2, lut=table).rows
    assert row.predicted_ms is None


@pytest.mark.parametrize(
    "header", [{"runtime": "litert"}, {"device": "raspberry-pi-4"}, {"threads": 4}]
)
def test_a_table_of_another_target_is_refused_before_measuring(
    winner_file, make_table, tmp_path, monkeypatch, header
):
    monkeypatch.setattr(single, "open_runner", forbidden)
    path = make_table(tmp_path / "t.json", **header)
    with pytest.raises(UsageError, match=r"is to be measured. Next: give the table"):
        single.bench_models([winner_file[0]], "host", None, None, None, lut=path)


def test_models_that_cannot_be_measured_are_refused_before_measuring(
    winner_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(single, "open_runner", forbidden)
    model, _ = winner_file
    with pytest.raises(UsageError, match="one kind at a time"):
        single.bench_models([model, tmp_path / "b.tflite"], "host", None, None, None)
    with pytest.raises(InputError, match="there is no such file"):
        single.bench_models([tmp_path / "absent.onnx"], "host", None, None, None)
    with pytest.raises(InputError, match=r"litert executes \*\.tflite files"):
        single.bench_models([model], "host", "litert", None, None)


def test_an_architecture_file_is_exported_with_given_weights(finished, content, tmp_path):
    winner = content(finished, "winner.json")
    path = tmp_path / "a.json"
    path.write_text(json.dumps(winner["arch"]))
    weights = finished / "checkpoints" / f"{winner['network_id']}.safetensors"
    found = single.export_arch(path, ("onnx",), space=None, weights=weights, out=tmp_path / "out")
    (model,) = found.models
    assert model.path == str(tmp_path / "out" / winner["arch_id"] / "model.onnx")
    assert (tmp_path / "out" / winner["arch_id"] / "model.onnx").is_file()
    assert model.file.parity.max_rel < 1e-4


@pytest.mark.parametrize(
    ("changes", "space", "message"),
    [
        ({}, "macro-cifar", "is of space tiny, not of macro-cifar"),
        ({"space": "tinny"}, None, "no space 'tinny'"),
        (
            {"choices": {"layer1": "mb9", "layer2": "identity"}},
            None,
            "(?s)'layer1' is 'mb9'; allowed: identity.*'layer3' is missing",
        ),
    ],
)
def test_an_impossible_architecture_file_is_refused(
    finished, content, tmp_path, changes, space, message
):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**content(finished, "winner.json")["arch"], **changes}))
    with pytest.raises(InputError, match=message):
        single.export_arch(path, ("onnx",), space=space, weights=None, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_preset_is_a_configuration_for_this_machine():
    for name in PRESETS:
        for target in preset(name).targets:
            checks.check_target(target)
