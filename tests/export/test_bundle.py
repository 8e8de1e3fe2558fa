"""Bundles hold what an application needs, agree with torch, and are made once."""

from __future__ import annotations

import hashlib
import json

import onnx
import pytest
import torch

from hwnas.artifacts.exported import PreprocessingPart
from hwnas.errors import InputError
from hwnas.export.bundle import write_bundle
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.quantize.calibration import ImageData
from hwnas.export.verify.parity import PARITY_LIMIT_FP32, ParityError, int8_parity, parity
from hwnas.export.verify.session import open_session
from hwnas.ops import OpSpec
from hwnas.space.catalogue import load_space

NAMES = [f"class{n}" for n in range(10)]
PREPROCESSING = {
    "input_size": [32, 32],
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.2, 0.25],
    "class_names": NAMES,
}


@pytest.fixture
def arch():
    space = load_space("tiny")
    return space.arch({f"layer{n}": "identity" for n in range(1, 6)})


@pytest.fixture
def arguments(tmp_path, trained, arch, save_weights):
    layers = load_space("tiny").layers(arch)
    network = trained(layers)
    return {
        "network": network,
        "layers": layers,
        "arch": arch,
        "weights": save_weights(network, tmp_path / "w.safetensors"),
        "images": torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3)),
        "preprocessing": PreprocessingPart.from_json(PREPROCESSING),
        "cache": ConversionCache(tmp_path / "cache"),
    }


def test_a_bundle_holds_both_models_and_what_they_expect(tmp_path, arguments, arch):
    export = write_bundle(tmp_path / "export", **arguments)
    folder = tmp_path / "export" / arch.arch_id
    assert sorted(path.name for path in folder.iterdir()) == [
        "arch.json",
        "export.json",
        "model.onnx",
        "model.tflite",
    ]
    assert json.loads((folder / "export.json").read_text()) == export.to_json()
    expected = {"onnx": ("nchw", [1, 3, 32, 32]), "tflite": ("nhwc", [1, 32, 32, 3])}
    for name, (layout, shape) in expected.items():
        entry, path = export.to_json()["formats"][name], folder / f"model.{name}"
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry["bytes"] == path.stat().st_size
        assert entry["layout"] == layout
        assert [(io["shape"], io["dtype"]) for io in entry["inputs"]] == [(shape, "float32")]
        again = parity(arguments["network"], path, arguments["images"], layout=layout)
        assert entry["parity"] == again.to_json()
        assert 0.0 < again.max_rel <= PARITY_LIMIT_FP32
        assert "torch" in entry["converter"]
    description = json.loads((folder / "arch.json").read_text())
    assert description["arch"] == arch.to_json()
    assert tuple(OpSpec.from_json(layer) for layer in description["layers"]) == arguments["layers"]
    assert description["preprocessing"] == {
        **PREPROCESSING,
        "color_order": "RGB",
        "crop": "center-square",
        "resize": "bilinear-antialias",
        "layout": {"onnx": "nchw", "tflite": "nhwc"},
    }
    metadata = {p.key: p.value for p in onnx.load(folder / "model.onnx").metadata_props}
    assert json.loads(metadata["hwnas.preprocessing"]) == description["preprocessing"]
    assert json.loads(metadata["hwnas.arch"]) == arch.to_json()


def test_int8_models_stand_beside_with_what_their_integers_mean(tmp_path, arguments, arch):
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    export = write_bundle(
        tmp_path, precisions=("fp32", "int8"), calibration=ImageData.of(images.numpy()), **arguments
    )
    folder = tmp_path / arch.arch_id
    assert list(export.to_json()["formats"]) == ["onnx", "tflite", "onnx-int8", "tflite-int8"]
    assert arguments["cache"].made == {"fp32": 2, "int8": 2}
    for name, dtype in (("onnx", "uint8"), ("tflite", "int8")):
        entry = export.to_json()["formats"][f"{name}-int8"]
        assert entry["file"] == f"model.int8.{name}"
        assert entry["calibration"].startswith("16 images, sha256:")
        assert {end["dtype"] for end in (*entry["inputs"], *entry["outputs"])} == {dtype}
        path = folder / entry["file"]
        again = int8_parity(arguments["network"], path, arguments["images"], layout=entry["layout"])
        assert entry["parity"] == again.to_json()
        assert again.sqnr_db > 20
        assert again.float_operations == {}
        assert entry["bytes"] < 0.5 * export.to_json()["formats"][name]["bytes"]
        (image,) = open_session(path).inputs
        seen = (images.min().item(), images.max().item())
        assert image.scale == pytest.approx((seen[1] - seen[0]) / 255, rel=1e-3)
    metadata = {p.key for p in onnx.load(folder / "model.int8.onnx").metadata_props}
    assert metadata == {"hwnas.arch", "hwnas.preprocessing", "hwnas.quantization"}
    with pytest.raises(InputError, match="int8 needs images"):
        write_bundle(tmp_path, precisions=("int8",), **arguments)


def test_a_second_call_reuses_everything_and_repairs_what_is_damaged(tmp_path, arguments, arch):
    first = write_bundle(tmp_path, formats=("onnx",), **arguments)
    folder = tmp_path / arch.arch_id
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert write_bundle(tmp_path, formats=("onnx",), **arguments) == first
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:100])
    assert write_bundle(tmp_path, formats=("onnx",), **arguments) == first
    assert (folder / "model.onnx").read_bytes() == whole
    description = (folder / "arch.json").read_text()
    (folder / "arch.json").write_text("{}")
    assert write_bundle(tmp_path, formats=("onnx",), **arguments) == first
    assert (folder / "arch.json").read_text() == description


def test_other_preprocessing_makes_another_bundle(tmp_path, arguments, arch):
    first = write_bundle(tmp_path, formats=("onnx",), **arguments)
    grey = PreprocessingPart.from_json({**PREPROCESSING, "mean": [0.0, 0.0, 0.0]})
    changed = {**arguments, "preprocessing": grey}
    second = write_bundle(tmp_path, formats=("onnx",), **changed)
    assert first.content_id != second.content_id
    metadata = {
        p.key: p.value for p in onnx.load(tmp_path / arch.arch_id / "model.onnx").metadata_props
    }
    assert json.loads(metadata["hwnas.preprocessing"])["mean"] == [0.0, 0.0, 0.0]


def test_weights_of_another_network_are_found_by_parity(
    tmp_path, arguments, arch, trained, save_weights
):
    write_bundle(tmp_path, formats=("onnx",), **arguments)
    with torch.no_grad():
        arguments["network"][0][0].weight.mul_(2.0)
    save_weights(arguments["network"], arguments["weights"])
    with torch.no_grad():
        arguments["network"][0][0].weight.mul_(1.5)
    with pytest.raises(ParityError, match=r"model\.onnx differs from its network"):
        write_bundle(tmp_path, formats=("onnx",), **arguments)
    assert not (tmp_path / arch.arch_id / "export.json").exists()


def test_all_problems_of_the_preprocessing_are_named(tmp_path, arguments):
    wrong = {"input_size": [32, 31], "mean": [0.5], "std": [0.2, 0.0, 0.2], "class_names": ["a"]}
    with pytest.raises(InputError) as error:
        write_bundle(
            tmp_path / "out", **{**arguments, "preprocessing": PreprocessingPart.from_json(wrong)}
        )
    assert [problem.split()[0] for problem in error.value.problems] == [
        "input_size",
        "mean",
        "std",
        "class_names",
    ]
    assert not (tmp_path / "out").exists()
