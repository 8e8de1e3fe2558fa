from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.data import SPLITS, Dataset, dataset, load_dataset
from hwnas.data.stores import LazyStore, MemoryStore
from hwnas.errors import HwnasWarning, InputError, UsageError

MakeFolder = Callable[..., Path]
GOLDEN_ROWS = {
    "train": [839, 1220, 220],
    "arch": [359, 1068, 1255],
    "val": [153, 318, 1730],
    "test": [264, 362, 1682],
}
GOLDEN_FINGERPRINT = "0303119f8e564ac2"


def test_digits_have_four_disjoint_balanced_splits(digits: Dataset) -> None:
    assert sum(digits.sizes.values()) == 1797
    assert len(set(np.concatenate(list(digits.rows.values())))) == 1797
    assert digits.sizes["test"] == pytest.approx(0.2 * 1797, abs=5)
    assert digits.sizes["train"] == pytest.approx(0.64 * 1797, abs=10)
    for split in SPLITS:
        counts = np.bincount(digits.labels[digits.rows[split]], minlength=10)
        assert counts.max() - counts.min() <= 0.1 * counts.max() + 1


def test_the_splits_of_digits_never_change(digits: Dataset) -> None:
    # numbers written down once: a change breaks every run that was made before
    assert {s: rows[:3].tolist() for s, rows in digits.rows.items()} == GOLDEN_ROWS
    assert digits.fingerprint == GOLDEN_FINGERPRINT


def test_training_images_are_normalised_per_channel(digits: Dataset) -> None:
    images = torch.cat([x for x, _ in digits.batches(("train",), batch_size=500)])
    assert images.shape == (digits.sizes["train"], 3, 16, 16)
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)


def test_a_constant_channel_is_only_centred(make_folder: MakeFolder) -> None:
    loaded = load_dataset(str(make_folder({"ant": 4, "bee": 4})), input_size=8)
    assert loaded.mean[2] == pytest.approx(7 / 255)
    assert loaded.std[2] == 1.0
    assert loaded.images("train", 2)[:, 2].abs().max() < 1e-6


def test_evaluation_batches_come_in_hash_order_with_the_short_one(digits: Dataset) -> None:
    batches = list(digits.batches(("val", "arch"), batch_size=100))
    rows = np.concatenate([digits.rows["val"], digits.rows["arch"]])
    assert [len(labels) for _, labels in batches] == [100, 100, len(rows) - 200]
    assert torch.cat([labels for _, labels in batches]).tolist() == digits.labels[rows].tolist()
    first = digits.images("val", 7)
    torch.testing.assert_close(batches[0][0][:7], first, rtol=0, atol=0)
    assert first.is_contiguous()


def test_shuffled_batches_hold_every_sample_once_in_another_order(digits: Dataset) -> None:
    def labels(epoch: int, seed: int = 0) -> list[int]:
        batches = digits.batches(("arch",), batch_size=40, seed=seed, epoch=epoch, shuffle=True)
        return torch.cat([y for _, y in batches]).tolist()

    plain = digits.labels[digits.rows["arch"]].tolist()
    assert labels(0) == labels(0)
    assert sorted(labels(0)) == sorted(plain)
    assert len({tuple(labels(0)), tuple(labels(1)), tuple(labels(0, seed=1)), tuple(plain)}) == 4


def test_augmented_batches_repeat_by_seed_and_epoch(digits: Dataset) -> None:
    def first(**where: int) -> torch.Tensor:
        return next(digits.batches(("train",), batch_size=8, augment=True, **where))[0]

    torch.testing.assert_close(first(seed=1, epoch=2), first(seed=1, epoch=2), rtol=0, atol=0)
    assert not torch.equal(first(seed=1, epoch=2), first(seed=1, epoch=3))
    assert not torch.equal(first(seed=1, epoch=2), first(seed=2, epoch=2))


def test_augmented_images_differ_from_plain_ones_but_keep_their_labels(digits: Dataset) -> None:
    plain = {int(r): x for r, x in zip(digits.rows["val"], digits.images("val", 999), strict=True)}
    changed = next(digits.batches(("val",), batch_size=999, augment=True, seed=4))
    nearest = torch.cdist(changed[0].flatten(1), torch.stack(list(plain.values())).flatten(1))
    guess = digits.labels[np.array(list(plain))[nearest.argmin(1).numpy()]]
    assert nearest.min(1).values.median() > 1.0
    assert (guess == changed[1].numpy()).mean() > 0.8


@pytest.mark.parametrize(
    ("batch_size", "training", "plain"),
    [(12, [12], [12, 1]), (10, [10, 3], [10, 3]), (13, [13], [13])],
)
def test_a_last_batch_of_one_is_left_out_of_training_only(
    make_folder: MakeFolder, batch_size: int, training: list[int], plain: list[int]
) -> None:
    folder = make_folder(
        {"train/a": 7, "train/b": 8, "test/a": 1, "test/b": 1, "val/a": 1, "val/b": 1}
    )
    loaded = load_dataset(str(folder), input_size=8)
    assert loaded.sizes["train"] == 13

    def sizes(shuffle: bool) -> list[int]:
        batches = loaded.batches(("train",), batch_size=batch_size, shuffle=shuffle)
        return [len(labels) for _, labels in batches]

    assert sizes(shuffle=True) == training
    assert sizes(shuffle=False) == plain


def test_the_view_without_test_refuses_it(digits: Dataset) -> None:
    view = digits.without_test()
    assert set(view.sizes) == {"train", "arch", "val"}
    assert view.fingerprint == digits.fingerprint
    with pytest.raises(UsageError, match="never sees test"):
        view.batches(("train", "test"), batch_size=8)
    with pytest.raises(UsageError, match="test"):
        view.images("test", 1)


