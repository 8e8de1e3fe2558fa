"""Data sets that are broken or meant to harm: torchvision's files, archives, links."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hwnas.data import load_dataset
from hwnas.data.sources import read_torchvision
from hwnas.errors import InputError
from hwnas.rng import stream
from tests.fuzzing import survives

COUNT = 40


def write_mnist(root: Path) -> Path:
    """Write a very small MNIST as torchvision finds it; return the file of the training images."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train", "t10k"):
        pixels = stream(0, name).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
        labels = np.arange(COUNT, dtype=np.uint8) % 10
        (raw / f"{name}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 0x803, COUNT, 28, 28) + pixels.tobytes()
        )
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, COUNT) + labels.tobytes()
        )
    return raw / "train-images-idx3-ubyte"


@pytest.mark.parametrize("which", ["images", "labels"])
def test_torchvisions_files_never_break_their_reader(tmp_path, which):
    images = write_mnist(tmp_path)
    path = images if which == "images" else images.with_name("train-labels-idx1-ubyte")

    def read(payload: bytes) -> None:
        path.write_bytes(payload)
        source = read_torchvision("mnist", tmp_path)
        assert len(source.keys) == len(source.labels) == 2 * COUNT
        assert source.reader(0).size == (28, 28)

    survives(read, path.read_bytes(), is_json=False)


def test_an_archive_is_not_unpacked_but_told_to_be(tmp_path):
    """Its members may be named anything: absolute, above, links."""
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("../escaped.png", b"x")
        archive.writestr("/tmp/absolute.png", b"x")
    with pytest.raises(InputError, match=r"(?s)is a file, not a folder.*unpack it"):
        load_dataset(str(tmp_path / "images.zip"), input_size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["images.zip"]
