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

from hwnas.data.augment import Augmentation, Views, crop_box, randaugment, shift, warp
from hwnas.data.sources import Reader
from hwnas.data.splits import Rows
from hwnas.errors import InputError
from hwnas.executor.local import available_cores

Pixels = NDArray[np.uint8]

MAX_WORKERS = 16  # decoding processes per pass; more gain little and cost memory


class ImageStore(Protocol):
    """Serves images of all samples of a data set."""

    def load(
        self, batches: Sequence[Rows], views: Views | None, torch_device: torch.device
    ) -> Iterator[Tensor]:
        """Yield one float32 tensor (N, 3, S, S), 0..255, per batch of rows.

        ``views`` are those of *all samples of the data set*; None gives the plain images.
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
        self, batches: Sequence[Rows], views: Views | None, torch_device: torch.device
    ) -> Iterator[Tensor]:
        """Yield the batches (see :class:`ImageStore`)."""
        for rows in batches:
            picked = self.pixels[torch.from_numpy(rows)].to(torch_device)
            yield (
                picked.permute(0, 3, 1, 2).float()
                if views is None
                else self._seen(picked, views.of(rows))
            )

    def _seen(self, pixels: Tensor, views: Views) -> Tensor:
        if views.magnitude:
            images = [
                randaugment(image, views.magnitude, seed)
                for image, seed in zip(
                    pixels.permute(0, 3, 1, 2), views.seeds.tolist(), strict=True
                )
            ]
            pixels = torch.stack(images).permute(0, 2, 3, 1)
        how = self.augmentation
        if how.rotate_deg == how.zoom == 0:
            return shift(pixels, views.draws, how).permute(0, 3, 1, 2).float()
        return warp(pixels.permute(0, 3, 1, 2).float(), views.draws, how)


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

    def __getitem__(self, batch: tuple[Rows, Views | None]) -> tuple[Tensor, list[str]]:
        rows, views = batch
        pixels = np.zeros((len(rows), self.size, self.size, 3), dtype=np.uint8)
        problems = []
        for place, row in enumerate(rows.tolist()):
            try:
                image = self.reader(row)
            except InputError as error:
                problems.append(f"{error.what}: {error.problems[0]}")
                continue
            pixels[place] = (
                square(image, self.size) if views is None else self._view(image, views, place)
            )
        return torch.from_numpy(pixels), problems

    def _view(self, image: Image.Image, views: Views, place: int) -> Pixels:
        draw = views.draws[place]
        box = crop_box(image.width, image.height, draw, self.augmentation)
        view = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box))
        view = view[:, ::-1] if self.augmentation.mirror and draw[0] < 0.5 else view
        if not views.magnitude:
            return view
        tensor = torch.from_numpy(view.copy()).permute(2, 0, 1)
        seed = int(views.seeds[place])
        return randaugment(tensor, views.magnitude, seed).permute(1, 2, 0).numpy()


@dataclass(frozen=True)
class LazyStore:
    """Images that stay on disk: decoded, cropped and resized when used, by worker processes."""

    reader: Reader
    size: int
    augmentation: Augmentation

    def load(
        self, batches: Sequence[Rows], views: Views | None, torch_device: torch.device
    ) -> Iterator[Tensor]:
        """Yield the batches (see :class:`ImageStore`).

        Raises:
            InputError: images of a batch cannot be decoded; names the files.
        """
        loader = data.DataLoader(
            _Decoder(self.reader, self.size, self.augmentation),
            batch_size=None,  # an item is a batch already
            sampler=[(rows, None if views is None else views.of(rows)) for rows in batches],
            num_workers=min(available_cores(), MAX_WORKERS, len(batches)),
            pin_memory=torch_device.type == "cuda",
            generator=torch.Generator(),  # else it would draw from the global one
        )
        for pixels, problems in loader:
            if problems:
                raise InputError("images", problems, "repair or remove these files")
            yield pixels.to(torch_device, non_blocking=True).permute(0, 3, 1, 2).float()
