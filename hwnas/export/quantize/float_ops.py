"""What of an int8 model is still computed in float, as its runtime executes it."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hwnas.export.formats import FORMATS, format_of
from hwnas.plugins.registry import resolved

_CASTS = {"QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE"}


def float_operations(model: Path) -> dict[str, int]:
    """Return the operations of an int8 ``model`` that compute in float: kind to number.

    Conversions between int8 and float are not counted. ONNX Runtime decides when it loads a model
    which operations become integer kernels, so its optimised graph is what is looked at.
    """
    listed = FORMATS[format_of(model)].float_kinds
    kinds = [] if listed is None else resolved(listed)(model)
    return dict(sorted(Counter(kind for kind in kinds if kind not in _CASTS).items()))


def onnx_float_kinds(model: Path) -> list[str]:
    """Return the operations that read a float computed on the way: from a DequantizeLinear on."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        executed = Path(folder, "executed.onnx")
        options.optimized_model_filepath = str(executed)
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        graph = onnx.load_model(executed).graph
    floats = {
        end.name for end in graph.input if end.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    found = []
    for node in graph.node:  # in order of execution
        if node.op_type == "DequantizeLinear":
            floats.update(node.output)
        elif floats.intersection(node.input):
            found.append(node.op_type)
            if node.op_type != "QuantizeLinear":
                floats.update(node.output)
    return found


def tflite_float_kinds(model: Path) -> list[str]:
    """Return the operators with a float tensor among their inputs and outputs."""
    from ai_edge_litert.tools import flatbuffer_utils

    content = flatbuffer_utils.read_model_from_bytearray(model.read_bytes())
    return [
        str(flatbuffer_utils.opcode_to_name(content, operator.opcodeIndex))
        for graph in content.subgraphs
        for operator in graph.operators
        if any(
            flatbuffer_utils.type_to_name(graph.tensors[place].type) == "FLOAT32"
            for place in (*operator.inputs, *operator.outputs)
            if place >= 0
        )
    ]
