"""Dataset, the images every other room sees: four fixed splits, normalised batches."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.arch import short_hash
from hwnas.data.augment import Views, epoch_views
from hwnas.data.folder import BACKGROUND, read_folder
from hwnas.data.names import KNOWN, check_name
from hwnas.data.sources import TORCHVISION_SETS, Source, read_digits, read_torchvision
from hwnas.data.splits import Rows, assign_splits, hash_order, listed, split_problems
from hwnas.data.stores import ImageStore, LazyStore, MemoryStore, read_into_memory
from hwnas.errors import HwnasWarning, InputError, UsageError
from hwnas.io.journal import canonical_json
from hwnas.rng import stream

logger = logging.getLogger(__name__)

MEMORY_BYTES = 512 * 2**20  # largest data set held in memory, as uint8 at the input size
MEMORY_STORED_BYTES = 2 * 2**30  # and as stored: decoding more takes minutes
STATISTICS_IMAGES = 2048  # how many images decide mean and std where images stay on disk
NARROW_RANGE = 0.1  # share of 0..255 that pixels should take
MOST_OF_ONE_CLASS = 0.8
MIN_INPUT_SIZE = 8


@dataclass(frozen=True)
class Preprocessing:
    """What a program must do to an image before the network: it ships with exported models.

    RGB (transparent pixels over ``background``), largest centred square, bilinear (antialiased)
    resize to ``input_size``, scale to 0..1, subtract ``mean`` and divide by ``std`` per channel;
    NCHW.
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    class_names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object an exported model's metadata holds."""
        return {
            "color_order": "RGB",
            "crop": "center-square",
            "resize": "bilinear-antialias",
            "input_size": [self.input_size, self.input_size],
            "mean": list(self.mean),
            "std": list(self.std),
            "background": list(BACKGROUND),
            "class_names": list(self.class_names),
        }


