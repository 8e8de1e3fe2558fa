"""fp32 ONNX files to int8 ones (QDQ), by ONNX Runtime: inputs and outputs 8-bit as well.

Activations are uint8, one scale and zero point per tensor, weights int8, symmetric, one scale per
output channel. ONNX Runtime's kernels for x86 take unsigned activations: it turns signed ones
round when it loads a model, but not where a tensor is used twice, and whole residual blocks then
stay float. On Arm both run in integer kernels. Weights use all 8 bits; on x86 processors without
VNNI (older than 2019) sums of two products can saturate, which the parity check measures where it
is run there.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from hwnas.export.convert.onnx_file import check_onnx
from hwnas.export.convert.quiet import held_back_output
from hwnas.export.formats import FOREIGN_ERRORS, QUANTIZATION_KEY, ConversionError, Layout
from hwnas.io.journal import canonical_json

Array = NDArray[Any]


def quantized_onnx(
    payload: bytes, samples: Iterable[Sequence[Array]], *, layout: Layout = "nchw"
) -> bytes:
    """Return the serialised ONNX model ``payload`` in int8, inputs and output uint8.

    An activation's range spans the least to the greatest value over ``samples`` (the model's
    inputs, float32 (1, C, H, W)). Scales and zero points of inputs and outputs are in the metadata
    property ``hwnas.quantization``. What integer kernels do not exist for stays float between
    DequantizeLinear and QuantizeLinear: ``leftovers.py`` lists it.

    Raises:
        ConversionError: the model cannot be quantised; holds the quantiser's reason.
    """
    assert layout == "nchw", layout
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    feeds = list(samples)
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, held_back_output():
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        try:
            prepared = _prepared(payload, source)
            onnx.save_model(prepared, source)
            names = [node.name for node in prepared.graph.input]
            quantize_static(
                source,
                target,
                _Feed(names, feeds),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                # pools and reshapes alone in a model are quantised like those between convolutions
                extra_options={"ForceQuantizeNoInputCheck": True},
            )
        except FOREIGN_ERRORS as error:
            raise ConversionError(f"no int8 ONNX form: {error}") from error
        model = onnx.load_model(target)
    _strip_ends(model, feeds)
    _saturate(model.graph)
    return _finished(model)


class _Feed:
    """What ``quantize_static`` reads calibration inputs from."""

    def __init__(self, names: Sequence[str], samples: Iterable[Sequence[Array]]) -> None:
        self._feeds = (dict(zip(names, values, strict=True)) for values in samples)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def _prepared(payload: bytes, work: Path) -> onnx.ModelProto:
    """Return the model in operations that have 8-bit kernels wherever one can be found.

    ONNX Runtime's basic optimisation folds what is constant and opens h-swish into its hard
    sigmoid and product. Then means over the image become global pools, batch norms that follow no
    convolution depthwise 1x1 convolutions, divisions by a constant products, and a clip to one
    value, which is zero (the operation ``zero``), a product with it.
    """
    import onnxruntime
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(work)
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])
    model = onnx.load_model(work)
    graph = model.graph
    constants = {value.name: value for value in graph.initializer}
    for node in graph.node:
        if node.op_type == "ReduceMean" and _attributes(node) == {"axes": [2, 3], "keepdims": 1}:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]
        elif node.op_type == "BatchNormalization":
            _become_convolution(node, graph, constants)
        elif node.op_type == "Div" and node.input[1] in constants:
            factor = 1.0 / numpy_helper.to_array(constants[node.input[1]])
            node.op_type, node.input[1] = "Mul", _constant(graph, node, "factor", factor)
        elif node.op_type == "Clip" and _is_zero_clip(node, constants):
            node.op_type = "Mul"
            del node.input[1:]
            node.input.append(_constant(graph, node, "factor", np.zeros(1, np.float32)))
    add_pre_process_metadata(model)
    return model


def _is_zero_clip(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    limits = [
        numpy_helper.to_array(constants[name]) for name in node.input[1:] if name in constants
    ]
    return len(limits) == 2 and not any(limit.any() for limit in limits)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _constant(graph: onnx.GraphProto, node: onnx.NodeProto, name: str, value: Array) -> str:
    """Add an initialiser beside ``node`` and return its name."""
    full = f"{node.output[0]}/{name}"
    graph.initializer.append(numpy_helper.from_array(value, full))
    return full


def _become_convolution(
    node: onnx.NodeProto, graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto]
) -> None:
    """Turn a batch norm into the depthwise 1x1 convolution that computes the same."""
    scale, shift, mean, variance = (
        numpy_helper.to_array(constants[name]) for name in node.input[1:]
    )
    factor = scale / np.sqrt(variance + _attributes(node).get("epsilon", 1e-5))
    weight = factor.astype(np.float32).reshape(-1, 1, 1, 1)
    bias = (shift - mean * factor).astype(np.float32)
    del node.input[1:], node.attribute[:]
    node.input.extend(
        [_constant(graph, node, "weight", weight), _constant(graph, node, "bias", bias)]
    )
    node.op_type = "Conv"
    node.attribute.extend(
        [
            onnx.helper.make_attribute("group", len(weight)),
            onnx.helper.make_attribute("kernel_shape", [1, 1]),
        ]
    )


def _saturate(graph: onnx.GraphProto) -> None:
    """Turn what lies between 8-bit tensors and has no 8-bit kernel of its own into additions.

    A hard sigmoid is ``clip(a x + b, 0, 1)``: the dequantised input's scale times ``a`` gives
    ``a x``, an 8-bit addition adds ``b``, and its output's scale of 1/255 with zero point 0
    saturates at 0 and 1. A ReLU that is not part of a convolution is an addition of zero, whose
    output has zero point 0 and saturates there.
    """
    makers = {name: node for node in graph.node for name in node.output}
    all_readers = _readers(graph)
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    nodes = []
    for node in graph.node:
        before, after = makers.get(node.input[0]), all_readers[node.output[0]]
        if (
            node.op_type not in ("HardSigmoid", "Relu")
            or before is None
            or before.op_type != "DequantizeLinear"
            or [other.op_type for other in after] != ["QuantizeLinear"]
        ):
            nodes.append(node)
            continue
        slope, offset = 1.0, 0.0
        if node.op_type == "HardSigmoid":
            slope, offset = (
                _attributes(node).get(name, usual)
                for name, usual in (("alpha", 0.2), ("beta", 0.5))
            )
            unit = _constant(graph, node, "unit_scale", np.array(1 / 255, np.float32))
            zero = _constant(graph, node, "unit_zero_point", np.array(0, np.uint8))
            for end in (after[0], *all_readers[after[0].output[0]]):
                end.input[1], end.input[2] = unit, zero
        elif constants[after[0].input[2]] != 0:
            raise ConversionError("no int8 ONNX form: a ReLU's zero point is not 0")
        scale = (constants[before.input[1]] * slope).astype(np.float32)
        nodes += [
            onnx.helper.make_node(
                "DequantizeLinear",
                [before.input[0], _constant(graph, node, "slope", scale), before.input[2]],
                [f"{node.output[0]}/sloped"],
            ),
            onnx.helper.make_node(  # the offset is 255 steps of its own scale
                "DequantizeLinear",
                [
                    _constant(graph, node, "offset", np.array(255 if offset else 0, np.uint8)),
                    _constant(
                        graph, node, "offset_scale", np.array((offset or 1) / 255, np.float32)
                    ),
                    _constant(graph, node, "offset_zero_point", np.array(0, np.uint8)),
                ],
                [f"{node.output[0]}/shift"],
            ),
            onnx.helper.make_node(
                "Add", [f"{node.output[0]}/sloped", f"{node.output[0]}/shift"], list(node.output)
            ),
        ]
    del graph.node[:]
    graph.node.extend(nodes)


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Return the nodes that take each tensor, by its name."""
    found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            found[name].append(node)
    return found


