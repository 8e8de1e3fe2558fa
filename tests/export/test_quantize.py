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
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.export.quantize.calibration import ImageData, NormalData
from hwnas.export.quantize.float_ops import float_operations
from hwnas.export.verify.parity import sqnr_db
from hwnas.export.verify.session import open_session
from hwnas.ops import OPS, OpSpec

CONV = OpSpec.make("conv", (3, 12, 10), 8, kernel=3, act="relu6")


def _int8(op, model_format, calibration=None):
    return Conversion.make(
        [op], InitWeights(), model_format, precision="int8", calibration=calibration
    )


def _weight_scales(path):
    """Return (float weights, integers, scales) of the one convolution of an ONNX file."""
    model = onnx.load(path)
    values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
    (integers,) = [v for v in values.values() if v.dtype == np.int8 and v.ndim == 4]
    (name,) = [name for name, v in values.items() if v is integers]
    (node,) = [
        n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == name
    ]
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
    scales = [
        d["quantization_parameters"]["scales"]
        for d in interpreter.get_tensor_details()
        if d["dtype"] == np.int8 and tuple(d["shape"]) == (8, 3, 3, 3)
    ]
    assert [len(s) for s in scales] == [8]
    assert all(
        detail["dtype"] == np.int8
        for detail in (*interpreter.get_input_details(), *interpreter.get_output_details())
    )


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
        "tensor(uint8)"
    ] * 2
    ends = json.loads(session.get_modelmeta().custom_metadata_map["hwnas.quantization"])
    assert set(ends) == {"image", "out"}
    values = np.stack([s[0] for s in NormalData().samples((3, 12, 10))])
    scale, zero = ends["image"]["scale"], ends["image"]["zero_point"]
    assert scale == pytest.approx((values.max() - values.min()) / 255, rel=1e-5)
    assert zero == round(-values.min() / scale)
    assert ends["out"]["zero_point"] == 0  # behind a ReLU6


def test_calibration_images_are_known_by_content_and_checked():
    images = np.ones((2, 3, 12, 10), np.float32)
    data = ImageData.of(images)
    assert data == ImageData.of(images.copy()) != ImageData.of(images * 2)
    assert len(list(data.samples((3, 12, 10)))) == data.count == 2
    with pytest.raises(InputError, match=r"shape \(3, 12, 10\), the model takes \(3, 8, 8\)"):
        list(data.samples((3, 8, 8)))
    with pytest.raises(InputError, match="one input, this one has 2"):
        list(data.samples((3, 12, 10), 2))
    for wrong in (images[:0], images[0], images.astype(np.float64)):
        with pytest.raises(InputError, match=r"must be float32 \(N, C, H, W\)"):
            ImageData.of(wrong)
    with pytest.raises(InputError, match="must be finite"):
        ImageData.of(images * np.float32("nan"))
    with pytest.raises(InputError, match="calibration is for int8"):
        Conversion.make([CONV], InitWeights(), "onnx", calibration=data)


GELU_LEFT = {"Erf": 1}  # of a GELU: no 8-bit kernel in ONNX Runtime
LEFT = {"fused_mbconv gelu": GELU_LEFT, "uib": {"Erf": 2}}
"""What ONNX Runtime still computes in float of the operations below."""

