"""The data that quantisation measures activation ranges on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import InputError
from hwnas.ops import Shape
from hwnas.rng import stream

Array = NDArray[Any]


@dataclass(frozen=True)
class NormalData:
    """Standard normal tensors drawn from ``seed``, for models that are only timed.

    Ranges do not change how long integer kernels take; a timed operation has random weights and no
    images of its own. The values of accuracy-bearing models need :class:`ImageData`.
    """

    seed: int = 0
    count: int = 4

    def samples(self, in_shape: Shape, num_inputs: int = 1) -> Iterator[list[Array]]:
        """Yield ``count`` times the inputs of a model, float32 (1, C, H, W) each."""
        for number in range(self.count):
            yield [
                stream(self.seed, "calibration", number, place)
                .standard_normal((1, *in_shape)).astype(np.float32)
                for place in range(num_inputs)
            ]

    def __str__(self) -> str:
        return f"{self.count} normal tensors, seed {self.seed}"


@dataclass(frozen=True)
class ImageData:
    """Preprocessed training images in a .npy file, float32 (N, C, H, W), known by its content."""

    path: Path = field(compare=False)
    sha256: str
    count: int

    @staticmethod
    def of(path: Path) -> ImageData:
        """Return the reference to what ``path`` holds now.

        Raises:
            InputError: it is no such file, or holds a value that is not finite.
        """
        payload = _read(path)
        return ImageData(path, hashlib.sha256(payload).hexdigest(), len(_images(path)))

    def samples(self, in_shape: Shape, num_inputs: int = 1) -> Iterator[list[Array]]:
        """Yield each image as a model's one input, float32 (1, C, H, W).

        Raises:
            InputError: the file has changed, or its images do not fit the model.
        """
        if hashlib.sha256(_read(self.path)).hexdigest() != self.sha256:
            raise InputError(str(self.path), ["has changed since its SHA-256 was taken"],
                             "repeat the command")
        images = _images(self.path)
        problems = []
        if images.shape[1:] != tuple(in_shape):
            problems.append(f"holds images of {images.shape[1:]}, the model takes {in_shape}")
        if num_inputs != 1:
            problems.append(f"images calibrate models of one input, this one has {num_inputs}")
        if problems:
            raise InputError(str(self.path), problems)
        for number in range(len(images)):
            yield [images[number : number + 1]]

    def __str__(self) -> str:
        return f"{self.count} training images, sha256:{self.sha256}"


CalibrationData: TypeAlias = NormalData | ImageData


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror or error}"]) from error


def _images(path: Path) -> Array:
    try:
        images: Array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise InputError(str(path), [f"is not a .npy file: {error}"]) from error
    if images.dtype != np.float32 or images.ndim != 4 or not len(images):
        raise InputError(str(path), ["calibration images are float32 (N, C, H, W), at least one, "
                                     f"got {images.dtype} {images.shape}"])
    if not np.isfinite(images).all():
        raise InputError(str(path), ["holds values that are not finite"])
    return images