@pytest.mark.parametrize("splits", [(), ("train", "train"), ("trian",)])
def test_impossible_splits_are_refused(digits: Dataset, splits: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="distinct ones of train, arch, val, test"):
        next(digits.batches(splits, batch_size=8))


def test_the_fingerprint_follows_content_and_size_but_not_the_place(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder({"ant": 5, "bee": 5})
    first = load_dataset(str(folder), input_size=8)
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    again = load_dataset(str(moved), input_size=8)
    assert again.fingerprint == first.fingerprint
    assert {s: [str(r) for r in rows] for s, rows in again.rows.items()} == {
        s: [str(r) for r in rows] for s, rows in first.rows.items()
    }
    assert load_dataset(str(folder), input_size=9).fingerprint != first.fingerprint
    Image.new("RGB", (5, 5)).save(moved / "ant" / "new.png")
    assert load_dataset(str(moved), input_size=8).fingerprint != first.fingerprint


def test_large_sets_stay_on_disk_and_give_the_same_evaluation_batches(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder({"ant": 8, "bee": 8})
    memory = load_dataset(str(folder), input_size=8)
    monkeypatch.setattr(dataset, "MEMORY_BYTES", 100)
    lazy = load_dataset(str(folder), input_size=8)
    assert isinstance(memory.store, MemoryStore)
    assert isinstance(lazy.store, LazyStore)
    assert lazy.fingerprint == memory.fingerprint
    assert lazy.mean == pytest.approx(memory.mean)
    for left, right in zip(
        memory.batches(("train", "val"), batch_size=5),
        lazy.batches(("train", "val"), batch_size=5),
        strict=True,
    ):
        torch.testing.assert_close(left, right)


def test_the_preprocessing_of_exported_models_reproduces_an_image(
    make_folder: MakeFolder,
) -> None:
    folder = make_folder({"ant": 5, "bee": 5}, side=20)
    loaded = load_dataset(str(folder), input_size=10)
    described = loaded.preprocessing.to_json()
    assert described["class_names"] == ["ant", "bee"]
    key = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))[
        loaded.rows["test"][0]
    ]
    raw = np.asarray(
        Image.open(folder / key).resize((10, 10), Image.Resampling.BILINEAR), dtype=np.float32
    )
    by_hand = (raw / 255 - described["mean"]) / described["std"]
    np.testing.assert_allclose(
        loaded.images("test", 1)[0].permute(1, 2, 0).numpy(), by_hand, atol=1e-5
    )


def test_a_tiny_input_size_is_refused() -> None:
    with pytest.raises(InputError, match="at least 8 pixels, got 4"):
        load_dataset("digits", input_size=4)


def test_ranks_see_parts_of_the_same_batches_and_none_of_them_an_image_alone() -> None:
    digits = load_dataset("digits", input_size=16)
    options = {"batch_size": 71, "seed": 3, "epoch": 1, "shuffle": True}
    whole = [labels.tolist() for _, labels in digits.batches(("arch",), **options)]
    parts = [
        [labels.tolist() for _, labels in digits.batches(("arch",), part=(i, 2), **options)]
        for i in (0, 1)
    ]
    assert [len(batch) for batch in whole] == [71, 71, 3]
    assert [len(batch) for batch in parts[0]] == [36, 36]  # three images are too few for two
    for batch, first, second in zip(whole, *parts, strict=False):
        assert batch[0::2] == first
        assert batch[1::2] == second
    assert all(len(batch) >= 2 for part in parts for batch in part)


def test_leaving_out_the_first_batches_leaves_the_others_as_they_are() -> None:
    digits = load_dataset("digits", input_size=16)
    options = {"batch_size": 32, "seed": 0, "epoch": 2, "shuffle": True}
    whole = [images for images, _ in digits.batches(("val",), **options)]
    rest = [images for images, _ in digits.batches(("val",), first=2, **options)]
    assert len(rest) == len(whole) - 2 > 1
    assert all(np.array_equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_folds_hold_out_every_image_but_those_of_test_once(digits: Dataset) -> None:
    folds = [digits.fold(number, 5) for number in range(5)]
    held_out = np.concatenate([fold.rows["val"] for fold in folds])
    pool = np.concatenate([digits.rows[split] for split in ("train", "arch", "val")])
    assert sorted(held_out) == sorted(pool)
    for fold in folds:
        assert set(fold.rows) == {"train", "val"}
        assert sorted(np.concatenate(list(fold.rows.values()))) == sorted(pool)
        counts = np.bincount(fold.labels[fold.rows["val"]], minlength=10)
        assert counts.max() - counts.min() <= 6  # 1438 images: 138 to 146 a class, dealt singly
    prints = {digits.fingerprint, *(fold.fingerprint for fold in folds)}
    assert len(prints) == 6


def test_more_folds_than_images_of_a_class_are_refused(digits: Dataset) -> None:
    with pytest.raises(UsageError, match="200 folds need 200 images of each class besides test"):
        digits.fold(0, 200)


def test_a_folder_called_as_a_data_set_is_taken_by_its_path(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder({"ant": 4, "bee": 4}, name="digits")
    monkeypatch.chdir(folder.parent)
    with pytest.warns(HwnasWarning, match=r"a folder digits is here, too, and \./digits takes it"):
        assert load_dataset("digits", input_size=8).num_classes == 10
    assert load_dataset("./digits", input_size=8).class_names == ("ant", "bee")