def _strip_ends(model: onnx.ModelProto, feeds: Sequence[Sequence[Array]]) -> None:
    """Make the 8-bit tensors behind inputs and before outputs the model's own ends.

    Inside a network an operation's neighbours are 8-bit too; alone it must not be timed with
    conversions that it does not have there. An input that goes into a ReLU first, which the
    quantiser leaves alone, is quantised over its range in ``feeds``.

    Raises:
        ConversionError: an input or output is not quantised.
    """
    graph = model.graph
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    ends: dict[str, dict[str, float | int]] = {}

    def become(end: onnx.ValueInfoProto, gone: onnx.NodeProto) -> None:
        scale, zero_point = constants[gone.input[1]], constants[gone.input[2]]
        ends[end.name] = {"scale": float(scale), "zero_point": int(zero_point)}
        end.type.tensor_type.elem_type = onnx.TensorProto.UINT8
        graph.node.remove(gone)

    for place, end in enumerate(graph.input):
        readers = [node for node in graph.node if end.name in node.input]
        if readers and all(node.op_type == "Relu" for node in readers):
            _quantize_input(graph, end.name, [feed[place] for feed in feeds])
            readers = [node for node in graph.node if end.name in node.input]
            constants |= {v.name: numpy_helper.to_array(v) for v in graph.initializer}
        if [node.op_type for node in readers] != ["QuantizeLinear"]:
            raise ConversionError(
                f"no int8 ONNX form: input {end.name} goes into "
                f"{', '.join(n.op_type for n in readers) or 'nothing'}"
            )
        become(end, readers[0])
        _rename(graph, readers[0].output[0], end.name)
    for end in graph.output:
        makers = [node for node in graph.node if end.name in node.output]
        if [node.op_type for node in makers] != ["DequantizeLinear"]:
            raise ConversionError(
                f"no int8 ONNX form: output {end.name} comes from "
                f"{', '.join(n.op_type for n in makers) or 'nothing'}"
            )
        become(end, makers[0])
        _rename(graph, makers[0].input[0], end.name)
    # the marks of the quantiser's own steps go
    onnx.helper.set_model_props(model, {QUANTIZATION_KEY: canonical_json(ends)})


