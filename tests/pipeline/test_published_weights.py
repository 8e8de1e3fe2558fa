"""A published model's weights file and its architecture give that model as ONNX."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch

from hwnas.errors import InputError, UsageError
from hwnas.nn.pretrained import key_names
from hwnas.pipeline.commands.runs import retrain_run, search_run, whole_run
from hwnas.pipeline.commands.single import export_arch
from hwnas.space.catalogue import load_space
from hwnas.space.zoo.archs import known_archs
from hwnas.train.checkpoint import read_tensors


def write_arch(path, space_name, name):
    path.write_text(json.dumps(known_archs(load_space(space_name))[name].to_json()))
    return path


def export(folder, arch, weights, name):
    return export_arch(
        arch, ["onnx"], space=None, weights=weights, out=folder / "out", weights_of=name
    )


def test_a_published_file_is_exported_as_the_published_model(tmp_path, published, randomise):
    oracle = published("mobilenetv4_conv_small", 1.0)
    randomise(oracle, 11)
    torch.save({"state_dict": oracle.state_dict()}, tmp_path / "v4.pth")
    arch = write_arch(tmp_path / "arch.json", "mobile:input_size=96", "mobilenetv4_conv_small")
    (model,) = export(tmp_path, arch, tmp_path / "v4.pth", "mobilenetv4_conv_small").models
    session = onnxruntime.InferenceSession(model.path, providers=["CPUExecutionProvider"])
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(3))
    given = session.get_inputs()[0]
    (found,) = session.run(None, {given.name: image.numpy()})
    with torch.no_grad():
        expected = oracle(image).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_weights_of_another_model_are_refused(tmp_path, published):
    torch.save(published("mobilenet_v2", 1.0).state_dict(), tmp_path / "v2.pth")
    arch = write_arch(tmp_path / "arch.json", "mobile:input_size=96", "mobilenet_v3_small")
    with pytest.raises(InputError, match=r"features\.0\.0\.weight: unexpected"):
        export(tmp_path, arch, tmp_path / "v2.pth", "mobilenetv4_conv_small")
    with pytest.raises(InputError, match="not in the network"):
        export(tmp_path, arch, tmp_path / "v2.pth", "mobilenet_v2")


@pytest.fixture
def fbnet_config(tmp_path, images, make_table, make_config):
    """A search whose one evaluated network is FBNet-C, for images of 32 pixels and 3 classes."""
    space = "fbnet:input_size=32"
    table = make_table(tmp_path / "t.json", space=f"{space},num_classes=3")
    once = {"epochs": 1, "warmup_epochs": 0}

    def make(**retrain):
        return make_config(
            space=space,
            data=str(images),
            retrain={"top": 1, "random_baseline": False, "recipe": once, **retrain},
            targets=[
                {
                    "device": "host",
                    "runtime": "onnxruntime",
                    "table": str(table),
                    "budget_ms": 100.0,
                }
            ],
            search={
                "strategy": "evolution",
                "evaluations": 1,
                "seed_archs": "known",
                "recipe": once,
            },
        )

    return make


@pytest.fixture
def fbnet_run(tmp_path, fbnet_config):
    search_run(fbnet_config(), tmp_path / "run")
    return tmp_path / "run"


def test_a_configuration_says_what_the_options_of_retrain_do(
    fbnet_config, published, randomise, images, tmp_path, content, said
):
    """Published weights and other images, here with one class less; the head is replaced."""
    randomise(published("fbnetc_100", 1.0), 5)
    torch.save(published("fbnetc_100", 1.0).state_dict(), tmp_path / "fbnet.pth")
    shutil.copytree(images, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "cat")
    start = {
        "init": str(tmp_path / "fbnet.pth"),
        "init_arch": "fbnetc_100",
        "data": str(tmp_path / "two"),
    }
    path = tmp_path / "run"
    whole_run(fbnet_config(**start), path)
    found = content(path, "retrained.json")
    (row,) = found["finalists"]
    assert row["val"]["source"] == "published"
    assert row["arch"]["space"] == "fbnet:input_size=32,num_classes=2"
    assert found["init"]["arch"] == "fbnetc_100"
    assert found["data"]["name"] == start["data"]
    assert any(
        "what is trained, exported and measured is fbnet:input_size=32,num_classes=2" in text
        for text in said
    )
    assert content(path, "winner.json")["arch"]["space"] == row["arch"]["space"]
    # the verb by itself does the same with the run's settings, and with its options instead
    for name in ("retrained.json", "winner.json"):
        (path / name).unlink()
    shutil.rmtree(path / "checkpoints")
    again = retrain_run(path, data=str(images)).to_json()
    assert again["init"]["arch"] == "fbnetc_100"
    assert again["finalists"][0]["arch"]["space"] == "fbnet:input_size=32,num_classes=3"


def test_what_a_configuration_says_of_retraining_is_checked_before_any_work(fbnet_config, tmp_path):
    for retrain, message in (
        ({"init": str(tmp_path / "none.pth")}, "there is no such file"),
        ({"data": str(tmp_path / "absent")}, "absent"),
    ):
        with pytest.raises(InputError, match=message):
            search_run(fbnet_config(**retrain), tmp_path / "run")
        assert not (tmp_path / "run").exists()
    for retrain, message in (
        ({"init_arch": "fbnetc_100"}, r"retrain\.init_arch and retrain\.train false need"),
        ({"train": False}, r"need retrain\.init, a file of published weights"),
        ({"data_root": "there"}, r"give retrain\.data, too"),
    ):
        with pytest.raises(ValueError, match=message):
            fbnet_config(**retrain)


def test_a_finalist_that_is_a_known_model_begins_with_its_published_weights(
    fbnet_run, published, randomise, tmp_path, content, said
):
    oracle = published("fbnetc_100", 1.0)
    randomise(oracle, 5)
    torch.save(oracle.state_dict(), tmp_path / "fbnet.pth")
    with pytest.raises(UsageError, match="would be random"):
        retrain_run(fbnet_run, init=tmp_path / "fbnet.pth", init_arch="fbnetc_100", epochs=0)
    found = retrain_run(
        fbnet_run, init=tmp_path / "fbnet.pth", init_arch="fbnetc_100", lr=1e-3
    ).to_json()
    (row,) = found["finalists"]
    assert found["init"]["arch"] == "fbnetc_100"
    assert row["val"]["source"] == "published"
    assert any(text.startswith(f"{row['arch_id']} is fbnetc_100: ") for text in said)
    begun = read_tensors(fbnet_run / "checkpoints" / f"{row['network_id']}.initial.safetensors")
    theirs = oracle.state_dict()
    names = {
        ours: name for ours, name in key_names("fbnetc_100").items() if "classifier" not in ours
    }
    assert len(names) > 200
    assert all(torch.equal(begun[ours], theirs[name]) for ours, name in names.items())


def test_a_model_that_no_finalist_is_is_refused(fbnet_run, published, tmp_path):
    torch.save(published("mobilenet_v2", 1.0).state_dict(), tmp_path / "v2.pth")
    with pytest.raises(UsageError, match="are not mobilenet_v2"):
        retrain_run(fbnet_run, init=tmp_path / "v2.pth", init_arch="mobilenet_v2")
    assert not (fbnet_run / "retrained.json").exists()
