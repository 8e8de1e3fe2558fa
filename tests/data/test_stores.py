from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.data.augment import PHOTOGRAPHS, Views, epoch_views
from hwnas.data.folder import read_folder
from hwnas.data.stores import LazyStore, read_into_memory, square
from hwnas.errors import InputError

CPU = torch.device("cpu")
MakeFolder = Callable[..., Path]
# Python 3.12 warns when a process with threads forks, which torch's loader does
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_square_takes_the_centre_of_a_wide_image() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    np.testing.assert_array_equal(square(Image.fromarray(pixels), 10), np.full((10, 10, 3), 200))


def test_square_shrinks_with_antialiasing() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    # without antialiasing single columns are picked: 0 or 255
    assert np.abs(square(Image.fromarray(stripes), 8).astype(int) - 127).max() < 30


def test_memory_and_disk_give_the_same_plain_images(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"ant": 5, "bee": 6}))
    memory, broken = read_into_memory(source.reader, 11, 8, PHOTOGRAPHS)
    lazy = LazyStore(source.reader, 8, PHOTOGRAPHS)
    batches = [np.array([3, 1, 10, 7]), np.array([0, 2])]
    assert broken == []
    for left, right in zip(
        memory.load(batches, None, CPU), lazy.load(batches, None, CPU), strict=True
    ):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_a_view_does_not_depend_on_batches_order_or_workers(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"ant": 5, "bee": 6}, side=40))
    rows, draws = np.arange(11), epoch_views(3, 1, 11)
    for store in (
        read_into_memory(source.reader, 11, 8, PHOTOGRAPHS)[0],
        LazyStore(source.reader, 8, PHOTOGRAPHS),
    ):
        at_once = next(iter(store.load([rows], draws, CPU)))
        backwards = torch.cat(
            list(store.load([rows[::-1][:4].copy(), rows[::-1][4:].copy()], draws, CPU))
        )
        torch.testing.assert_close(backwards.flip(0), at_once, rtol=0, atol=1e-3)
        other_epoch = next(iter(store.load([rows], epoch_views(3, 2, 11), CPU)))
        assert (other_epoch - at_once).abs().amax((1, 2, 3)).median() > 1


def test_a_crop_shows_a_part_of_the_image_mirrored_by_its_draw(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (64, 64, 3))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / name / "0.png")
    store = LazyStore(read_folder(tmp_path).reader, 16, PHOTOGRAPHS)
    draws = np.full((2, 5), 0.5)
    draws[:, 3] = 0.0  # the smallest area: half the side, from the middle
    draws[1, 0] = 0.1  # mirrored
    straight, mirrored = next(iter(store.load([np.arange(2)], Views(draws, np.arange(2)), CPU)))
    torch.testing.assert_close(straight[0, 0], torch.linspace(64, 191, 16), rtol=0, atol=6)
    torch.testing.assert_close(mirrored, straight.flip(2), rtol=0, atol=0)


def test_loading_leaves_the_global_generator_alone(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"ant": 4, "bee": 4}))
    before = torch.get_rng_state()
    list(LazyStore(source.reader, 8, PHOTOGRAPHS).load([np.arange(8)], epoch_views(0, 0, 8), CPU))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_broken_after_loading_is_named_when_it_is_used(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    source = read_folder(folder)
    (folder / "bee" / "2.png").write_bytes(b"cut")
    row = source.keys.index("bee/2.png")
    store = LazyStore(source.reader, 8, PHOTOGRAPHS)
    with pytest.raises(InputError, match=r"bee/2\.png: cannot be decoded"):
        list(store.load([np.array([0, row])], None, CPU))
