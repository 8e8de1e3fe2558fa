"""The folder a finished network is shipped in: models, what they are, what they expect."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from hwnas.arch import Arch, short_hash
from hwnas.artifacts.exported import ExportFile, ModelFilePart, NetworkFile, PreprocessingPart
from hwnas.artifacts.networks import ArchPart, OperationPart
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
from hwnas.io.journal import canonical_json, write_whole
from hwnas.ops import OpSpec
from hwnas.protocols import Wiring


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
    arch: Arch,
    weights: Path,
    images: Tensor,
    preprocessing: PreprocessingPart,
    cache: ConversionCache,
    formats: Sequence[Format] = ("onnx", "tflite"),
    precisions: Sequence[Precision] = ("fp32",),
    calibration: CalibrationData | None = None,
) -> ExportFile:
    """Write ``folder/<arch_id>/`` and return its ``export.json``.

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
    ranges: dict[Precision, CalibrationData | None] = {"int8": calibration}
    conversions = {
        file_key(name, one): Conversion.make(
            layers, reference, name, precision=one, wiring=wiring, calibration=ranges.get(one)
        )
        for one in precisions
        for name in formats
    }
    description = _description(arch, layers, wiring, preprocessing, formats)
    target, content_id = folder / arch.arch_id, _content_id(description, conversions)
    if (existing := _existing(target, content_id, description, conversions)) is not None:
        return existing
    ExportFile.path(target).unlink(missing_ok=True)  # it describes models that now change
    description.save(target)
    exported, files = {}, cache.fill(conversions.values())
    for key, conversion in conversions.items():
        payload = _described(files[conversion].read_bytes(), conversion, description)
        path = target / file_name(conversion.format, conversion.precision)
        exported[key] = _write_model(path, payload, network, images, conversion)
    export = ExportFile(
        arch_id=arch.arch_id,
        content_id=content_id,
        weights_sha256=reference.sha256,
        formats=exported,
    )
    export.save(target)
    return export


def _described(payload: bytes, conversion: Conversion, description: NetworkFile) -> bytes:
    """Return a model file with its description in it, where its format has a place for that."""
    if conversion.format != "onnx":
        return payload
    return with_metadata(
        payload,
        {
            "hwnas.arch": canonical_json(description.arch.to_json()),
            "hwnas.preprocessing": canonical_json(description.preprocessing.to_json()),
        },
    )


def _description(
    arch: Arch,
    layers: Sequence[OpSpec],
    wiring: Wiring | None,
    preprocessing: PreprocessingPart,
    formats: Sequence[Format],
) -> NetworkFile:
    """Return what ``arch.json`` holds; InputError lists what does not fit the network."""
    check_preprocessing(preprocessing, layers)
    # keys that have only one value are written too: an application relies on them
    fixed = {key: getattr(preprocessing, key) for key in ("color_order", "crop", "resize")}
    layout = {name: FORMATS[name].layouts[0] for name in formats}
    found = NetworkFile(
        arch_id=arch.arch_id,
        arch=ArchPart.of(arch),
        layers=tuple(OperationPart.of(layer) for layer in layers),
        preprocessing=preprocessing.model_copy(update={**fixed, "layout": layout}),
    )
    return found if wiring is None else found.model_copy(update={"wiring": wiring})


def _write_model(
    path: Path, payload: bytes, network: nn.Module, images: Tensor, conversion: Conversion
) -> ModelFilePart:
    write_whole(path, payload)
    found: Parity | Int8Parity
    if conversion.precision == "int8":
        found = int8_parity(network, path, images, layout=conversion.layout)
        check_int8_parity(found, path)
    else:
        found = parity(network, path, images, layout=conversion.layout)
        check_parity(found, path)
    model = ModelFilePart.from_json(
        {
            "file": path.name,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "bytes": len(payload),
            "precision": conversion.precision,
            "layout": conversion.layout,
            **model_io(path),
            "parity": found.to_json(),
            "converter": dict(converter_versions(conversion.format)),
        }
    )
    if conversion.calibration is None:
        return model
    quantizer = dict(quantizer_versions(conversion.format))
    return model.model_copy(
        update={"calibration": str(conversion.calibration), "quantizer": quantizer}
    )


def _content_id(description: NetworkFile, conversions: Mapping[str, Conversion]) -> str:
    keys = {name: conversion.key for name, conversion in conversions.items()}
    return short_hash(canonical_json([description.to_json(), keys]))


def _existing(
    target: Path,
    content_id: str,
    description: NetworkFile,
    conversions: Mapping[str, Conversion],
) -> ExportFile | None:
    """Return the export of an earlier call with the same content if all its files are intact.

    A manifest that is broken, or names other files, is none: the export is made anew.
    """
    try:
        export = ExportFile.load_if_present(target)
        known = NetworkFile.load_if_present(target)
    except InputError:
        return None
    if export is None or export.content_id != content_id or known != description:
        return None
    if set(export.formats) != set(conversions):
        return None
    for key, entry in export.formats.items():
        conversion = conversions[key]
        stated = (
            entry.parity.max_rel
            if conversion.precision == "fp32"
            else entry.parity.float_operations
        )
        path = target / file_name(conversion.format, conversion.precision)
        if (entry.file, entry.precision) != (path.name, conversion.precision) or stated is None:
            return None
        if not path.is_file():
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
            return None
    return export


def check_preprocessing(preprocessing: PreprocessingPart, layers: Sequence[OpSpec]) -> None:
    """Raise InputError, with every problem, unless images prepared so fit the network."""
    channels, height, width = layers[0].in_shape
    num_classes = layers[-1].out_channels
    problems = []
    if preprocessing.input_size != (height, width):
        problems.append(
            f"input_size must be the network's {(height, width)}, got {preprocessing.input_size}"
        )
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(values) != channels:
            problems.append(
                f"{name} needs one value for each of {channels} channels, got {len(values)}"
            )
    if min(preprocessing.std) <= 0:
        problems.append(f"std must be above 0, got {preprocessing.std}")
    if len(preprocessing.class_names) != num_classes:
        problems.append(
            f"class_names needs one name for each of {num_classes} logits, "
            f"got {len(preprocessing.class_names)}"
        )
    if problems:
        raise InputError("preprocessing", problems)
