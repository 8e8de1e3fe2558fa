"""An exported model opened by its runtime: what goes in and out, and one run at batch 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InputError
from hwnas.export.formats import format_of

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output: name, shape with the batch first, dtype as numpy spells it."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """Return the object an export file holds."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclass(frozen=True)
class Session:
    """A loaded model; ``run`` maps its inputs, in order, to the first output, on one thread."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    run: Callable[..., Array]


def open_session(model: Path) -> Session:
    """Load ``model`` with ONNX Runtime or LiteRT, as its suffix says.

    Raises:
        InputError: no such file, an unknown suffix, or a file its runtime cannot load.
    """
    opener = _open_onnx if format_of(model) == "onnx" else _open_tflite
    if not model.is_file():
        raise InputError(str(model), ["there is no such file"])
    return opener(model)


def model_io(model: Path) -> dict[str, list[dict[str, Any]]]:
    """Return ``{"inputs": [{name, shape, dtype}], "outputs": [...]}`` of a model file.

    Raises:
        InputError: see :func:`open_session`.
    """
    session = open_session(model)
    return {
        "inputs": [info.to_json() for info in session.inputs],
        "outputs": [info.to_json() for info in session.outputs],
    }


def _open_onnx(model: Path) -> Session:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as reasons

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
    except (reasons.Fail, reasons.InvalidProtobuf, reasons.InvalidGraph, reasons.NotImplemented,
            reasons.RuntimeException) as error:
        raise InputError(str(model), [f"ONNX Runtime cannot load it: {error}"]) from error
    inputs = tuple(_onnx_info(node) for node in session.get_inputs())
    outputs = tuple(_onnx_info(node) for node in session.get_outputs())

    def run(*values: Array) -> Array:
        fed = {info.name: value for info, value in zip(inputs, values, strict=True)}
        result: Array = session.run([outputs[0].name], fed)[0]
        return result

    return Session(inputs, outputs, run)


def _onnx_info(node: Any) -> TensorInfo:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    return TensorInfo(node.name, tuple(node.shape), dtype)


def _open_tflite(model: Path) -> Session:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(model), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise InputError(str(model), [f"LiteRT cannot load it: {error}"]) from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(*values: Array) -> Array:
        for detail, value in zip(inputs, values, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        result: Array = interpreter.get_tensor(outputs[0]["index"])
        return result

    return Session(
        tuple(_tflite_info(detail) for detail in inputs),
        tuple(_tflite_info(detail) for detail in outputs),
        run,
    )


def _tflite_info(detail: dict[str, Any]) -> TensorInfo:
    shape = tuple(int(size) for size in detail["shape"])
    return TensorInfo(detail["name"], shape, np.dtype(detail["dtype"]).name)
