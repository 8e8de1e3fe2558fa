"""The folder a finished network is shipped in: models, what they are, what they expect."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from hwnas.arch import short_hash
from hwnas.errors import InputError
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion, FileWeights
from hwnas.export.convert.onnx_file import with_metadata
from hwnas.export.formats import (
    FORMATS,
    Format,
    Precision,
    converter_versions,
    quantizer_versions,
)
from hwnas.export.quantize.calibration import CalibrationData
from hwnas.export.verify.parity import (
    Int8Parity,
    Parity,
    check_int8_parity,
    check_parity,
    int8_parity,
    parity,
)
from hwnas.export.verify.session import model_io
from hwnas.io.journal import canonical_json, read_json, write_json, write_whole
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.ops import OpSpec
from hwnas.protocols import Wiring

SCHEMA = 1
Channels = Annotated[tuple[float, ...], Field(min_length=1, max_length=4)]
Size = Annotated[int, Field(ge=1)]


class PreprocessingSchema(FileSchema):
    """What an application does to an image before the model, in this order.

    Crop the largest centred square, resize to ``input_size`` (height, width), scale pixels to
    0..1, order the channels, subtract ``mean`` and divide by ``std`` per channel. ``class_names``
    are in the order of the logits.
    """

    input_size: tuple[Size, Size]
    mean: Channels
    std: Channels
    color_order: Literal["RGB"] = "RGB"
    crop: Literal["center-square"] = "center-square"
    resize: Literal["bilinear-antialias"] = "bilinear-antialias"
    class_names: tuple[str, ...]


def file_key(model_format: Format, precision: Precision) -> str:
    """Return what ``export.json`` calls a file: ``onnx``, ``tflite``, ``onnx-int8``..."""
    return model_format if precision == "fp32" else f"{model_format}-{precision}"


def file_name(model_format: Format, precision: Precision) -> str:
    """Return the name of a model file in its folder."""
    return f"model.{model_format}" if precision == "fp32" else f"model.{precision}.{model_format}"


def write_bundle(
    folder: Path,
    *,
    network: nn.Module,
    layers: Sequence[OpSpec],
    wiring: Wiring | None = None,
    arch_json: dict[str, Any],
    weights: Path,
    images: Tensor,
    preprocessing: dict[str, Any],
    cache: ConversionCache,
    formats: Sequence[Format] = ("onnx", "tflite"),
    precisions: Sequence[Precision] = ("fp32",),
    calibration: CalibrationData | None = None,
) -> dict[str, Any]:
    """Write ``folder/<arch_id>/`` and return what its ``export.json`` holds.

    The folder gets ``model.onnx`` and ``model.tflite`` (those of ``formats``), in int8
    ``model.int8.onnx`` and ``model.int8.tflite``, ``arch.json`` (architecture, layers and their
    wiring, preprocessing) and ``export.json`` (by ``file_key``: file, hash, inputs and outputs,
    parity, converter). ``weights`` is ``network``'s safetensors file; ``images`` (N, C, H, W),
    preprocessed, measure parity; int8 needs ``calibration``, other images. A second call only
    verifies what is unchanged.

    Raises:
        InputError: preprocessing or weights do not fit the network, or int8 without calibration;
            lists every problem.
        ConversionError: a format is impossible for this network.
        ParityError: an exported model differs from ``network``; no ``export.json`` is written.
    """
    reference = FileWeights.of(weights)
    if "int8" in precisions and calibration is None:
        raise InputError("export", ["int8 needs images to measure ranges on (calibration)"])
    conversions = {
        file_key(name, precision): Conversion.make(
            layers,
            reference,
            name,
            precision=precision,
            wiring=wiring,
            calibration=calibration if precision == "int8" else None,
        )
        for precision in precisions
        for name in formats
    }
    arch_id = short_hash(canonical_json(arch_json))
    description = {
        "schema": SCHEMA,
        "arch_id": arch_id,
        "arch": arch_json,
        "layers": [layer.to_json() for layer in layers],
        **({} if wiring is None else {"wiring": [list(sources) for sources in wiring]}),
        "preprocessing": {
            **_checked_preprocessing(preprocessing, layers).model_dump(mode="json"),
            "layout": {name: FORMATS[name].layouts[0] for name in formats},
        },
    }
    target = folder / arch_id
    content_id = _content_id(description, conversions)
    if (existing := _existing(target, content_id, description, conversions)) is not None:
        return existing
    (target / "export.json").unlink(missing_ok=True)  # it describes models that now change
    write_json(target / "arch.json", description)
    exported, files = {}, cache.fill(conversions.values())
    for key, conversion in conversions.items():
        payload = files[conversion].read_bytes()
        if conversion.format == "onnx":
            payload = with_metadata(
                payload,
                {
                    f"hwnas.{part}": canonical_json(description[part])
                    for part in ("arch", "preprocessing")
                },
            )
        path = target / file_name(conversion.format, conversion.precision)
        exported[key] = _write_model(path, payload, network, images, conversion)
    export = {
        "schema": SCHEMA,
        "arch_id": arch_id,
        "content_id": content_id,
        "weights_sha256": reference.sha256,
        "formats": exported,
    }
    write_json(target / "export.json", export)
    return export


def _write_model(
    path: Path, payload: bytes, network: nn.Module, images: Tensor, conversion: Conversion
) -> dict[str, Any]:
    write_whole(path, payload)
    found: Parity | Int8Parity
    if conversion.precision == "int8":
        found = int8_parity(network, path, images, layout=conversion.layout)
        check_int8_parity(found, path)
    else:
        found = parity(network, path, images, layout=conversion.layout)
        check_parity(found, path)
    quantised = (
        {}
        if conversion.calibration is None
        else {
            "calibration": str(conversion.calibration),
            "quantizer": dict(quantizer_versions(conversion.format)),
        }
    )
    return {
        "file": path.name,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "bytes": len(payload),
        "precision": conversion.precision,
        "layout": conversion.layout,
        **model_io(path),
        "parity": found.to_json(),
        "converter": dict(converter_versions(conversion.format)),
        **quantised,
    }


def _content_id(description: dict[str, Any], conversions: dict[str, Conversion]) -> str:
    keys = {name: conversion.key for name, conversion in conversions.items()}
    return short_hash(canonical_json([description, keys]))


class _ParitySchema(BaseModel):
    """What is read again of a parity: that of fp32 has ``max_rel``, that of int8 the others."""

    model_config = ConfigDict(extra="allow", strict=True)
    num_images: int
    top1_agreement: Annotated[float, Field(ge=0, le=1)]
    max_rel: Annotated[float, Field(ge=0)] | None = None
    sqnr_db: float | None = None
    float_operations: dict[str, int] | None = None


class _ModelFile(BaseModel):
    """An exported file as ``export.json`` describes it."""

    model_config = ConfigDict(extra="allow", strict=True)
    file: str
    sha256: str
    bytes: int
    precision: Precision
    parity: _ParitySchema


class _Manifest(BaseModel):
    """``export.json``, as far as it is read again."""

    model_config = ConfigDict(extra="allow", strict=True)
    content_id: str
    formats: dict[str, _ModelFile]


def _existing(
    target: Path,
    content_id: str,
    description: dict[str, Any],
    conversions: dict[str, Conversion],
) -> dict[str, Any] | None:
    """Return the export of an earlier call with the same content if all its files are intact.

    A manifest that is broken, or names other files, is none: the export is made anew.
    """
    if not (target / "export.json").is_file() or not (target / "arch.json").is_file():
        return None
    try:
        export: dict[str, Any] = read_json(target / "export.json")
        manifest = _Manifest.model_validate(export)
        if manifest.content_id != content_id or read_json(target / "arch.json") != description:
            return None
    except (InputError, ValidationError):
        return None
    if set(manifest.formats) != set(conversions):
        return None
    for key, entry in manifest.formats.items():
        conversion, parity_found = conversions[key], entry.parity
        stated = (
            parity_found.max_rel
            if conversion.precision == "fp32"
            else parity_found.float_operations
        )
        path = target / file_name(conversion.format, conversion.precision)
        if (entry.file, entry.precision) != (path.name, conversion.precision) or stated is None:
            return None
        if not path.is_file():
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
            return None
    return export


def _checked_preprocessing(
    preprocessing: dict[str, Any], layers: Sequence[OpSpec]
) -> PreprocessingSchema:
    model = parse_model(PreprocessingSchema, preprocessing, what="preprocessing")
    channels, height, width = layers[0].in_shape
    num_classes = layers[-1].out_channels
    problems = []
    if model.input_size != (height, width):
        problems.append(
            f"input_size must be the network's {(height, width)}, got {model.input_size}"
        )
    for name, values in (("mean", model.mean), ("std", model.std)):
        if len(values) != channels:
            problems.append(
                f"{name} needs one value for each of {channels} channels, got {len(values)}"
            )
    if min(model.std) <= 0:
        problems.append(f"std must be above 0, got {model.std}")
    if len(model.class_names) != num_classes:
        problems.append(
            f"class_names needs one name for each of {num_classes} logits, "
            f"got {len(model.class_names)}"
        )
    if problems:
        raise InputError("preprocessing", problems)
    return model
