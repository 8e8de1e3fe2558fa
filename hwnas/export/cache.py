"""The content-addressed cache of converted models that profile, export and bench share.

``<root>/conversions/<key>.json`` names a file of ``blobs/`` by its SHA-256. A blob is written
before the entry that names it, both whole, and never changes: a kill leaves either no entry or a
complete one, and two processes that fill one cache cannot mix their files. torch is imported only
when something is missing.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from hwnas.errors import HwnasError, InputError
from hwnas.executor import TaskError, available_cores, run_tasks
from hwnas.export.calibration import CalibrationData, NormalData
from hwnas.export.formats import (
    LAYOUTS,
    ONNX_OPSET,
    PRECISIONS,
    ConversionError,
    Format,
    Layout,
    Precision,
    converter_versions,
    quantizer_versions,
)
from hwnas.files import FileModel
from hwnas.interfaces import Wiring
from hwnas.journal import canonical_json, write_json, write_whole
from hwnas.ops import OpSpec

if TYPE_CHECKING:
    from torch import nn

RECIPE = 1
"""Raise it when this package's own part of a conversion changes what is written."""

QUANTIZATION = 1
"""The same of a quantisation."""


@dataclass(frozen=True)
class InitWeights:
    """The weights ``hwnas.network.build_network(layers, wiring, seed=seed)`` draws."""

    seed: int = 0

    def __str__(self) -> str:
        return f"init:{self.seed}"


@dataclass(frozen=True)
class FileWeights:
    """A safetensors file of ``build_network(layers, wiring)``'s state, known by its content."""

    path: Path = field(compare=False)
    sha256: str

    @staticmethod
    def of(path: Path) -> FileWeights:
        """Return the reference to what ``path`` holds now.

        Raises:
            InputError: the file cannot be read.
        """
        return FileWeights(path, hashlib.sha256(_read_weights(path)).hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.sha256}"


WeightsRef: TypeAlias = InitWeights | FileWeights


