from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, SVHN

from hwnas.data import load_dataset
from hwnas.data.names import TORCHVISION_NAMES
from hwnas.data.sources import TORCHVISION_SETS, read_digits, read_torchvision
from hwnas.errors import InputError


def test_digits_are_scikit_learns_in_order_scaled_to_255() -> None:
    source, bunch = read_digits(), load_digits()
    assert len(source.keys) == 1797
    assert source.labels.tolist() == bunch.target.tolist()
    image = np.asarray(source.reader(5))
    np.testing.assert_array_equal(image[..., 0], np.rint(bunch.images[5] * 255 / 16))
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def _write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def _write_mnist(root: Path) -> np.ndarray:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 28, 28))
    for name, part in (("train", images[:60]), ("t10k", images[60:])):
        _write_idx(raw / f"{name}-images-idx3-ubyte", part)
        _write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(len(part)) % 10)
    return images


def test_mnist_files_are_read_and_their_test_part_is_kept(tmp_path: Path) -> None:
    images = _write_mnist(tmp_path)
    dataset = load_dataset("mnist", input_size=28, root=tmp_path)
    assert dataset.sizes == {"train": 40, "arch": 10, "val": 10, "test": 30}
    assert sorted(dataset.rows["test"]) == list(range(60, 90))
    shown = dataset.images("test", 1)[0, 0] * dataset.std[0] + dataset.mean[0]
    expected = images[dataset.rows["test"][0]] / 255
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-5)


def test_cifar10_batches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)

    def write(name: str, content: object) -> list[str]:
        payload = pickle.dumps(content)
        (folder / name).write_bytes(payload)
        return [name, hashlib.md5(payload).hexdigest()]

    batch = {
        "data": rng.integers(0, 256, (40, 3072), dtype=np.uint8),
        "labels": [n % 10 for n in range(40)],
    }
    names = {"label_names": [f"class{n}" for n in range(10)]}
    monkeypatch.setattr(CIFAR10, "train_list", [write("data_batch_1", batch)])
    monkeypatch.setattr(CIFAR10, "test_list", [write("test_batch", batch)])
    filename, md5 = write("batches.meta", names)
    monkeypatch.setattr(CIFAR10, "meta", {"filename": filename, "key": "label_names", "md5": md5})
    source = read_torchvision("cifar10", tmp_path)
    assert source.class_names == tuple(names["label_names"])
    assert source.parts == ("train",) * 40 + ("test",) * 40
    assert source.augmentation.mirror
    expected = batch["data"][7].reshape(3, 32, 32).transpose(1, 2, 0)  # type: ignore[index]
    np.testing.assert_array_equal(np.asarray(source.reader(7)), expected)


def test_svhn_images_are_turned_to_rows_columns_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 50), dtype=np.uint8)
    digits = np.arange(50)[:, None] % 10 + 1  # the files call zero ten
    parts = {}
    for part in ("train", "test"):
        path = tmp_path / f"{part}.mat"
        savemat(path, {"X": pixels, "y": digits})
        parts[part] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", parts)
    source = read_torchvision("svhn", tmp_path)
    assert source.labels.tolist() == [(n % 10 + 1) % 10 for n in range(50)] * 2
    np.testing.assert_array_equal(np.asarray(source.reader(50 + 7)), pixels[..., 7])
    assert not source.augmentation.mirror


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashionmnist", "kmnist", "svhn"])
def test_an_absent_data_set_says_where_it_looked_and_how_to_get_it(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load_dataset(name, input_size=32, root=tmp_path)
    assert str(tmp_path) in caught.value.problems[0]
    assert "download=True" in caught.value.next_step
    assert list(tmp_path.rglob("*.gz")) == []


def test_a_torchvision_data_set_needs_its_root() -> None:
    with pytest.raises(InputError, match="--data-root"):
        load_dataset("cifar10", input_size=32)


def test_a_misspelt_name_gets_the_nearest_one() -> None:
    with pytest.raises(InputError, match="did you mean cifar10"):
        load_dataset("cifar-10", input_size=32)


def test_the_names_checked_first_are_those_that_can_be_read() -> None:
    assert tuple(TORCHVISION_SETS) == TORCHVISION_NAMES
