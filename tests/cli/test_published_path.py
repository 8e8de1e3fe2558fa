"""From tables and a predictor that others published to an exported model, by the command line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hwnas.data import load_dataset
from hwnas.device.local import LocalRunner
from hwnas.device.measurement import Measurement
from hwnas.latency.table.files import load_table, save_table
from hwnas.latency.table.schemas import TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.nn.supernet import calibrate
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops
from hwnas.train.checkpoint import read_tensors
from hwnas.train.engine import evaluate
from hwnas.train.ofa_weights import expected_shapes, load_ofa_supernet

SPACE = "ofa-mbv3:num_classes=5,width_mult=0.1"


def write_table(path, *, device):
    """Write a made-up table of one resolution, its rows means that somebody published."""
    ops = [op for op in distinct_ops(load_space(SPACE)) if op.in_shape[1] <= 128]
    header = TableHeader.model_validate(
        {
            "device": device,
            "runtime": "litert",
            "runtime_version": "unknown",
            "precision": "fp32",
            "threads": 1,
            "affinity": None,
            "layout": "nhwc",
            "protocol": None,
            "host": {},
            "date": "2020-01-01",
            "scope": {"resolution": 128},
            "provenance": {"file": "128_lookup_table.yaml"},
        }
    )
    save_table(
        LatencyTable(header, {op: Measurement.published(0.1 + 1e-7 * op.macs, 100) for op in ops}),
        path,
    )


def write_predictor(path):
    generator = torch.Generator().manual_seed(1)
    sizes = {"0": (400, 128), "2": (400, 400), "4": (400, 400), "6": (1, 400)}
    state = {
        f"{name}.weight": 0.05 * torch.randn(shape, generator=generator)
        for name, shape in sizes.items()
    }
    torch.save(
        state | {f"{name}.bias": torch.full((shape[0],), 0.1) for name, shape in sizes.items()},
        path,
    )


def write_supernet(path, classes=5):
    generator = torch.Generator().manual_seed(0)
    space = load_space(f"ofa-mbv3:num_classes={classes},width_mult=0.1")
    torch.save(
        {
            "state_dict": {
                name: torch.zeros(()).long()
                if name.endswith("num_batches_tracked")
                else 0.2 * torch.rand(shape, generator=generator) + 0.1
                for name, shape in expected_shapes(space).items()
            }
        },
        path,
    )


def write_images(folder, classes):
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True)
        for index in range(20):
            noise = stream(number, "image", index).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"class{number}" / f"{index}.png")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What others published, and images of three and of five classes; for copying only."""
    folder = tmp_path_factory.mktemp("published")
    write_table(folder / "phone.json", device="galaxy-note10")
    write_predictor(folder / "predictor.pth")
    write_supernet(folder / "supernet.pth")
    write_images(folder / "images", 3)
    write_images(folder / "five", 5)
    return folder