@dataclass(frozen=True)
class Conversion:
    """One model file by all that decides its content. Build it with :meth:`make`.

    ``wiring`` says whose outputs each of ``layers`` takes, None: they are a chain. An int8 file is
    made from the fp32 one of the same network, :attr:`float_form`, and ``calibration``.
    """

    layers: tuple[OpSpec, ...]
    weights: WeightsRef
    format: Format
    precision: Precision
    layout: Layout
    wiring: Wiring | None = None
    calibration: CalibrationData | None = None

    @staticmethod
    def make(
        layers: Iterable[OpSpec],
        weights: WeightsRef,
        model_format: Format,
        *,
        precision: Precision = "fp32",
        layout: Layout | None = None,
        wiring: Wiring | None = None,
        calibration: CalibrationData | None = None,
    ) -> Conversion:
        """Return the checked conversion; ``layout`` None is the format's usual one.

        ``calibration`` None is :class:`NormalData` for int8, which is for timing only.

        Raises:
            InputError: lists every value that is not allowed, with what is.
        """
        layers, problems = tuple(layers), []
        if not layers:
            problems.append("layers: at least one operation is needed, got none")
        if model_format not in LAYOUTS:
            problems.append(f"format must be one of {', '.join(LAYOUTS)}, got {model_format!r}")
        elif layout is not None and layout not in LAYOUTS[model_format]:
            problems.append(f"layout of {model_format} must be one of "
                            f"{', '.join(LAYOUTS[model_format])}, got {layout!r}")
        if precision not in PRECISIONS:
            problems.append(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        if precision == "fp32" and calibration is not None:
            problems.append(f"calibration is for int8, got {calibration} for fp32")
        if problems:
            raise InputError("conversion", problems)
        if precision == "int8" and calibration is None:
            calibration = NormalData()
        return Conversion(layers, weights, model_format, precision,
                          layout or LAYOUTS[model_format][0], wiring, calibration)

    @property
    def float_form(self) -> Conversion:
        """The fp32 file that this one is made from; itself if it is fp32."""
        if self.precision == "fp32":
            return self
        return replace(self, precision="fp32", calibration=None)

    @property
    def num_inputs(self) -> int:
        """How many tensors the model takes: a single operation may take several."""
        return self.layers[0].num_inputs if len(self.layers) == 1 else 1

    @cached_property
    def key(self) -> str:
        """64 hex digits: SHA-256 of all that decides the content, versions of converters too."""
        content: dict[str, Any]
        if self.precision == "int8":
            content = {
                "quantization": QUANTIZATION,
                "float": self.float_form.key,
                "precision": self.precision,
                "calibration": str(self.calibration),
                "quantizer": dict(quantizer_versions(self.format)),
            }
            return hashlib.sha256(canonical_json(content).encode()).hexdigest()
        content = {
            "recipe": RECIPE,
            "layers": [layer.to_json() for layer in self.layers],
            "weights": str(self.weights),
            "format": self.format,
            "precision": self.precision,
            "layout": self.layout,
            "opset": ONNX_OPSET if self.format == "onnx" else None,
            "converter": dict(converter_versions(self.format)),
        }
        if self.wiring is not None:  # a chain's key is what it was before there were others
            content["wiring"] = self.wiring
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def __str__(self) -> str:
        what = str(self.layers[0])
        if len(self.layers) > 1:
            what = f"network of {len(self.layers)} operations, from {what}"
        ranges = f", ranges of {self.calibration}" if self.calibration else ""
        return (f"{what}, weights {str(self.weights)[:16]}, as {self.format} {self.precision} "
                f"{self.layout}{ranges}")


class EntryModel(FileModel):
    """An entry of the cache: which blob a key means, and what it is, for a reader's eye."""

    schema_: Literal[1] = Field(alias="schema")
    description: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: int


def default_root() -> Path:
    """Return the cache's folder: $HWNAS_CACHE, or hwnas under $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("HWNAS_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "hwnas"


class ConversionCache:
    """Converted models by :attr:`Conversion.key`; what is damaged counts as missing.

    ``made`` counts the files that this object wrote, by precision: an int8 file that needed its
    fp32 one counts in both.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root
        self.made: dict[Precision, int] = dict.fromkeys(PRECISIONS, 0)

    def path(self, conversion: Conversion) -> Path | None:
        """Return the whole, verified model file, or None if it has to be converted."""
        try:
            entry = EntryModel.model_validate_json(_entry_path(self.root, conversion).read_bytes())
            blob = _blob_path(self.root, entry.sha256, conversion.format)
            digest = hashlib.sha256(blob.read_bytes()).hexdigest()
        except (OSError, ValidationError):  # what hinders reading stops the writing, with a message
            return None
        return blob if digest == entry.sha256 else None

    def fill(
        self,
        conversions: Iterable[Conversion],
        *,
        workers: int | None = None,
        on_done: Callable[[Conversion], None] | None = None,
    ) -> dict[Conversion, Path]:
        """Convert what is missing and return the file of every conversion, in their order.

        ``workers`` (None: the cores) is the most processes used; a small job runs in this one.
        ``on_done`` is called once for each conversion as its file is there, cached ones first.

        Raises:
            ConversionError: names every conversion that failed; all others are kept.
        """
        wanted = list(dict.fromkeys(conversions))
        found: dict[Conversion, Path] = {}
        failures: list[str] = []
        try:
            for conversion, outcome in self._outcomes(wanted, workers):
                if isinstance(outcome, Path):
                    found[conversion] = outcome
                    if on_done:
                        on_done(conversion)
                else:
                    failures.append(f"{conversion}: {outcome}")
        except TaskError as error:
            failures.append(str(error))
        if failures:
            raise ConversionError(_failure_text(failures, len(found), len(wanted), self.root))
        return {conversion: found[conversion] for conversion in wanted}

    def _outcomes(
        self, wanted: list[Conversion], workers: int | None
    ) -> Iterator[tuple[Conversion, Path | str]]:
        """Yield each conversion with its file, or with the reason why there is none."""
        missing = []
        for conversion in wanted:
            cached = self.path(conversion)
            if cached is None:
                missing.append(conversion)
            else:
                yield conversion, cached
        # int8 files are made from fp32 ones, which then are in the cache as well
        sources = {conversion: conversion.float_form for conversion in missing
                   if conversion.precision != "fp32"}
        floats = [c for c in dict.fromkeys([*missing, *sources.values()]) if c.precision == "fp32"
                  and (c in missing or self.path(c) is None)]
        failed = {}
        for conversion, outcome in self._make(floats, workers):
            if isinstance(outcome, str):
                failed[conversion] = outcome
            if conversion in missing:
                yield conversion, outcome
        for conversion, source in sources.items():
            if source in failed:
                yield conversion, failed[source]
        yield from self._make([c for c, source in sources.items() if source not in failed], workers)

    def _make(
        self, conversions: list[Conversion], workers: int | None
    ) -> Iterator[tuple[Conversion, Path | str]]:
        """Yield each conversion, of which none is cached, with its new file or the reason."""
        # biggest first, so that the processes end together
        missing = sorted(conversions, key=_seconds, reverse=True)
        for conversion, outcome in self._made(missing, min(workers or available_cores(),
                                                           len(missing))):
            self.made[conversion.precision] += isinstance(outcome, Path)
            yield conversion, outcome

    def _made(
        self, missing: list[Conversion], count: int
    ) -> Iterator[tuple[Conversion, Path | str]]:
        if not _pays_off(missing, count):
            for conversion in missing:
                yield conversion, _convert(self.root, conversion)
            return
        by_task = {f"{conversion} [{conversion.key[:12]}]": conversion for conversion in missing}
        tasks = {name: (self.root, conversion) for name, conversion in by_task.items()}
        for name, outcome in run_tasks(_convert_in_worker, tasks, workers=count):
            yield by_task[name], outcome


_LAYER_SECONDS: Mapping[Format, float] = {"onnx": 0.02, "tflite": 1.0}
_QUANTIZE_SECONDS = 0.02
_POOL_SECONDS = 4.0  # starting processes that import torch and a converter once more


def _seconds(conversion: Conversion) -> float:
    """Estimate how long a conversion takes; the graph's size decides, not the tensors'."""
    per_layer = (_LAYER_SECONDS[conversion.format] if conversion.precision == "fp32"
                 else _QUANTIZE_SECONDS)
    return len(conversion.layers) * per_layer


def _pays_off(conversions: Sequence[Conversion], workers: int) -> bool:
    """Return whether processes save more than it takes to start them."""
    if workers <= 1:
        return False
    return sum(map(_seconds, conversions)) * (1 - 1 / workers) > _POOL_SECONDS


def _convert_in_worker(root: Path, conversion: Conversion) -> Path | str:
    if conversion.precision == "fp32":  # quantising needs none of what is imported
        _settle_worker(conversion.format)
    return _convert(root, conversion)


@functools.cache
def _settle_worker(model_format: Format) -> None:
    """Once a process: import the converter and keep its objects out of garbage collections.

    A full collection walks the million objects that torch and jax hold; without it a TFLite
    conversion takes an eighth less time.
    """
    import torch

    torch.set_num_threads(1)  # the processes are as many as the cores
    if model_format == "tflite":
        from hwnas.export.tflite import load_converter

        load_converter()
    gc.freeze()


def _convert(root: Path, conversion: Conversion) -> Path | str:
    """Convert, add the entry, and return its file, or the reason (text crosses processes)."""
    try:
        payload = _model_bytes(root, conversion)
        digest = hashlib.sha256(payload).hexdigest()
        blob = _blob_path(root, digest, conversion.format)
        write_whole(blob, payload)
        entry = EntryModel(schema=1, description=str(conversion), sha256=digest,
                           bytes=len(payload))
        write_json(_entry_path(root, conversion), entry.model_dump(by_alias=True))
    except HwnasError as error:
        return str(error)
    return blob


def _model_bytes(root: Path, conversion: Conversion) -> bytes:
    if conversion.calibration is not None:
        return _quantized_bytes(root, conversion, conversion.calibration)
    network = _network(conversion)
    in_shape, num_inputs = conversion.layers[0].in_shape, conversion.num_inputs
    if conversion.format == "onnx":
        from hwnas.export.onnx import onnx_bytes

        return onnx_bytes(network, in_shape, num_inputs=num_inputs)
    from hwnas.export.tflite import tflite_bytes

    return tflite_bytes(network, in_shape, layout=conversion.layout, num_inputs=num_inputs)


def _quantized_bytes(root: Path, conversion: Conversion, calibration: CalibrationData) -> bytes:
    source = ConversionCache(root).path(conversion.float_form)
    if source is None:
        raise ConversionError("its fp32 file has gone from the cache since it was put there")
    payload = source.read_bytes()
    samples = calibration.samples(conversion.layers[0].in_shape, conversion.num_inputs)
    if conversion.format == "onnx":
        from hwnas.export.quantize_onnx import quantized_onnx

        return quantized_onnx(payload, samples)
    from hwnas.export.quantize_tflite import quantized_tflite

    return quantized_tflite(payload, samples, layout=conversion.layout)


def _network(conversion: Conversion) -> nn.Module:
    from hwnas.network import build_network

    weights = conversion.weights
    if isinstance(weights, InitWeights):
        return build_network(conversion.layers, conversion.wiring, seed=weights.seed)
    from safetensors import SafetensorError
    from safetensors.torch import load

    payload = _read_weights(weights.path)
    if hashlib.sha256(payload).hexdigest() != weights.sha256:
        raise InputError(str(weights.path), ["has changed since its SHA-256 was taken"],
                         "repeat the command")
    network = build_network(conversion.layers, conversion.wiring)
    try:
        network.load_state_dict(load(payload))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(str(weights.path), [f"does not hold this network's weights: {error}"],
                         "give the weights file of the same architecture") from error
    return network


def _read_weights(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror or error}"]) from error


def _entry_path(root: Path, conversion: Conversion) -> Path:
    return root / "conversions" / f"{conversion.key}.json"


def _blob_path(root: Path, digest: str, model_format: Format) -> Path:
    return root / "blobs" / f"{digest}.{model_format}"


def _failure_text(failures: Sequence[str], num_done: int, num_wanted: int, root: Path) -> str:
    lines = [f"{num_wanted - num_done} of {num_wanted} conversions failed; the other {num_done} "
             f"are kept in {root}:"]
    lines += [f"  - {failure}" for failure in failures]
    lines.append("Next: repair what is named; a repeated command converts only what is missing.")
    return "\n".join(lines)
