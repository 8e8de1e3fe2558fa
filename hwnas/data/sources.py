"""Where images come from: embedded digits and torchvision's data sets (folders: folder.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hwnas.data.augment import CHARACTERS, PHOTOGRAPHS, Augmentation
from hwnas.errors import InputError


class Reader(Protocol):
    """Gives one image at a time; small enough to be sent to worker processes."""

    def __call__(self, row: int) -> Image.Image:
        """Return image ``row`` in RGB, at the size it is stored; InputError names a bad file."""


@dataclass(frozen=True)
class Source:
    """The samples of a data set before they are split.

    ``keys`` name the samples (relative posix path, or part and index), ``parts`` say ``train``,
    ``val`` or ``test``; ``content`` is a digest of what is stored; ``problems`` were found on the
    way and are raised by ``load_dataset`` together with those found later; ``words`` say what
    became of its folders.
    """

    name: str
    class_names: tuple[str, ...]
    keys: tuple[str, ...]
    labels: NDArray[np.int64]
    parts: tuple[str, ...]
    reader: Reader
    content: str
    stored_bytes: int
    augmentation: Augmentation
    problems: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArrayReader:
    """Images of one array: uint8 (N, H, W) grey or (N, H, W, 3)."""

    pixels: NDArray[np.uint8]

    def __call__(self, row: int) -> Image.Image:
        """Return image ``row`` in RGB."""
        return Image.fromarray(self.pixels[row]).convert("RGB")


def read_digits() -> Source:
    """Return scikit-learn's embedded 1,797 handwritten digits, 8x8 grey, one pool."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    return _array_source(
        "digits", tuple(str(digit) for digit in range(10)), CHARACTERS, {"train": (pixels, labels)}
    )


@dataclass(frozen=True)
class TorchvisionSet:
    """A data set of torchvision: its class, and how that is asked for a part and for labels."""

    class_name: str
    arguments: Callable[[str], Mapping[str, Any]]
    labels_of: Callable[[Any], Any]
    augmentation: Augmentation
    class_names: tuple[str, ...] = ()  # where torchvision does not know them


def _by_flag(part: str) -> Mapping[str, Any]:
    return {"train": part == "train"}


def _by_split(part: str) -> Mapping[str, Any]:
    return {"split": part}


def _targets(stored: Any) -> Any:
    return stored.targets


TORCHVISION_SETS: Mapping[str, TorchvisionSet] = {
    "cifar10": TorchvisionSet("CIFAR10", _by_flag, _targets, PHOTOGRAPHS),
    "cifar100": TorchvisionSet("CIFAR100", _by_flag, _targets, PHOTOGRAPHS),
    "fashionmnist": TorchvisionSet("FashionMNIST", _by_flag, _targets, PHOTOGRAPHS),
    "kmnist": TorchvisionSet("KMNIST", _by_flag, _targets, CHARACTERS),
    "mnist": TorchvisionSet("MNIST", _by_flag, _targets, CHARACTERS),
    "svhn": TorchvisionSet(
        "SVHN",
        _by_split,
        lambda stored: stored.labels,
        CHARACTERS,
        tuple(str(digit) for digit in range(10)),
    ),
}


def read_torchvision(name: str, root: Path | None) -> Source:
    """Return a torchvision data set that was downloaded before; its test part is kept as it is.

    Raises:
        InputError: no ``root``, or the files are not there; says where it looked and how to get
            them. Nothing is ever downloaded here.
    """
    entry = TORCHVISION_SETS[name]
    if root is None:
        raise InputError(
            f"data set {name!r}",
            ["its folder is not given"],
            "say where torchvision keeps it with --data-root",
        )
    from torchvision import datasets

    make = getattr(datasets, entry.class_name)
    arrays, class_names = {}, entry.class_names
    for part in ("train", "test"):
        try:
            stored = make(str(root), download=False, **entry.arguments(part))
            arrays[part] = _arrays(entry, stored)
        except Exception as error:  # broken files make torchvision raise anything
            raise InputError(
                f"data set {name!r}", [_absent(entry, root, error)], _how_to_get(entry, root)
            ) from error
        class_names = class_names or tuple(stored.classes)
    return _array_source(name, class_names, entry.augmentation, arrays)


def _arrays(entry: TorchvisionSet, stored: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images and labels, which torchvision has as lists, arrays or tensors."""
    labels = torch.as_tensor(entry.labels_of(stored)).numpy().astype(np.int64)
    pixels = _channels_last(torch.as_tensor(stored.data).numpy())
    if not 0 < len(pixels) == len(labels):
        raise ValueError(f"it has {len(pixels)} images and {len(labels)} labels")
    num_classes = len(entry.class_names or stored.classes)
    if not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"its labels are {labels.min()} to {labels.max()}, not 0 to {num_classes - 1}"
        )
    return pixels, labels


def _absent(entry: TorchvisionSet, root: Path, error: Exception) -> str:
    reason = str(error).split(". You can use")[0]
    return f"torchvision's {entry.class_name} is not whole under {root.resolve()}: {reason}"


def _how_to_get(entry: TorchvisionSet, root: Path) -> str:
    calls = [
        f"datasets.{entry.class_name}({str(root)!r}, download=True, "
        + ", ".join(f"{key}={value!r}" for key, value in entry.arguments(part).items())
        + ")"
        for part in ("train", "test")
    ]
    return f'python -c "from torchvision import datasets; {"; ".join(calls)}"'


def _channels_last(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.ndim == 4 and pixels.shape[1] == 3:
        return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
    return pixels


def _array_source(
    name: str,
    class_names: Sequence[str],
    augmentation: Augmentation,
    arrays: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int64]]],
) -> Source:
    pixels = np.concatenate([images for images, _ in arrays.values()])
    labels = np.concatenate([labels for _, labels in arrays.values()])
    places = [(part, row) for part, (images, _) in arrays.items() for row in range(len(images))]
    return Source(
        name=name,
        class_names=tuple(class_names),
        keys=tuple(f"{part}/{row}" for part, row in places),
        labels=labels,
        parts=tuple(part for part, _ in places),
        reader=ArrayReader(pixels),
        content=hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest(),
        stored_bytes=pixels.nbytes,
        augmentation=augmentation,
    )