def _quantize_input(graph: onnx.GraphProto, name: str, values: Sequence[Array]) -> None:
    """Put a quantise and dequantise pair behind the input called ``name``."""
    low = min(0.0, *(float(value.min()) for value in values))
    high = max(0.0, *(float(value.max()) for value in values))
    scale = (high - low) / 255 or 1.0
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(scale, np.float32), f"{name}/scale"),
            numpy_helper.from_array(np.array(round(-low / scale), np.uint8), f"{name}/zero_point"),
        ]
    )
    _rename(graph, name, f"{name}/float")
    graph.node.insert(
        0,
        onnx.helper.make_node(
            "QuantizeLinear", [name, f"{name}/scale", f"{name}/zero_point"], [f"{name}/8bit"]
        ),
    )
    graph.node.insert(
        1,
        onnx.helper.make_node(
            "DequantizeLinear",
            [f"{name}/8bit", f"{name}/scale", f"{name}/zero_point"],
            [f"{name}/float"],
        ),
    )


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _finished(model: onnx.ModelProto) -> bytes:
    """Drop what nothing reads and what describes float tensors; check and serialise."""
    graph = model.graph
    outputs = {end.name for end in graph.output}
    while True:
        used = outputs | {name for node in graph.node for name in node.input}
        dead = [node for node in graph.node if not used.intersection(node.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for kept in [value for value in graph.initializer if value.name not in used]:
        graph.initializer.remove(kept)
    del graph.value_info[:]
    payload: bytes = model.SerializeToString(deterministic=True)
    check_onnx(payload)
    return payload
