"""What models are converted to: formats, layouts, the packages that convert. No torch here."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from hwnas.errors import HwnasError, InputError, UsageError

Format: TypeAlias = Literal["onnx", "tflite"]
Layout: TypeAlias = Literal["nchw", "nhwc"]
Precision: TypeAlias = Literal["fp32", "int8"]

LAYOUTS: Mapping[Format, tuple[Layout, ...]] = {"onnx": ("nchw",), "tflite": ("nhwc", "nchw")}
"""The layouts each format can have, its default first."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

_REFUSED: Mapping[str, str] = {
    "fp16": "ONNX Runtime's CPU provider computes it as fp32 between casts, and LiteRT's "
    "interpreter unpacks fp16 weights to fp32 when it loads them: it would be timed as "
    "fp32 with another name",
}
"""What one may expect to be offered, and why it is not."""

ONNX_OPSET = 17
"""The newest opset that runtimes of 2022 (ONNX Runtime 1.12) read; all our operations are in it."""

QUANTIZATION_KEY = "hwnas.quantization"
"""The metadata property of int8 ONNX files: scale and zero point of inputs and outputs, by name."""

_CONVERTERS: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("torch", "onnx"),
    "tflite": ("torch", "litert-torch", "litert-converter"),
}

_QUANTIZERS: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("ai-edge-quantizer", "ai-edge-litert"),
}

FOREIGN_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What the converters raise for a network they cannot convert; neither has a kind of its own."""


class ConversionError(HwnasError):
    """A network could not be converted; the text holds the converter's reason."""


@functools.cache
def converter_versions(model_format: Format) -> Mapping[str, str]:
    """Return package -> version of what converts to ``model_format``, without importing it."""
    return {name: importlib.metadata.version(name) for name in _CONVERTERS[model_format]}


@functools.cache
def quantizer_versions(model_format: Format) -> Mapping[str, str]:
    """Return package -> version of what makes int8 files of ``model_format`` from fp32 ones."""
    return {name: importlib.metadata.version(name) for name in _QUANTIZERS[model_format]}


def precision_of(name: str) -> Precision:
    """Return the precision called ``name``.

    Raises:
        UsageError: there is none; names those there are and, of a refused one, the reason.
    """
    for known in PRECISIONS:
        if name == known:
            return known
    reason = f". {name}: {_REFUSED[name]}" if name in _REFUSED else ""
    raise UsageError(
        f"precision {name!r} is not supported; allowed: {', '.join(PRECISIONS)}{reason}"
    )


def formats_of(names: Sequence[str]) -> tuple[Format, ...]:
    """Return the formats called ``names``; UsageError where one is none, or there are none."""
    found = tuple(known for name in names for known in LAYOUTS if name == known)
    if not names or len(found) < len(names):
        raise UsageError(f"--format {','.join(names)!r}: allowed are onnx, tflite or both")
    return found


def format_of(model: Path) -> Format:
    """Return the format that the suffix of ``model`` names.

    Raises:
        InputError: the suffix is neither ``.onnx`` nor ``.tflite``.
    """
    for known in LAYOUTS:
        if model.suffix == f".{known}":
            return known
    raise InputError(str(model), [f"a model's suffix is .onnx or .tflite, got {model.suffix!r}"])
