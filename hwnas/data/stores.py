"""Images at the input size, batch by batch: from memory, or decoded by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils import data

from hwnas.data.augment import Augmentation, Draws, crop_box, warp
from hwnas.data.sources import Reader
from hwnas.data.splits import Rows
from hwnas.errors import InputError
from hwnas.executor import available_cores

Pixels = NDArray[np.uint8]

MAX_WORKERS = 16  # decoding processes per pass; more gain little and cost memory


class ImageStore(Protocol):
    """Serves images of all samples of a data set."""

    def load(
        self, batches: Sequence[Rows], draws: Draws | None, torch_device: torch.device
    ) -> Iterator[Tensor]:
        """Yield one float32 tensor (N, 3, S, S), 0..255, per batch of rows.

        ``draws`` holds a row per *sample of the data set*; None gives the plain images.
        """


def square(image: Image.Image, size: int) -> Pixels:
    """Return the largest centred square of an RGB image, resized bilinearly, (size, size, 3).

    This is *the* preprocessing of every image that is not augmented; shrinking is antialiased.
    """
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))


@dataclass(frozen=True)
class MemoryStore:
    """All images as one uint8 tensor (num_samples, S, S, 3); views are made on the torch device."""

    pixels: Tensor
    augmentation: Augmentation

    def load(
        self, batches: Sequence[Rows], draws: Draws | None, torch_device: torch.device
    ) -> Iterator[Tensor]:
        """Yield the batches (see :class:`ImageStore`)."""
        for rows in batches:
            picked = self.pixels[torch.from_numpy(rows)].to(torch_device)
            images = picked.permute(0, 3, 1, 2).float()
            yield images if draws is None else warp(images, draws[rows], self.augmentation)


def read_into_memory(
    reader: Reader, num_samples: int, size: int, augmentation: Augmentation
) -> tuple[MemoryStore, list[str]]:
    """Decode every image once; return the store and one line per image that cannot be decoded."""
    pixels = np.zeros((num_samples, size, size, 3), dtype=np.uint8)

    def fill(row: int) -> str | None:
        try:
            pixels[row] = square(reader(row), size)
        except InputError as error:
            return f"{error.what} ({error.problems[0]})"
        return None

    # threads suffice: Pillow decodes and resizes without holding the interpreter's lock
    with ThreadPoolExecutor(available_cores()) as pool:
        failures = [problem for problem in pool.map(fill, range(num_samples)) if problem]
    return MemoryStore(torch.from_numpy(pixels), augmentation), failures


@dataclass(frozen=True)
class _Decoder(data.Dataset[tuple[Tensor, list[str]]]):
    """What a worker runs: one item is a whole batch, with the problems met in it."""

    reader: Reader
    size: int
    augmentation: Augmentation

    def __getitem__(self, batch: tuple[Rows, Draws | None]) -> tuple[Tensor, list[str]]:
        rows, draws = batch
        pixels = np.zeros((len(rows), self.size, self.size, 3), dtype=np.uint8)
        problems = []
        for place, row in enumerate(rows.tolist()):
            try:
                image = self.reader(row)
            except InputError as error:
                problems.append(f"{error.what}: {error.problems[0]}")
                continue
            pixels[place] = (square(image, self.size) if draws is None
                             else self._view(image, draws[place]))
        return torch.from_numpy(pixels), problems

    def _view(self, image: Image.Image, draw: NDArray[np.float64]) -> Pixels:
        box = crop_box(image.width, image.height, draw, self.augmentation)
        view = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box))
        return view[:, ::-1] if self.augmentation.mirror and draw[0] < 0.5 else view


@dataclass(frozen=True)
class LazyStore:
    """Images that stay on disk: decoded, cropped and resized when used, by worker processes."""

    reader: Reader
    size: int
    augmentation: Augmentation

    def load(
        self, batches: Sequence[Rows], draws: Draws | None, torch_device: torch.device
    ) -> Iterator[Tensor]:
        """Yield the batches (see :class:`ImageStore`).

        Raises:
            InputError: images of a batch cannot be decoded; names the files.
        """
        loader = data.DataLoader(
            _Decoder(self.reader, self.size, self.augmentation),
            batch_size=None,  # an item is a batch already
            sampler=[(rows, None if draws is None else draws[rows]) for rows in batches],
            num_workers=min(available_cores(), MAX_WORKERS, len(batches)),
            pin_memory=torch_device.type == "cuda",
            generator=torch.Generator(),  # else it would draw from the global one
        )
        for pixels, problems in loader:
            if problems:
                raise InputError("images", problems, "repair or remove these files")
            yield pixels.to(torch_device, non_blocking=True).permute(0, 3, 1, 2).float()
