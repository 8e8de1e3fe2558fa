"""Int8 files: integers inside and at both ends, made from the fp32 file, close to it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper

from hwnas.errors import InputError
from hwnas.export.cache import Conversion, ConversionCache, InitWeights
from hwnas.export.calibration import ImageData, NormalData
from hwnas.ops import OpSpec

CONV = OpSpec.make("conv", (3, 12, 10), 8, kernel=3, act="relu6")


def _int8(op, model_format, calibration=None):
    return Conversion.make([op], InitWeights(), model_format, precision="int8",
                           calibration=calibration)


def _weight_scales(path):
    """Return (float weights, integers, scales) of the one convolution of an ONNX file."""
    model = onnx.load(path)
    values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
    (integers,) = [v for v in values.values() if v.dtype == np.int8 and v.ndim == 4]
    (name,) = [name for name, v in values.items() if v is integers]
    (node,) = [n for n in model.graph.node
               if n.op_type == "DequantizeLinear" and n.input[0] == name]
    assert not values[node.input[2]].any()  # symmetric
    return integers, values[node.input[1]]


def test_weights_of_an_onnx_file_have_a_scale_per_output_channel(tmp_path):
    cache = ConversionCache(tmp_path)
    path = cache.fill([_int8(CONV, "onnx")])[_int8(CONV, "onnx")]
    integers, scales = _weight_scales(path)
    source = onnx.load(cache.path(_int8(CONV, "onnx").float_form))
    (weights,) = [numpy_helper.to_array(v) for v in source.graph.initializer if len(v.dims) == 4]
    most = np.abs(weights).max((1, 2, 3))
    assert scales.shape == (8,)
    assert scales == pytest.approx(most / 127, rel=1e-2)
    assert np.abs(integers * scales[:, None, None, None] - weights).max() <= most.max() / 127


def test_weights_of_a_tflite_file_have_a_scale_per_output_channel(tmp_path):
    cache = ConversionCache(tmp_path)
    conversion = _int8(CONV, "tflite")
    path = cache.fill([conversion])[conversion]
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    scales = [d["quantization_parameters"]["scales"] for d in interpreter.get_tensor_details()
              if d["dtype"] == np.int8 and tuple(d["shape"]) == (8, 3, 3, 3)]
    assert [len(s) for s in scales] == [8]
    assert all(detail["dtype"] == np.int8 for detail in (*interpreter.get_input_details(),
                                                         *interpreter.get_output_details()))


def test_an_int8_file_is_made_from_the_fp32_file_in_the_cache(tmp_path):
    cache = ConversionCache(tmp_path)
    wanted = [_int8(CONV, "onnx"), _int8(CONV, "onnx").float_form]
    cache.fill(wanted)
    assert cache.made == {"fp32": 1, "int8": 1}
    again = ConversionCache(tmp_path)
    again.fill(wanted)
    assert again.made == {"fp32": 0, "int8": 0}
    # another calibration needs no other fp32 file
    again.fill([_int8(CONV, "onnx", NormalData(seed=1))])
    assert again.made == {"fp32": 0, "int8": 1}


def test_the_ends_of_an_onnx_file_say_what_their_integers_mean(tmp_path):
    conversion = _int8(CONV, "onnx")
    path = ConversionCache(tmp_path).fill([conversion])[conversion]
    session = onnxruntime.InferenceSession(str(path))
    assert [end.type for end in (*session.get_inputs(), *session.get_outputs())] == [
        "tensor(uint8)"] * 2
    ends = json.loads(session.get_modelmeta().custom_metadata_map["hwnas.quantization"])
    assert set(ends) == {"image", "out"}
    values = np.stack([s[0] for s in NormalData().samples((3, 12, 10))])
    scale, zero = ends["image"]["scale"], ends["image"]["zero_point"]
    assert scale == pytest.approx((values.max() - values.min()) / 255, rel=1e-5)
    assert zero == round(-values.min() / scale)
    assert ends["out"]["zero_point"] == 0  # behind a ReLU6


def test_calibration_images_are_known_by_content_and_checked(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.ones((2, 3, 12, 10), np.float32))
    data = ImageData.of(path)
    assert data.count == 2
    assert len(list(data.samples((3, 12, 10)))) == 2
    with pytest.raises(InputError, match=r"images of \(3, 12, 10\), the model takes \(3, 8, 8\)"):
        list(data.samples((3, 8, 8)))
    np.save(path, np.zeros((2, 3, 12, 10), np.float32))
    with pytest.raises(InputError, match="has changed"):
        list(data.samples((3, 12, 10)))
    np.save(path, np.full((2, 3, 12, 10), np.nan, np.float32))
    with pytest.raises(InputError, match="not finite"):
        ImageData.of(path)
    with pytest.raises(InputError, match="calibration is for int8"):
        Conversion.make([CONV], InitWeights(), "onnx", calibration=data)
