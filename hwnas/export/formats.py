"""What models are converted to: formats, layouts, the packages that convert. No torch here."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from hwnas.errors import HwnasError, InputError

Format: TypeAlias = Literal["onnx", "tflite"]
Layout: TypeAlias = Literal["nchw", "nhwc"]

LAYOUTS: Mapping[Format, tuple[Layout, ...]] = {"onnx": ("nchw",), "tflite": ("nhwc", "nchw")}
"""The layouts each format can have, its default first."""

PRECISIONS = ("fp32",)

ONNX_OPSET = 17
"""The newest opset that runtimes of 2022 (ONNX Runtime 1.12) read; all our operations are in it."""

_CONVERTERS: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("torch", "onnx"),
    "tflite": ("torch", "litert-torch", "litert-converter"),
}

FOREIGN_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What the converters raise for a network they cannot convert; neither has a kind of its own."""


class ConversionError(HwnasError):
    """A network could not be converted; the text holds the converter's reason."""


@functools.cache
def converter_versions(model_format: Format) -> Mapping[str, str]:
    """Return package -> version of what converts to ``model_format``, without importing it."""
    return {name: importlib.metadata.version(name) for name in _CONVERTERS[model_format]}


def format_of(model: Path) -> Format:
    """Return the format that the suffix of ``model`` names.

    Raises:
        InputError: the suffix is neither ``.onnx`` nor ``.tflite``.
    """
    for known in LAYOUTS:
        if model.suffix == f".{known}":
            return known
    raise InputError(str(model), [f"a model's suffix is .onnx or .tflite, got {model.suffix!r}"])
