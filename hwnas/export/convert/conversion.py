"""What is converted, by all that decides the content of a model file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from hwnas.errors import InputError
from hwnas.export.formats import (
    FORMATS,
    PRECISIONS,
    Format,
    Layout,
    Precision,
    converter_versions,
    quantizer_versions,
)
from hwnas.export.quantize.calibration import CalibrationData, NormalData
from hwnas.io.journal import canonical_json
from hwnas.ops import OpSpec
from hwnas.protocols import Wiring

RECIPE = 1
"""Raise it when this package's own part of a conversion changes what is written."""

QUANTIZATION = 1
"""The same of a quantisation."""


@dataclass(frozen=True)
class InitWeights:
    """The weights ``hwnas.nn.build.build_network(layers, wiring, seed=seed)`` draws."""

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
        return FileWeights(path, hashlib.sha256(read_weights(path)).hexdigest())

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
        if model_format not in FORMATS:
            problems.append(f"format must be one of {', '.join(FORMATS)}, got {model_format!r}")
        elif layout is not None and layout not in FORMATS[model_format].layouts:
            problems.append(
                f"layout of {model_format} must be one of "
                f"{', '.join(FORMATS[model_format].layouts)}, got {layout!r}"
            )
        if precision not in PRECISIONS:
            problems.append(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        else:
            problems += _quantising_problems(model_format, precision, calibration)
        if problems:
            raise InputError("conversion", problems)
        if PRECISIONS[precision].quantised and calibration is None:
            calibration = NormalData()
        return Conversion(
            layers,
            weights,
            model_format,
            precision,
            layout or FORMATS[model_format].layouts[0],
            wiring,
            calibration,
        )

    @property
    def is_quantised(self) -> bool:
        """Whether it is made from an fp32 file, :attr:`float_form`."""
        return PRECISIONS[self.precision].quantised

    @property
    def float_form(self) -> Conversion:
        """The fp32 file that this one is made from; itself if it is fp32."""
        if not self.is_quantised:
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
        if self.is_quantised:
            content = {
                "quantization": QUANTIZATION,
                "float": self.float_form.key,
                "precision": self.precision,
                "calibration": str(self.calibration),
                "quantizer": dict(quantizer_versions(self.format, self.precision)),
            }
            return hashlib.sha256(canonical_json(content).encode()).hexdigest()
        content = {
            "recipe": RECIPE,
            "layers": [layer.to_json() for layer in self.layers],
            "weights": str(self.weights),
            "format": self.format,
            "precision": self.precision,
            "layout": self.layout,
            "opset": FORMATS[self.format].opset,
            "converter": dict(converter_versions(self.format)),
        }
        if self.format == "tflite" and isinstance(self.weights, FileWeights):
            content["signature"] = ["image", "logits"]  # files of version 0.1 have no such names
        if self.wiring is not None:  # a chain's key is what it was before there were others
            content["wiring"] = self.wiring
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def __str__(self) -> str:
        what = str(self.layers[0])
        if len(self.layers) > 1:
            what = f"network of {len(self.layers)} operations, from {what}"
        ranges = f", ranges of {self.calibration}" if self.calibration else ""
        return (
            f"{what}, weights {str(self.weights)[:16]}, as {self.format} {self.precision} "
            f"{self.layout}{ranges}"
        )


def _quantising_problems(
    model_format: str, precision: str, calibration: CalibrationData | None
) -> list[str]:
    """Return what is wrong with asking for this precision of this format."""
    if not PRECISIONS[precision].quantised:
        if calibration is None:
            return []
        return [f"calibration is for int8, got {calibration} for {precision}"]
    if model_format in FORMATS and precision not in FORMATS[model_format].quantizers:
        return [f"format {model_format} has no {precision} files"]
    return []


def read_weights(path: Path) -> bytes:
    """Return the bytes of a weights file; InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror or error}"]) from error
