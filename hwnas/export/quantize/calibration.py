"""The data that quantisation measures activation ranges on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
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
                .standard_normal((1, *in_shape))
                .astype(np.float32)
                for place in range(num_inputs)
            ]

    def __str__(self) -> str:
        return f"{self.count} normal tensors, seed {self.seed}"


@dataclass(frozen=True)
class ImageData:
    """Preprocessed training images, float32 (N, C, H, W), known by their content."""

    images: Array = field(compare=False, repr=False)
    sha256: str
    count: int

    @staticmethod
    def of(images: Array) -> ImageData:
        """Return these images as calibration data.

        Raises:
            InputError: there are none, or they are no finite float32 (N, C, H, W).
        """
        problems = []
        if images.dtype != np.float32 or images.ndim != 4 or not len(images):
            problems.append(
                f"must be float32 (N, C, H, W), at least one, got {images.dtype} {images.shape}"
            )
        elif not np.isfinite(images).all():
            problems.append("must be finite")
        if problems:
            raise InputError("calibration images", problems)
        content = np.ascontiguousarray(images)
        digest = hashlib.sha256(str(content.shape).encode() + content.tobytes()).hexdigest()
        return ImageData(content, digest, len(content))

    def samples(self, in_shape: Shape, num_inputs: int = 1) -> Iterator[list[Array]]:
        """Yield each image as a model's one input, float32 (1, C, H, W).

        Raises:
            InputError: the images do not fit the model.
        """
        problems = []
        if self.images.shape[1:] != tuple(in_shape):
            problems.append(f"are of shape {self.images.shape[1:]}, the model takes {in_shape}")
        if num_inputs != 1:
            problems.append(f"are for models of one input, this one has {num_inputs}")
        if problems:
            raise InputError("calibration images", problems)
        for number in range(self.count):
            yield [self.images[number : number + 1]]

    def __str__(self) -> str:
        return f"{self.count} images, sha256:{self.sha256}"


CalibrationData: TypeAlias = NormalData | ImageData
