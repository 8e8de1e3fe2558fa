"""A published model's weights file and its architecture give that model as ONNX."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch

from hwnas.errors import InputError
from hwnas.pipeline.run import export_arch
from hwnas.space.catalogue import load_space
from hwnas.space.known_archs import known_archs


def write_arch(path, space_name, name):
    path.write_text(json.dumps(known_archs(load_space(space_name))[name].to_json()))
    return path


def export(folder, arch, weights, name):
    return export_arch(arch, ["onnx"], space=None, weights=weights, out=folder / "out",
                       weights_of=name)


def test_a_published_file_is_exported_as_the_published_model(tmp_path, published, randomise):
    oracle = published("mobilenetv4_conv_small", 1.0)
    randomise(oracle, 11)
    torch.save({"state_dict": oracle.state_dict()}, tmp_path / "v4.pth")
    arch = write_arch(tmp_path / "arch.json", "mobile:input_size=96", "mobilenetv4_conv_small")
    (model,) = export(tmp_path, arch, tmp_path / "v4.pth", "mobilenetv4_conv_small")["models"]
    session = onnxruntime.InferenceSession(model["path"], providers=["CPUExecutionProvider"])
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
