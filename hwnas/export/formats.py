"""FORMATS and PRECISIONS: what models are converted to, and by what. No torch here."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from hwnas.errors import HwnasError, InputError, UsageError
from hwnas.plugins.fields import NameOf
from hwnas.plugins.registry import Entry, Registry

Layout: TypeAlias = Literal["nchw", "nhwc"]


@dataclass(frozen=True)
class Quantizer:
    """What makes a quantised file from an fp32 one.

    ``quantize(payload, samples, layout=...)`` returns the file's bytes; ``needs`` are the packages
    whose versions decide the content.
    """

    quantize: Callable[..., bytes] | str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class FormatKind(Entry):
    """A format of model files; a file's suffix is its name. Functions may be import paths.

    ``layouts`` are those a file can have, the default first. ``convert(network, in_shape,
    layout=..., num_inputs=...)`` returns the file's bytes; ``needs`` are the packages whose
    versions decide them, and ``opset`` what else does. ``quantizers`` are by precision.
    ``open_session(path)`` loads a file for parity checks (``verify.session.Session``).
    ``float_kinds(path)`` lists the operations that a quantised file computes in float.
    ``warm_up()`` loads what a process that converts many networks needs. ``add_metadata(payload,
    texts)`` writes texts by key into a file. ``layer_seconds`` is how long the conversion of one
    layer takes, as measured on one core of a server, and decides how many processes share a job.
    """

    layouts: tuple[Layout, ...]
    convert: Callable[..., bytes] | str
    open_session: Callable[[Path], Any] | str
    quantizers: Mapping[str, Quantizer] = field(default_factory=dict)
    float_kinds: Callable[[Path], list[str]] | str | None = None
    warm_up: Callable[[], None] | str | None = None
    add_metadata: Callable[[bytes, Mapping[str, str]], bytes] | str | None = None
    layer_seconds: float = 0.02
    opset: int | None = None


@dataclass(frozen=True)
class PrecisionKind(Entry):
    """What numbers a model computes in.

    ``bytes_per_param`` is the size of a file per parameter. A ``quantised`` file is made from the
    fp32 one and from calibration samples that activation ranges are measured on.
    """

    bytes_per_param: float
    quantised: bool


ONNX_OPSET = 17
"""The newest opset that runtimes of 2022 (ONNX Runtime 1.12) read; all our operations are in it."""

QUANTIZATION_KEY = "hwnas.quantization"
"""The metadata property of int8 ONNX files: scale and zero point of inputs and outputs, by name."""

FORMATS: Registry[FormatKind] = Registry("format", builtin=("hwnas.export.formats:FORMAT_KINDS",))
FORMAT_KINDS = (
    FormatKind(
        "onnx",
        "ONNX, executed by ONNX Runtime",
        layouts=("nchw",),
        convert="hwnas.export.convert.onnx:onnx_bytes",
        needs=("torch", "onnx"),
        open_session="hwnas.export.verify.session:open_onnx",
        quantizers={
            "int8": Quantizer("hwnas.export.quantize.onnx:quantized_onnx", ("onnx", "onnxruntime"))
        },
        float_kinds="hwnas.export.quantize.float_ops:onnx_float_kinds",
        add_metadata="hwnas.export.convert.onnx_file:with_metadata",
        layer_seconds=0.02,
        opset=ONNX_OPSET,
    ),
    FormatKind(
        "tflite",
        "TFLite, executed by LiteRT",
        layouts=("nhwc", "nchw"),
        convert="hwnas.export.convert.tflite:tflite_bytes",
        needs=("torch", "litert-torch", "litert-converter"),
        open_session="hwnas.export.verify.session:open_tflite",
        quantizers={
            "int8": Quantizer(
                "hwnas.export.quantize.tflite:quantized_tflite",
                ("ai-edge-quantizer", "ai-edge-litert"),
            )
        },
        float_kinds="hwnas.export.quantize.float_ops:tflite_float_kinds",
        warm_up="hwnas.export.convert.tflite:load_converter",
        layer_seconds=1.0,
    ),
)

PRECISIONS: Registry[PrecisionKind] = Registry(
    "precision",
    builtin=("hwnas.export.formats:PRECISION_KINDS",),
    refused={
        "fp16": "ONNX Runtime's CPU provider computes it as fp32 between casts, and LiteRT's "
        "interpreter unpacks fp16 weights to fp32 when it loads them: it would be timed as "
        "fp32 with another name",
    },
)
PRECISION_KINDS = (
    PrecisionKind("fp32", "32-bit floats", bytes_per_param=4.0, quantised=False),
    # Scales and 32-bit biases of each channel make int8 files 1.09 to 1.15 bytes a parameter in
    # networks of 3 million. Not counted: 50 kB of structure, as much again in small networks.
    PrecisionKind(
        "int8", "static 8-bit integers, a scale per channel", bytes_per_param=1.15, quantised=True
    ),
)

Format: TypeAlias = Annotated[str, NameOf(FORMATS)]
Precision: TypeAlias = Annotated[str, NameOf(PRECISIONS)]


def register_format(kind: FormatKind) -> FormatKind:
    """Add a format of model files, which exports and runtimes then know.

    Raises:
        UsageError: the name is taken.
    """
    return FORMATS.register(kind)


FOREIGN_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)
"""What the converters raise for a network they cannot convert; neither has a kind of its own."""


class ConversionError(HwnasError):
    """A network could not be converted; the text holds the converter's reason."""


@functools.cache
def converter_versions(model_format: Format) -> Mapping[str, str]:
    """Return package -> version of what converts to ``model_format``, without importing it."""
    return {name: importlib.metadata.version(name) for name in FORMATS[model_format].needs}


@functools.cache
def quantizer_versions(model_format: Format, precision: Precision = "int8") -> Mapping[str, str]:
    """Return package -> version of what makes ``precision`` files of ``model_format``."""
    needs = FORMATS[model_format].quantizers[precision].needs
    return {name: importlib.metadata.version(name) for name in needs}


def precision_of(name: str) -> Precision:
    """Return the precision called ``name``.

    Raises:
        UsageError: there is none; names those there are and, of a refused one, the reason.
    """
    if name in PRECISIONS:
        return name
    raise UsageError(
        f"precision {name!r} is not supported; allowed: {', '.join(PRECISIONS)}"
        f"{PRECISIONS.hint(name)}"
    )


def formats_of(names: Sequence[str]) -> tuple[Format, ...]:
    """Return the formats called ``names``; UsageError where one is none, or there are none."""
    if not names or any(name not in FORMATS for name in names):
        raise UsageError(f"--format {','.join(names)!r}: allowed are {_any_of(tuple(FORMATS))}")
    return tuple(names)


def _any_of(names: Sequence[str]) -> str:
    """Return ``onnx, tflite or both``, or a longer list."""
    return f"{', '.join(names)} or {'both' if len(names) == 2 else 'several of them'}"


def format_of(model: Path) -> Format:
    """Return the format that the suffix of ``model`` names.

    Raises:
        InputError: the suffix is no format's.
    """
    name = model.suffix.removeprefix(".")
    if name in FORMATS:
        return name
    suffixes = " or ".join(f".{known}" for known in FORMATS)
    raise InputError(str(model), [f"a model's suffix is {suffixes}, got {model.suffix!r}"])
