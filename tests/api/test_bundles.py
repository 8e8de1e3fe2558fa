from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hwnas
from hwnas.cli import app

ARGUMENTS = ["export", "--arch", "arch.json", "--format", "onnx", "--out", "cli"]


@pytest.fixture(scope="module")
def network(space):
    return hwnas.build(space, space.sample(1, seed=1)[0])


def test_an_export_is_that_of_the_command_line(network, shop):
    (shop / "arch.json").write_text(json.dumps(network.arch.to_json()))
    done = CliRunner().invoke(app, ARGUMENTS)
    assert done.exit_code == 0, done.output
    bundle = hwnas.export(network, "api", formats=["onnx"])
    for name in ("model.onnx", "arch.json", "export.json"):
        mine, theirs = bundle.path / name, shop / "cli" / bundle.arch.arch_id / name
        assert mine.read_bytes() == theirs.read_bytes()
    assert bundle.parity["onnx"].top1_agreement == 1.0
    assert "model.onnx" in bundle._repr_html_()


def test_int8_needs_images(network, shop):
    with pytest.raises(hwnas.InputError, match="calibration is missing"):
        hwnas.export(network, "out", formats=["onnx"], precision="int8")
    with pytest.raises(hwnas.InputError, match="must be float32"):
        hwnas.export(
            network, "out", formats=["onnx"], precision="int8", calibration=np.zeros((2, 3, 32, 32))
        )
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    bundle = hwnas.export(
        network, "out", formats=["onnx"], precision=["fp32", "int8"], calibration=images
    )
    assert set(bundle.files) == {"onnx", "onnx-int8"}
    assert hwnas.export(network, "out", formats=["onnx"], precision="int8", calibration="noise")


def test_other_modules_are_not_exported(shop):
    with pytest.raises(hwnas.UsageError, match=r"only networks of hwnas\.build are exported"):
        hwnas.export(torch.nn.Linear(2, 2), "out")
    with pytest.raises(hwnas.InputError, match=r"holds no export\.json"):
        hwnas.load_bundle("out")


def test_bench_measures_every_file_of_a_bundle(network, shop):
    bundle = hwnas.export(network, "out", formats=["onnx"])
    found = hwnas.bench(bundle, "desk.yaml", rounds=2)
    assert (found.device, found.rows[0].file, found.rows[0].runtime) == (
        "desk",
        "model.onnx",
        "onnxruntime",
    )
    assert min(found.rows[0].p5_ms, found.rows[0].latency_ms) > 0
    assert "model.onnx (onnxruntime, fp32): " in repr(found)
    assert "<td" in found._repr_html_()
    with pytest.raises(hwnas.UsageError, match="nothing to measure"):
        hwnas.bench(bundle, "desk.yaml", runtime="litert")
