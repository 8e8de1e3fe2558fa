"""Random views of training images, as functions of uniform numbers: no generator in here.

A sample's view in an epoch is one row of :func:`epoch_views`, so it depends on (seed, epoch,
sample) and on nothing else: not on the order, the batch size, the splits asked for or the workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hwnas.rng import stream

NUM_DRAWS = 5
RANDAUGMENT_OPERATIONS = 2
Draws = NDArray[np.float64]
"""``(num_samples, NUM_DRAWS)`` uniform numbers in [0, 1)."""


@dataclass(frozen=True)
class Views:
    """How samples look in an epoch: a row of ``draws`` each, and a seed for RandAugment.

    ``magnitude`` is RandAugment's (0..30); 0 leaves it out.
    """

    draws: Draws
    seeds: NDArray[np.int64]
    magnitude: int = 0

    def of(self, rows: NDArray[np.int64]) -> Views:
        """Return the views of some samples."""
        return Views(self.draws[rows], self.seeds[rows], self.magnitude)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to an image of a data set without changing its class.

    ``shift`` is the largest displacement as a fraction of the side, ``rotate_deg`` the largest
    rotation in degrees either way, ``zoom`` the largest relative change of size either way;
    these act on images held in memory. ``min_area`` is the smallest part of a large image that a
    random crop keeps (Szegedy et al., CVPR 2015, §6).
    """

    mirror: bool
    shift: float = 0.125
    rotate_deg: float = 0.0
    zoom: float = 0.0
    min_area: float = 0.25


PHOTOGRAPHS = Augmentation(mirror=True)
CHARACTERS = Augmentation(mirror=False, shift=0.0625, rotate_deg=10.0, zoom=0.1)


def epoch_views(seed: int, epoch: int, num_samples: int, magnitude: int = 0) -> Views:
    """Return what decides how each of all ``num_samples`` looks in this epoch."""
    draws = stream(seed, "augment", epoch).random((num_samples, NUM_DRAWS))
    seeds = stream(seed, "randaugment", epoch).integers(2**31, size=num_samples)
    return Views(draws, seeds, magnitude)


def randaugment(image: Tensor, magnitude: int, seed: int) -> Tensor:
    """Change one uint8 image (3, S, S) by two random operations (Cubuk et al., CVPRW 2020)."""
    from torchvision.transforms import v2  # takes seconds to import

    # torchvision draws from torch's global generator, which must stay as it was
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        changed: Tensor = v2.RandAugment(RANDAUGMENT_OPERATIONS, magnitude)(image)
    return changed


def shift(pixels: Tensor, draws: Draws, augmentation: Augmentation) -> Tensor:
    """Mirror and shift uint8 images (N, S, S, 3) by whole pixels: :func:`warp` without turn, zoom.

    It copies pixels instead of interpolating them, and is several times as fast.
    """
    size = pixels.shape[1]
    most = math.ceil(augmentation.shift * size)
    padded = functional.pad(pixels, (0, 0, most, most, most, most))
    moves = np.rint((2.0 * draws[:, 1:3] - 1.0) * augmentation.shift * size).astype(np.int64) + most
    columns = np.broadcast_to(np.arange(size), (len(draws), size))
    if augmentation.mirror:
        columns = np.where(draws[:, :1] < 0.5, columns[:, ::-1], columns)
    rows = torch.from_numpy(moves[:, 1:2] + np.arange(size)).to(pixels.device)
    places = torch.from_numpy(columns + moves[:, :1]).to(pixels.device)
    images = torch.arange(len(draws), device=pixels.device)
    return padded[images[:, None, None], rows[:, :, None], places[:, None, :]]


def warp(images: Tensor, draws: Draws, augmentation: Augmentation) -> Tensor:
    """Mirror, turn, zoom and shift float images (N, C, S, S), each by its row of ``draws``.

    Shifts are whole pixels, so that without turn and zoom no pixel is blurred; what comes in from
    outside is black. Pad-and-crop of He et al. (CVPR 2016, §4.2) is the case without turn and zoom.
    """
    size = images.shape[-1]
    centred = 2.0 * draws - 1.0
    sign = np.where(draws[:, 0] < 0.5, -1.0, 1.0) if augmentation.mirror else np.ones(len(draws))
    pixels = np.rint(centred[:, 1:3] * augmentation.shift * size)
    angle = centred[:, 3] * math.radians(augmentation.rotate_deg)
    scale = 1.0 / (1.0 + centred[:, 4] * augmentation.zoom)
    # rows map output to input coordinates, both from -1 to 1 over the side
    theta = np.empty((len(draws), 2, 3))
    theta[:, 0, 0] = sign * np.cos(angle) * scale
    theta[:, 0, 1] = -np.sin(angle) * scale
    theta[:, 1, 0] = sign * np.sin(angle) * scale
    theta[:, 1, 1] = np.cos(angle) * scale
    theta[:, :, 2] = 2.0 * pixels / size
    matrices = torch.from_numpy(theta.astype(np.float32)).to(images.device)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def crop_box(
    width: int, height: int, draw: NDArray[np.float64], augmentation: Augmentation
) -> tuple[float, float, float, float]:
    """Return the (left, top, right, bottom) of a random crop of an image, in pixels.

    Its area is uniform in [``min_area``, 1] of the image and its aspect ratio log-uniform in
    [3/4, 4/3], both cut where the image ends.
    """
    area = width * height * (augmentation.min_area + draw[3] * (1.0 - augmentation.min_area))
    aspect = math.exp((2.0 * draw[4] - 1.0) * math.log(4.0 / 3.0))
    crop_width = min(float(width), math.sqrt(area * aspect))
    crop_height = min(float(height), math.sqrt(area / aspect))
    left, top = draw[1] * (width - crop_width), draw[2] * (height - crop_height)
    return left, top, left + crop_width, top + crop_height
