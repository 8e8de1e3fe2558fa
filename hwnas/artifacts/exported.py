"""Exports: ``export/index.json`` of a run; ``export.json`` and ``arch.json`` beside model files."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hwnas.artifacts.base import Artifact, Count, FileName, Id, Part
from hwnas.artifacts.networks import ArchPart, OperationPart

Channels = Annotated[tuple[float, ...], Field(min_length=1, max_length=4)]
Size = Annotated[int, Field(ge=1)]


class TensorPart(Part):
    """A model's input or output: shape with the batch first, dtype as numpy spells it.

    An integer q of an int8 model means ``scale * (q - zero_point)``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class ParityPart(Part):
    """How far a model file's outputs are from the trained network's over ``num_images`` images.

    fp32: ``max_abs`` is max|model - network|, ``max_rel`` that over max|network|. int8: ``sqnr_db``
    is the signal to quantisation noise ratio of the logits (None: no noise), ``float_operations``
    counts by kind the operations that its runtime still computes in float. ``top1_agreement`` is
    the share of images with the same class.
    """

    max_abs: Annotated[float, Field(ge=0)] | None = None
    max_rel: Annotated[float, Field(ge=0)] | None = None
    sqnr_db: float | None = None
    num_images: Count
    top1_agreement: Annotated[float, Field(ge=0, le=1)]
    float_operations: dict[str, int] | None = None


class FileScorePart(Part):
    """Top-1 (a fraction) of a model file on a split, executed by its runtime image by image."""

    top1: float
    num_images: Count
    source: str = "file"


class ModelFilePart(Part):
    """One model file: its name, hash, size in bytes, inputs and outputs, parity, converter.

    ``calibration`` describes the images that an int8 file's ranges were measured on, ``quantizer``
    has the versions of what quantised it, ``val`` is its accuracy; fp32 files have neither.
    """

    file: FileName
    sha256: str
    bytes: Count
    precision: str
    layout: str
    inputs: tuple[TensorPart, ...] = ()
    outputs: tuple[TensorPart, ...] = ()
    parity: ParityPart
    converter: dict[str, str] = Field(default_factory=dict)
    calibration: str | None = None
    quantizer: dict[str, str] | None = None
    val: FileScorePart | None = None


ModelFiles = dict[str, ModelFilePart]
"""Model files by ``hwnas.export.bundle.file_key``: ``onnx``, ``tflite``, ``onnx-int8``, ..."""


class ExportFile(Artifact):
    """``export.json`` in the folder of one network: its model files.

    ``content_id`` is a hash of all that decides them, ``weights_sha256`` that of the weights file.
    """

    FILE: ClassVar[str] = "export.json"
    WRITTEN_BY: ClassVar[str] = "hwnas export"

    arch_id: Id
    content_id: Id
    weights_sha256: str
    formats: ModelFiles


class ExportedNetwork(Part):
    """The model files of a finalist, in ``export/<arch_id>/``."""

    arch_id: Id
    network_id: Id
    formats: ModelFiles


class ExportIndexFile(Artifact):
    """``export/index.json``: the model files of all finalists of a run."""

    FILE: ClassVar[str] = "export/index.json"
    WRITTEN_BY: ClassVar[str] = "hwnas export --run"

    networks: tuple[ExportedNetwork, ...]


class PreprocessingPart(Part):
    """What an application does to an image before the model, in this order.

    Crop the largest centred square, resize to ``input_size`` (height, width), scale pixels to
    0..1, order the channels, subtract ``mean`` and divide by ``std`` per channel. ``class_names``
    are in the order of the logits; ``layout`` is the order of the axes by format (nchw, nhwc).
    """

    input_size: tuple[Size, Size]
    mean: Channels
    std: Channels
    color_order: Literal["RGB"] = "RGB"
    crop: Literal["center-square"] = "center-square"
    resize: Literal["bilinear-antialias"] = "bilinear-antialias"
    class_names: tuple[str, ...]
    layout: dict[str, str] = Field(default_factory=dict)


class NetworkFile(Artifact):
    """``arch.json`` beside exported models: the network they compute and what it expects.

    ``wiring`` has for each of ``layers`` the positions of those whose outputs it takes, -1 for the
    image; None: each takes the output of the one before it.
    """

    FILE: ClassVar[str] = "arch.json"
    WRITTEN_BY: ClassVar[str] = "hwnas export"

    arch_id: Id
    arch: ArchPart
    layers: tuple[OperationPart, ...]
    wiring: tuple[tuple[int, ...], ...] | None = None
    preprocessing: PreprocessingPart