OPERATIONS = {
    "conv": CONV,
    "conv linear": OpSpec.make("conv", (16, 9, 8), 24, kernel=1, stride=2, act="none"),
    "mbconv": OpSpec.make(
        "mbconv", (16, 9, 8), 16, kernel=5, hidden=48, act="relu6", residual=True
    ),
    "mbconv se": OpSpec.make(
        "mbconv", (16, 9, 8), 16, kernel=3, hidden=48, se_width=8, act="hswish", residual=True
    ),
    "mbconv swish": OpSpec.make(
        "mbconv",
        (16, 9, 8),
        24,
        kernel=3,
        stride=2,
        hidden=48,
        se_width=8,
        act="swish",
        se_gate="sigmoid",
        se_act="swish",
    ),
    "mbconv shuffle": OpSpec.make(
        "mbconv", (16, 9, 8), 24, kernel=3, hidden=16, groups=2, shuffle=True, act="relu"
    ),
    "head": OpSpec.make("head", (16, 4, 4), 10, hidden=32, features=24, act="hswish"),
    "fused_mbconv gelu": OpSpec.make(
        "fused_mbconv", (8, 9, 8), 16, kernel=3, hidden=24, act="gelu"
    ),
    "uib": OpSpec.make(
        "uib",
        (16, 9, 8),
        16,
        kernel_start=3,
        kernel=5,
        hidden=32,
        act="gelu",
        residual=True,
        layer_scale=True,
    ),
    "mqa": OpSpec.make("mqa", (16, 9, 8), 16, heads=4, key_dim=8, kv_stride=2, layer_scale=True),
    "squeeze_excite": OpSpec.make("squeeze_excite", (16, 8, 8), 16, width=4),
    "preact_conv": OpSpec.make("preact_conv", (16, 8, 8), 24, kernel=3),
    "preact_residual": OpSpec.make("preact_residual", (16, 8, 8), 32, stride=2),
    "preact_head": OpSpec.make("preact_head", (16, 8, 8), 10),
    "sep_conv": OpSpec.make("sep_conv", (16, 8, 8), 16, kernel=3),
    "dil_conv": OpSpec.make("dil_conv", (16, 8, 8), 16, kernel=3),
    "factorized_reduce": OpSpec.make("factorized_reduce", (16, 8, 8), 32),
    "avg pool": OpSpec.make("pool", (16, 8, 8), 16, pool="avg", stride=2),
    "max pool": OpSpec.make("pool", (16, 8, 8), 16, pool="max"),
    "add": OpSpec.make("add", (16, 8, 8), 16, summands=3),
    "concat": OpSpec.make("concat", (16, 8, 8), 32, summands=2),
    "zero": OpSpec.make("zero", (16, 8, 8), 16),
}


def test_every_kind_of_operation_is_quantised_here():
    assert {op.kind for op in OPERATIONS.values()} == set(OPS)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return ConversionCache(tmp_path_factory.mktemp("cache"))


def _sqnr_db(shared, conversion):
    """Return the SQNR of an int8 file against the fp32 file it is made of, on fresh data."""
    files = shared.fill([conversion, conversion.float_form], workers=1)
    quantised, plain = open_session(files[conversion]), open_session(files[conversion.float_form])
    (values,) = NormalData(seed=9, count=1).samples(
        conversion.layers[0].in_shape, conversion.num_inputs
    )
    if conversion.layout == "nhwc":
        values = [value.transpose(0, 2, 3, 1) for value in values]
    assert all(info.dtype in ("uint8", "int8") for info in (*quantised.inputs, *quantised.outputs))
    return sqnr_db(plain.run(*values), quantised.run_real(*values))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_integer_inside_in_onnx_runtime(shared, name, precise_int8, monkeypatch):
    precise_int8(monkeypatch)
    conversion = _int8(OPERATIONS[name], "onnx")
    found = _sqnr_db(shared, conversion)
    assert found is None or found > 15
    assert float_operations(shared.path(conversion)) == LEFT.get(name, {})


@pytest.mark.parametrize("name", ["mbconv se", "mqa", "head", "concat", "zero"])
def test_operations_are_integer_inside_in_litert(shared, name):
    conversion = _int8(OPERATIONS[name], "tflite")
    found = _sqnr_db(shared, conversion)
    assert found is None or found > 15
    assert float_operations(shared.path(conversion)) == ({"MINIMUM": 1} if name == "zero" else {})


def test_the_float_operations_of_an_fp32_file_are_all_of_them(shared):
    found = {}
    for model_format in ("onnx", "tflite"):
        conversion = _int8(OPERATIONS["add"], model_format).float_form
        found[model_format] = float_operations(shared.fill([conversion])[conversion])
    assert found == {"onnx": {"Add": 2}, "tflite": {"ADD": 2}}
