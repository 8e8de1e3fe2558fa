"""An exported model opened by its runtime: what goes in and out, and one run at batch 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, RootModel, ValidationError

from hwnas.errors import InputError
from hwnas.export.convert.quiet import held_back_output
from hwnas.export.formats import FORMATS, QUANTIZATION_KEY, Precision, format_of
from hwnas.io.schemas import FileSchema
from hwnas.plugins.registry import resolved

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output: name, shape with the batch first, dtype as numpy spells it.

    An integer q of an int8 model means ``scale * (q - zero_point)``; ``scale`` is None for floats.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the object an export file holds."""
        meaning = {} if self.scale is None else {"scale": self.scale, "zero_point": self.zero_point}
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, **meaning}

    def encoded(self, values: Array) -> Array:
        """Return real ``values`` as the model takes them: rounded and saturated if it is int8."""
        if self.scale is None:
            return values
        limits = np.iinfo(self.dtype)
        steps = np.rint(values / np.float32(self.scale)) + self.zero_point
        whole: Array = np.clip(steps, limits.min, limits.max).astype(self.dtype)
        return whole

    def decoded(self, values: Array) -> Array:
        """Return the real values that the model's numbers mean, float32."""
        if self.scale is None:
            return values
        return (values.astype(np.float32) - self.zero_point) * np.float32(self.scale)


@dataclass(frozen=True)
class Session:
    """A loaded model; ``run`` maps its inputs, in order, to the first output, on one thread."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    run: Callable[..., Array]

    def run_real(self, *values: Array) -> Array:
        """Return the first output as real numbers for real inputs, whatever the model's types."""
        fed = [info.encoded(value) for info, value in zip(self.inputs, values, strict=True)]
        return self.outputs[0].decoded(self.run(*fed))


def open_session(model: Path) -> Session:
    """Load ``model`` with the runtime of its format, as its suffix says.

    Raises:
        InputError: no such file, an unknown suffix, or a file its runtime cannot load.
    """
    opener = resolved(FORMATS[format_of(model)].open_session)
    if not model.is_file():
        raise InputError(str(model), ["there is no such file"])
    session: Session = opener(model)
    return session


def model_io(model: Path) -> dict[str, list[dict[str, Any]]]:
    """Return ``{"inputs": [...], "outputs": [...]}`` of a model file, as TensorInfo spells them.

    Raises:
        InputError: see :func:`open_session`.
    """
    session = open_session(model)
    return {
        "inputs": [info.to_json() for info in session.inputs],
        "outputs": [info.to_json() for info in session.outputs],
    }


def file_precision(model: Path) -> Precision:
    """Return the precision a model file executes in, as its inputs and outputs tell.

    A float network may take pixels as bytes: only where both ends are of 8 bits is it int8.

    Raises:
        InputError: see :func:`open_session`.
    """
    session = open_session(model)
    kinds = {info.dtype for info in (*session.inputs, *session.outputs)}
    return "int8" if kinds <= {"int8", "uint8"} else "fp32"


def open_onnx(model: Path) -> Session:
    """Load an ONNX file with ONNX Runtime; InputError where it cannot."""
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
    except (
        reasons.Fail,
        reasons.InvalidProtobuf,
        reasons.InvalidGraph,
        reasons.NotImplemented,
        reasons.RuntimeException,
    ) as error:
        raise InputError(str(model), [f"ONNX Runtime cannot load it: {error}"]) from error
    meanings = _meanings(model, session.get_modelmeta().custom_metadata_map)
    inputs = tuple(_onnx_info(node, meanings) for node in session.get_inputs())
    outputs = tuple(_onnx_info(node, meanings) for node in session.get_outputs())

    def run(*values: Array) -> Array:
        fed = {info.name: value for info, value in zip(inputs, values, strict=True)}
        result: Array = session.run([outputs[0].name], fed)[0]
        return result

    return Session(inputs, outputs, run)


class MeaningSchema(FileSchema):
    """What an 8-bit input or output means."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    zero_point: Annotated[int, Field(ge=-128, le=255)]


class MeaningsSchema(RootModel[dict[str, MeaningSchema]]):
    """The metadata property of QUANTIZATION_KEY: an 8-bit input's or output's meaning by name."""


def _meanings(model: Path, metadata: Mapping[str, str]) -> Mapping[str, MeaningSchema]:
    if QUANTIZATION_KEY not in metadata:
        return {}
    try:
        return MeaningsSchema.model_validate_json(metadata[QUANTIZATION_KEY]).root
    except ValidationError as error:
        raise InputError(
            str(model), [f"its metadata {QUANTIZATION_KEY} is not hwnas': {error}"]
        ) from error


def _onnx_info(node: Any, meanings: Mapping[str, MeaningSchema]) -> TensorInfo:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    if node.name not in meanings:
        return TensorInfo(node.name, tuple(node.shape), dtype)
    found = meanings[node.name]
    return TensorInfo(node.name, tuple(node.shape), dtype, found.scale, found.zero_point)


def open_tflite(model: Path) -> Session:
    """Load a TFLite file with LiteRT; InputError where it cannot."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with held_back_output():  # its C++ part announces its delegate on standard error
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
    name, dtype = detail["name"], np.dtype(detail["dtype"]).name
    scale, zero_point = detail["quantization"]
    return TensorInfo(name, shape, dtype, float(scale) or None, int(zero_point))
