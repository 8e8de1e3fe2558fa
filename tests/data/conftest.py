from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.data import Dataset, load_dataset


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits", input_size=16)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make ``name/<place>/<n>.png`` for each place; every image is another ramp, blue is 7."""

    def make(counts: dict[str, int], name: str = "images", side: int = 12) -> Path:
        root = tmp_path / name
        colour = 0
        for place, count in counts.items():
            (root / place).mkdir(parents=True)
            for number in range(count):
                colour += 1
                ramp = np.linspace(0, 120, side) + colour
                pixels = np.full((side, side, 3), 7, np.uint8)
                pixels[..., 0] = ramp[:, None]
                pixels[..., 1] = 255 - ramp[None, :]
                Image.fromarray(pixels).save(root / place / f"{number}.png")
        return root

    return make
