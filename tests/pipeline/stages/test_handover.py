from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest

from hwnas.artifacts.exported import ModelFilePart
from hwnas.artifacts.winner import WinnerFile
from hwnas.errors import InputError
from hwnas.pipeline.commands.runs import bench_run
from hwnas.pipeline.stages.handover import _usage, hand_over


def test_a_run_ends_with_the_winners_files_and_what_to_do_with_them(finished):
    folder, winner = finished / "winner", WinnerFile.load(finished)
    exported = finished / "export" / winner.arch_id
    assert not folder.is_symlink()
    for model in exported.glob("model.*"):
        assert (folder / model.name).read_bytes() == model.read_bytes()
        assert not (folder / model.name).is_symlink()
    labels = (folder / "labels.txt").read_text().splitlines()
    assert labels == [str(digit) for digit in range(10)]
    preprocessing = json.loads((folder / "preprocessing.json").read_text())
    assert preprocessing["class_names"] == labels
    text = (folder / "README.txt").read_text()
    assert f"Network {winner.arch_id}: {winner.measured_ms:.4g} ms" in text
    assert "0 x" not in text.split("resize it to ")[1][:4]


def test_the_readme_s_program_runs(finished, monkeypatch):
    monkeypatch.chdir(finished / "winner")
    lines = (finished / "winner" / "README.txt").read_text().splitlines()
    begin = lines.index("  import onnxruntime")
    program = "\n".join(line.strip() for line in lines[begin : begin + 3])
    side = json.loads((finished / "winner" / "preprocessing.json").read_text())["input_size"]
    names: dict[str, object] = {"image": np.zeros((1, 3, *side), np.float32)}
    exec(program, names)
    assert np.shape(names["logits"]) == (1, 10)
    assert isinstance(names["session"], onnxruntime.InferenceSession)


def test_a_signature_is_called_by_its_own_names():
    tensor = {"shape": [1, 8, 8, 3], "dtype": "float32"}
    entry = ModelFilePart.from_json(
        {
            "file": "model.tflite",
            "sha256": "0",
            "bytes": 1,
            "precision": "fp32",
            "layout": "nhwc",
            "inputs": [{"name": "serving_default_image:0", **tensor}],
            "outputs": [{"name": "serving_default_logits_output", **tensor}],
            "parity": {"num_images": 1, "top1_agreement": 1.0},
        }
    )
    assert 'logits = run(image=image)["logits"]' in _usage(entry)[-1]


def test_another_winner_takes_the_place_of_the_older_one(copied, open_run, make_config):
    (copied / "winner" / "stale.txt").write_text("of an older winner")
    hand_over(open_run(make_config(), copied))
    assert not (copied / "winner" / "stale.txt").exists()
    assert (copied / "winner" / "labels.txt").is_file()
    assert [path.name for path in copied.glob(".winner.*")] == []


def test_a_missing_file_leaves_the_older_folder(copied, open_run, make_config):
    winner = WinnerFile.load(copied)
    (copied / "export" / winner.arch_id / "arch.json").unlink()
    with pytest.raises(InputError):
        hand_over(open_run(make_config(), copied))
    assert (copied / "winner" / "labels.txt").is_file()


def test_a_run_that_was_thinned_out_is_said_to_be_incomplete(copied, open_run, make_config, said):
    winner = WinnerFile.load(copied)
    (copied / "export" / winner.arch_id / "model.onnx").unlink()
    assert hand_over(open_run(make_config(), copied)) is None
    assert any("model.onnx is missing" in line for line in said)


def test_bench_hands_over_what_a_run_of_an_older_version_did_not(copied):
    for path in (copied / "winner").iterdir():
        path.unlink()
    (copied / "winner").rmdir()
    bench_run(copied)
    assert (copied / "winner" / "README.txt").is_file()
