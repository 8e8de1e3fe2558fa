from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.errors import InputError
from hwnas.pipeline.first_run.images import look_at


def write_images(root: Path, counts: dict[str, int], size: tuple[int, int] = (40, 30)) -> Path:
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_classes_splits_and_size_of_a_folder(tmp_path):
    facts = look_at(write_images(tmp_path / "photos", {"a": 30, "b": 10}))
    assert facts.counts == {"a": 30, "b": 10}
    assert facts.num_images == 40
    assert facts.majority == 0.75
    assert facts.side == 30
    assert set(facts.splits) == {"train", "arch", "val", "test"}
    assert facts.splits["test"] == 8


def test_all_that_is_wrong_with_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="at least two classes are needed"):
        look_at(write_images(tmp_path / "one", {"a": 10}))
    with pytest.raises(InputError, match=r"too few: b \(2\)"):
        look_at(write_images(tmp_path / "few", {"a": 10, "b": 2}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it is empty"):
        look_at(tmp_path / "empty")