@pytest.fixture
def published(files, tmp_path, monkeypatch):
    """A copy of the files, which commands run in."""
    folder = Path(shutil.copytree(files, tmp_path / "here"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def searched(files, hwnas):
    """The run folder of a search by the phone's table; for copying only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(files)
        answer = search(hwnas, "phone.json")
    assert answer.code == 0, answer.err
    return Path((files / "r").rename(files.with_name(f"{files.name}-run")))


def search(hwnas, table, *more, strategy="evolution"):
    return hwnas(
        "search",
        "--space",
        SPACE,
        "--lut",
        table,
        "--budget-ms",
        "3.5",
        "--strategy",
        strategy,
        "--evaluator",
        "predictor:predictor.pth",
        "--evaluations",
        "20",
        "--top",
        "1",
        "--out",
        "r",
        "--workers",
        "1",
        *more,
    )


def test_a_phone_that_is_not_at_hand_says_how_to_go_on_without_it(published, hwnas):
    answer = search(hwnas, "phone.json", "--data", "images")
    assert answer.code == 2
    assert "no row for the head of 3 classes, and it cannot be measured now" in answer.err
    assert "search without --data" in answer.err.replace("\n", " ")
    assert not (published / "r").exists()


def test_from_a_phones_table_to_a_fine_tuned_model_of_ones_own_classes(published, searched, hwnas):
    """The head is another's: it is replaced, and the prediction is said to be of the old one."""
    shutil.copytree(searched, "r")
    trained = hwnas(
        "retrain",
        "--run",
        "r",
        "--init",
        "supernet.pth",
        "--data",
        "images",
        "--epochs",
        "1",
        "--lr",
        "0.005",
        "--json",
    )
    assert trained.code == 0, trained.err
    said = trained.err.replace("\n", " ")
    assert "supernet.pth has 5 classes, the data 3" in said
    assert f"latencies were predicted for {SPACE}" in said
    row = trained.json["finalists"][0]
    finalist = json.loads((published / "r" / "finalists.json").read_text())
    searched = finalist["answers"][0]["finalists"][0]
    assert row["searched"] == {key: searched[key] for key in ("arch_id", "network_id")}
    assert row["arch"]["choices"] == searched["arch"]["choices"]
    assert row["arch"]["space"] == "ofa-mbv3:num_classes=3,width_mult=0.1"
    assert row["val"]["source"] == "published"
    digest = hashlib.sha256((published / "supernet.pth").read_bytes()).hexdigest()
    assert trained.json["init"] == {
        "file": "supernet.pth",
        "sha256": digest,
        "arch": None,
        "fine_tuned": True,
    }
    exported = hwnas("export", "--run", "r", "--format", "onnx", "--json")
    (model,) = exported.json["models"]
    assert row["arch_id"] in model["path"]
    assert model["parity"]["max_rel"] < 1e-4
    benched = hwnas("bench", model["path"], "--device", "host", "--rounds", "2", "--json")
    assert benched.json["rows"][0]["measurement"]["latency_ms"] > 0
    assert hwnas("report", "r").code == 0
    page = (published / "r" / "report.html").read_text()
    assert "fine-tuned from supernet.pth on images" in page
    # a second time there is nothing to do, and the verbs after know the data
    assert hwnas("export", "--run", "r", "--format", "onnx").code == 0


def test_weights_as_they_are_get_statistics_of_the_images_only(published, searched, hwnas):
    shutil.copytree(searched, "r")
    refused = hwnas("retrain", "--run", "r", "--epochs", "0", "--data", "five")
    assert refused.code == 2
    assert "--init" in refused.err
    refused = hwnas(
        "retrain", "--run", "r", "--epochs", "0", "--data", "images", "--init", "supernet.pth"
    )
    assert refused.code == 2
    assert "without training the classifier would be random" in refused.err.replace("\n", " ")
    trained = hwnas(
        "retrain",
        "--run",
        "r",
        "--epochs",
        "0",
        "--data",
        "five",
        "--init",
        "supernet.pth",
        "--json",
    )
    assert trained.code == 0, trained.err
    row = trained.json["finalists"][0]
    assert row["cost"]["images_trained"] == 0
    assert not trained.json["init"]["fine_tuned"]
    space = load_space(SPACE)
    share = (
        load_ofa_supernet(published / "supernet.pth", space)
        .extract(space.arch(row["arch"]["choices"]))
        .state_dict()
    )
    found = read_tensors(published / "r" / row["checkpoint"])
    for name, value in share.items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            continue
        assert torch.equal(found[name], value)
    assert not torch.equal(found["0.1.running_mean"], share["0.1.running_mean"])
    assert hwnas("export", "--run", "r", "--format", "onnx").code == 0
    assert hwnas("report", "r").code == 0
    page = (published / "r" / "report.html").read_text()
    assert "untrained, with the weights of supernet.pth" in page


def test_where_the_device_is_at_hand_a_missing_head_is_measured(published, hwnas, monkeypatch):
    """A table of this machine, profiled with other classes; its protocol is kept to."""
    flushed, time_ms = [], LocalRunner.time_ms

    def recorded(self, model_id, **options):
        flushed.append(options["flush_mb"])
        return time_ms(self, model_id, **options)

    monkeypatch.setattr(LocalRunner, "time_ms", recorded)
    device = yaml.safe_dump(
        {
            "schema": 1,
            "name": "desk",
            "description": "A desk",
            "transport": "local",
            "tested": False,
            "abi": "any",
            "runtimes": {"onnxruntime": {}},
            "protocol": {"rounds": 2, "min_visit_ms": 0.5, "flush_mb": 0.5},
        }
    )
    (published / "desk.yaml").write_text(device)
    tiny = ("--device", "desk.yaml", "--runtime", "onnxruntime")
    made = hwnas("profile", *tiny, "--space", "tiny:num_classes=4", "--out", "desk.json")
    assert made.code == 0, made.err
    flushed.clear()
    answer = hwnas(
        "search",
        "--space",
        "tiny:num_classes=4",
        "--strategy",
        "random",
        "--lut",
        "desk.json",
        "--device",
        "desk.yaml",
        "--budget-ms",
        "5",
        "--data",
        "digits",
        "--evaluations",
        "1",
        "--epochs",
        "1",
        "--out",
        "t",
        "--workers",
        "1",
        "--headroom",
        "0",
    )
    assert answer.code == 0, answer.err
    assert "no row for the head of 10 classes" in answer.err.replace("\n", " ")
    table = load_table(published / "t" / "table.json")
    (head,) = [op for op in distinct_ops(load_space("tiny")) if op.kind == "head"]
    assert table.entries[head].num_rounds == 2
    assert flushed == [0.5, 0.5]


def supernet_search(hwnas, *more):
    return hwnas(
        "search",
        "--space",
        "ofa-mbv3:width_mult=0.1",
        "--strategy",
        "random",
        "--lut",
        "phone.json",
        "--budget-ms",
        "3.5",
        "--data",
        "five",
        "--evaluator",
        "supernet",
        "--evaluations",
        "2",
        "--top",
        "1",
        "--workers",
        "1",
        "--out",
        "s",
        *more,
    )


def test_a_published_supernet_scores_a_search_without_training(published, hwnas):
    """The scores are those of the sub-networks that the checkpoint's reader extracts."""
    refused = supernet_search(hwnas, "--init-arch", "mobilenet_v2")
    assert refused.code == 2
    assert "give both" in refused.err
    answer = supernet_search(
        hwnas, "--init", "supernet.pth", "--epochs", "0", "--strategy", "evolution", "--json"
    )
    assert answer.code == 0, answer.err
    assert "100.0% of its values" in answer.err.replace("\n", " ")
    best = answer.json["answers"][0]["best"]
    assert best["objectives"]["top1"]["source"] == "supernet"
    assert answer.json["cost"]["images_trained"] == 0
    space = load_space(SPACE)
    network = load_ofa_supernet(published / "supernet.pth", space).extract(
        space.arch(best["arch"]["choices"])
    )
    data = load_dataset("five", input_size=128)
    calibrate(network, data, num_images=2000)
    score = evaluate(network, data, "val")
    assert best["objectives"]["loss"]["value"] == pytest.approx(score.loss, rel=1e-4)
    listing = json.loads((published / "s" / "supernet-start.json").read_text())
    assert listing["file"] == "supernet.pth"
    assert (listing["share"], listing["drawn"]) == (1.0, [])
    (published / "archs.jsonl").write_text(json.dumps(best["arch"]) + "\n")
    scored = json.loads(hwnas("evaluate", "--run", "s", "--archs", "archs.jsonl", "--json").out)
    assert scored["loss"] == pytest.approx(best["objectives"]["loss"]["value"], rel=1e-6)


def test_a_published_supernet_is_trained_on(published, hwnas):
    answer = supernet_search(hwnas, "--init", "supernet.pth", "--epochs", "1", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["cost"]["images_trained"] > 0
    start = read_tensors(published / "s" / "checkpoints" / "supernet-start.safetensors")
    after = read_tensors(published / "s" / "checkpoints" / "supernet-1.safetensors")
    assert start.keys() == after.keys()
    assert any(not torch.equal(start[name], after[name]) for name in start)
    assert hwnas("report", "s").code == 0
    page = (published / "s" / "report.html").read_text()
    assert "The supernet began with supernet.pth, and was trained from there" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--evaluator", "supernet"), "begin supernets of elastic spaces"),
        (("--evaluator", "scratch"), "needs --evaluator supernet, not scratch"),
        (("--strategy", "proxyless"), "not with proxyless"),
    ],
)
def test_a_start_that_does_not_suit_is_refused(published, hwnas, make_table, arguments, message):
    make_table(published / "t.json")
    answer = hwnas(
        "search",
        "--space",
        "tiny",
        "--strategy",
        "random",
        "--lut",
        "t.json",
        "--budget-ms",
        "1",
        "--data",
        "digits",
        "--out",
        "new",
        "--init",
        "supernet.pth",
        *arguments,
    )
    assert answer.code == 2
    assert message in answer.err.replace("\n", " ")
