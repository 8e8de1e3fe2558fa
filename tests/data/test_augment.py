from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwnas.data.augment import (
    NUM_DRAWS,
    PHOTOGRAPHS,
    Augmentation,
    crop_box,
    epoch_views,
    randaugment,
    shift,
    warp,
)

SHIFTS = Augmentation(mirror=False, shift=0.25)
STILL = 0.5  # the draw in the middle: no shift, turn or zoom


def _images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(1, 255, (1, 3, 8, 8))).float()


def _draws(**values: float) -> np.ndarray:
    draws = np.full((1, NUM_DRAWS), STILL)
    for name, value in values.items():
        draws[0, ("mirror", "x", "y", "angle", "zoom").index(name)] = value
    return draws


def test_draws_depend_on_seed_and_epoch_only() -> None:
    first = epoch_views(1, 2, 9)
    np.testing.assert_array_equal(first.draws, epoch_views(1, 2, 9).draws)
    np.testing.assert_array_equal(first.seeds, epoch_views(1, 2, 9).seeds)
    assert not np.array_equal(first.draws, epoch_views(1, 3, 9).draws)
    assert not np.array_equal(first.draws, epoch_views(2, 2, 9).draws)


def test_the_middle_of_all_draws_is_the_plain_image() -> None:
    images = _images()
    policy = Augmentation(mirror=True, shift=0.2, rotate_deg=30.0, zoom=0.3)
    torch.testing.assert_close(warp(images, _draws(), policy), images, atol=1e-2, rtol=0)


def test_a_shift_moves_whole_pixels_and_lets_black_in() -> None:
    images = _images()
    shifted = warp(images, _draws(x=1.0, y=0.0), SHIFTS)  # 2 px of 8 either way
    expected = torch.zeros_like(images)
    expected[:, :, 2:, :6] = images[:, :, :6, 2:]
    torch.testing.assert_close(shifted, expected, atol=1e-2, rtol=0)


def test_a_mirror_reverses_columns_only_where_it_is_allowed() -> None:
    images = _images()
    mirrored = warp(images, _draws(mirror=0.2), PHOTOGRAPHS)
    torch.testing.assert_close(mirrored, images.flip(3), atol=1e-2, rtol=0)
    torch.testing.assert_close(warp(images, _draws(mirror=0.2), SHIFTS), images, atol=1e-2, rtol=0)


def test_a_quarter_turn_is_numpys_rot90() -> None:
    images = _images()
    turned = warp(images, _draws(angle=1.0), Augmentation(False, shift=0.0, rotate_deg=90.0))
    expected = torch.from_numpy(np.rot90(images.numpy(), axes=(2, 3)).copy())
    torch.testing.assert_close(turned, expected, atol=1e-2, rtol=0)


def test_zoom_changes_the_area_of_a_bright_square() -> None:
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, 12:20, 12:20] = 1.0
    policy = Augmentation(False, shift=0.0, zoom=0.5)
    area = images.sum().item()
    assert warp(images, _draws(zoom=1.0), policy).sum().item() == pytest.approx(
        area * 1.5**2, rel=0.05
    )
    assert warp(images, _draws(zoom=0.0), policy).sum().item() == pytest.approx(
        area * 0.5**2, rel=0.05
    )


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=NUM_DRAWS, max_size=NUM_DRAWS),
)
def test_a_crop_stays_inside_and_keeps_its_area(width: int, height: int, draw: list[float]) -> None:
    left, top, right, bottom = crop_box(width, height, np.array(draw), PHOTOGRAPHS)
    assert 0 <= left < right <= width * (1 + 1e-9)
    assert 0 <= top < bottom <= height * (1 + 1e-9)
    area = (right - left) * (bottom - top)
    is_cut = right - left == width or bottom - top == height
    assert is_cut or PHOTOGRAPHS.min_area * 0.999 <= area / (width * height) <= 1.001


@pytest.mark.parametrize("mirror", [False, True])
def test_shifting_copies_the_pixels_that_warping_interpolates(mirror: bool) -> None:
    augmentation = Augmentation(mirror=mirror, shift=0.2)
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    )
    draws = epoch_views(0, 0, 40).draws
    shifted = shift(pixels, draws, augmentation).permute(0, 3, 1, 2).float()
    warped = warp(pixels.permute(0, 3, 1, 2).float(), draws, augmentation)
    torch.testing.assert_close(shifted, warped, atol=1e-2, rtol=0)
    assert not torch.equal(shifted, pixels.permute(0, 3, 1, 2).float())


def test_randaugment_depends_on_its_seed_alone_and_leaves_the_generator() -> None:
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 16, 16), dtype=np.uint8))
    before = torch.get_rng_state()
    changed = [randaugment(image, 9, seed) for seed in range(12)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(c.shape == image.shape and c.dtype == torch.uint8 for c in changed)
    assert sum(not torch.equal(c, image) for c in changed) > 6
    assert torch.equal(randaugment(image, 9, 5), changed[5])