@dataclass(frozen=True)
class Dataset:
    """A data set with its splits.

    ``rows`` holds each split's samples in hash order, ``labels`` (num_samples,) the class of every
    sample; ``fingerprint`` (16 hex digits) changes with the stored data, the input size, the
    classes and the splits, and not with where the data set lies.
    """

    name: str
    preprocessing: Preprocessing
    rows: Mapping[str, Rows]
    labels: NDArray[np.int64]
    store: ImageStore
    fingerprint: str

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self.preprocessing.class_names

    @property
    def input_size(self) -> int:
        """Side S of the images, pixels."""
        return self.preprocessing.input_size

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of each channel over ``train``, in units of 0..1."""
        return self.preprocessing.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of each channel over ``train``, in units of 0..1."""
        return self.preprocessing.std

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of each split."""
        return {split: len(rows) for split, rows in self.rows.items()}

    def without_test(self) -> Dataset:
        """Return the view that search code gets: asking it for ``test`` raises UsageError."""
        return replace(self, rows={s: rows for s, rows in self.rows.items() if s != "test"})

    def fold(self, number: int, count: int) -> Dataset:
        """Return fold ``number`` (from 0) of ``count`` for cross-validation, without ``test``.

        The images of ``train``, ``arch`` and ``val`` are dealt to the folds class by class; ``val``
        is this fold and ``train`` the others. Mean and std stay those of the whole ``train``.

        Raises:
            UsageError: a class has fewer images than there are folds.
        """
        pool = np.concatenate([self.rows[split] for split in ("train", "arch", "val")])
        labels = self.labels[pool]
        place = np.empty(len(pool), dtype=np.int64)  # of an image in its class
        for label in range(self.num_classes):
            mine = np.flatnonzero(labels == label)
            if len(mine) < count:
                raise UsageError(
                    f"{count} folds need {count} images of each class besides test; "
                    f"{self.class_names[label]} has {len(mine)}. Next: fewer folds, or more images"
                )
            place[mine] = np.arange(len(mine))
        held_out = place % count == number
        return replace(
            self,
            rows={"train": pool[~held_out], "val": pool[held_out]},
            fingerprint=short_hash(canonical_json([self.fingerprint, "fold", number, count])),
        )

    def batch_sizes(
        self, splits: Sequence[str], *, batch_size: int, training: bool
    ) -> tuple[int, ...]:
        """Return the number of images in each batch of an epoch over ``splits``.

        The last batch may be short. In training a last batch of one image is left out, since batch
        norm needs two.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        total = len(self._rows(splits))
        sizes = [min(batch_size, total - start) for start in range(0, total, batch_size)]
        if training and batch_size > 1 and sizes and sizes[-1] == 1:
            sizes.pop()
        return tuple(sizes)

    def batches(
        self,
        splits: Sequence[str],
        *,
        batch_size: int,
        seed: int = 0,
        epoch: int = 0,
        augment: bool = False,
        randaugment: int = 0,
        shuffle: bool = False,
        torch_device: str | torch.device = "cpu",
        part: tuple[int, int] = (0, 1),
        first: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised images (N, 3, S, S) float32, channels last, and labels (N,) int64.

        In training (``shuffle`` or ``augment``) the order depends on (seed, epoch), and how a
        sample looks on (seed, epoch, sample) only. Otherwise samples come in hash order. With
        ``part`` (i, n) every batch is the i-th of n parts of the whole one (ranks that train
        together), ``first`` batches are left out; ``randaugment`` is a magnitude, and acts where
        ``augment`` is set.

        Raises:
            UsageError: a split this view does not have.
            InputError: an image on disk cannot be decoded; names the file.
        """
        training = augment or shuffle
        rows = self._rows(splits)
        sizes = self.batch_sizes(splits, batch_size=batch_size, training=training)
        if training:
            rows = stream(seed, "order", epoch).permutation(rows)
        views = epoch_views(seed, epoch, len(self.labels), randaugment) if augment else None
        number, parts = part
        # a rank with fewer than two images could not train, and the others would wait for it
        whole = [batch for batch in _cut(rows, sizes) if parts == 1 or len(batch) >= 2 * parts]
        cut = [batch[number::parts] for batch in whole[first:]]
        return self._load(cut, views, torch.device(torch_device))

    def images(self, split: str, count: int) -> Tensor:
        """Return the first ``count`` images of a split in hash order, at most as many as it has.

        Preprocessed as for evaluation: (count, 3, S, S) float32, NCHW contiguous.
        """
        rows = self._rows((split,))[:count]
        if not len(rows):
            return torch.zeros(0, 3, self.input_size, self.input_size)
        images, _ = next(self._load([rows], None, torch.device("cpu")))
        return images.contiguous()

    def head(
        self, split: str, count: int, batch_size: int, torch_device: str | torch.device = "cpu"
    ) -> Iterator[Tensor]:
        """Yield the first ``count`` images of a split in hash order, plain.

        Batches are as equal as can be and at most ``batch_size`` large.
        """
        rows = self._rows((split,))[:count]
        cut = np.array_split(rows, -(-len(rows) // batch_size)) if len(rows) else []
        for images, _ in self._load(cut, None, torch.device(torch_device)):
            yield images

    def _rows(self, splits: Sequence[str]) -> Rows:
        # a bare string would be taken letter by letter
        names = (splits,) if isinstance(splits, str) else tuple(splits)
        unknown = [name for name in names if name not in self.rows]
        if unknown or not names or len(set(names)) != len(names):
            raise UsageError(
                f"data set {self.name}: splits must be distinct ones of {', '.join(self.rows)}, "
                f"got {', '.join(names) or 'none'}. A search never sees test: only the winner is "
                "scored on it, once."
            )
        return np.concatenate([self.rows[name] for name in names])

    def _load(
        self, batches: list[Rows], views: Views | None, torch_device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        mean = 255.0 * torch.tensor(self.mean, device=torch_device).view(1, 3, 1, 1)
        inverse = (1.0 / (255.0 * torch.tensor(self.std, device=torch_device))).view(1, 3, 1, 1)
        loaded = self.store.load(batches, views, torch_device)
        for rows, images in zip(batches, loaded, strict=True):
            normalised = images.contiguous(memory_format=torch.channels_last)
            normalised = normalised.sub_(mean).mul_(inverse)
            yield normalised, torch.from_numpy(self.labels[rows]).to(torch_device)


def _cut(rows: Rows, sizes: Sequence[int]) -> list[Rows]:
    ends = np.cumsum(sizes)
    return [rows[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def load_dataset(name: str, *, input_size: int, root: Path | None = None) -> Dataset:
    """Return a data set with four fixed, class-balanced splits, images in RGB at ``input_size``.

    ``name`` is ``digits`` (embedded), a torchvision data set that lies under ``root``
    (``TORCHVISION_SETS``), or the path of a folder of images (see ``folder.py``). Small sets are
    decoded now and held in memory; larger ones are decoded when used.

    Raises:
        InputError: all problems of the data set at once.
    """
    if input_size < MIN_INPUT_SIZE:
        raise InputError(
            f"data set {name!r}",
            [f"input_size must be at least {MIN_INPUT_SIZE} pixels, got {input_size}"],
        )
    source = _read_source(name, root)
    problems = list(source.problems)
    problems += split_problems(source.labels, source.parts, source.class_names)
    num_samples = len(source.keys)
    store: ImageStore = LazyStore(source.reader, input_size, source.augmentation)
    is_small = num_samples * input_size**2 * 3 <= MEMORY_BYTES
    if is_small and source.stored_bytes <= MEMORY_STORED_BYTES:
        store, broken = read_into_memory(
            source.reader, num_samples, input_size, source.augmentation
        )
        if broken:
            problems.append(f"{len(broken)} images are broken: {listed(broken)}")
    if problems:
        raise InputError(
            f"data set {name}",
            problems,
            "repair or remove the broken files and add images where there are too few",
        )
    for words in source.words:
        logger.info(f"{name}: {words}")
    rows = assign_splits(source.keys, source.labels, source.parts)
    found = _statistics(store, rows["train"])
    if (problem := found.problem()) is not None:
        raise InputError(f"data set {name}", [problem], "check how the images were made")
    _warn_of(name, source, found)
    return Dataset(
        name=source.name,
        preprocessing=Preprocessing(input_size, found.mean, found.std, source.class_names),
        rows=rows,
        labels=source.labels,
        store=store,
        fingerprint=_fingerprint(source, input_size, rows),
    )


def _warn_of(name: str, source: Source, found: _Statistics) -> None:
    """Warn of what a data set probably is not meant to be."""
    words = [found.warning()]
    counts = np.bincount(source.labels, minlength=len(source.class_names))
    share = counts.max() / counts.sum()
    if share > MOST_OF_ONE_CLASS:
        words.append(
            f"{share:.0%} of the images are {source.class_names[int(counts.argmax())]}: a network "
            "that always says so is right as often. Next: more images of the "
            "other classes, and judge by more than top-1"
        )
    for word in words:
        if word is not None:
            warnings.warn(f"{name}: {word}", HwnasWarning, stacklevel=3)


def _read_source(name: str, root: Path | None) -> Source:
    if name in KNOWN and Path(name).is_dir():
        warnings.warn(
            f"{name} is the data set of this name; a folder {name} is here, too, and ./{name} "
            "takes it",
            HwnasWarning,
            stacklevel=3,
        )
    if name == "digits":
        return read_digits()
    if name in TORCHVISION_SETS:
        return read_torchvision(name, root)
    check_name(name)
    return read_folder(Path(name))


Triple = tuple[float, float, float]


@dataclass(frozen=True)
class _Statistics:
    """Of the pixels of ``train``: mean and deviation of each channel, 0..1, least and greatest."""

    mean: Triple
    std: Triple
    low: float
    high: float

    def problem(self) -> str | None:
        """Return why these cannot be images, None if they can."""
        if self.low == self.high:
            return f"all pixels of train have one value, {self.low:.0f}: there is nothing to learn"
        return None

    def warning(self) -> str | None:
        """Return what is unusual about the range of the pixels, None if nothing is."""
        share = (self.high - self.low) / 255
        if share >= NARROW_RANGE:
            return None
        return (
            f"the pixels of train take {share:.0%} of the range only (from {self.low:.0f} to "
            f"{self.high:.0f} of 255), as 10 or 12 bits in files of 16 do. Next: stretch the "
            "images to the whole range, unless that is how the camera's will be"
        )


def _statistics(store: ImageStore, rows: Rows) -> _Statistics:
    """Return the statistics of images; a constant channel gets std 1."""
    if not isinstance(store, MemoryStore):
        rows = rows[:STATISTICS_IMAGES]
    batches = [rows[start : start + 256] for start in range(0, len(rows), 256)]
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    low, high = 255.0, 0.0
    for images in store.load(batches, None, torch.device("cpu")):
        values = images.double()
        count += values.numel() // 3
        total += values.sum((0, 2, 3)).numpy()
        squares += values.square().sum((0, 2, 3)).numpy()
        low, high = min(low, float(images.min())), max(high, float(images.max()))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    std[std < 1e-3] = 255.0
    return _Statistics(_triple(mean / 255.0), _triple(std / 255.0), low, high)


def _triple(values: NDArray[np.float64]) -> Triple:
    red, green, blue = values.tolist()
    return red, green, blue


def _fingerprint(source: Source, input_size: int, rows: Mapping[str, Rows]) -> str:
    order = hash_order(source.keys)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    # rows as places in hash order, so that the order in which files were listed leaves no trace
    return short_hash(
        canonical_json(
            {
                "content": source.content,
                "input_size": input_size,
                "class_names": list(source.class_names),
                "splits": {split: place[members].tolist() for split, members in rows.items()},
            }
        )
    )
