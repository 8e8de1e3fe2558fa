from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.data import load_dataset
from hwnas.data.folder import read_folder
from hwnas.errors import HwnasWarning, InputError

MakeFolder = Callable[..., Path]


def _problems(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_dataset(str(folder), input_size=8)
    return "\n".join(caught.value.problems)


def test_class_folders_become_one_pool_named_by_relative_paths(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"bee": 5, "ant": 4}))
    assert source.class_names == ("ant", "bee")
    assert source.keys[0] == "ant/0.png"
    assert source.labels.tolist() == [0] * 4 + [1] * 5
    assert set(source.parts) == {"train"}
    assert source.problems == ()


def test_images_in_folders_below_a_class_belong_to_it(make_folder: MakeFolder) -> None:
    source = read_folder(make_folder({"ant": 4, "bee/left": 4, "bee/right": 3}))
    assert source.labels.tolist() == [0] * 4 + [1] * 7


def test_test_and_val_folders_are_kept_as_they_are(make_folder: MakeFolder) -> None:
    folder = make_folder(
        {"train/ant": 10, "train/bee": 10, "val/ant": 3, "val/bee": 1, "test/ant": 2, "test/bee": 5}
    )
    dataset = load_dataset(str(folder), input_size=8)
    assert dataset.sizes == {"train": 18, "arch": 2, "val": 4, "test": 7}


def test_a_class_may_be_called_train(make_folder: MakeFolder) -> None:
    dataset = load_dataset(str(make_folder({"train": 4, "bus": 4})), input_size=8)
    assert dataset.class_names == ("bus", "train")


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    assert "no such folder" in _problems(tmp_path / "nowhere")


def test_an_empty_folder_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty") as caught:
        load_dataset(str(tmp_path), input_size=8)
    assert "DIR/<class>" in caught.value.next_step


def test_all_problems_of_a_folder_come_at_once(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder({"ant": 5, "bee": 2, "cow": 0})
    outside = tmp_path / "outside.png"
    (folder / "ant" / "0.png").rename(outside)
    (folder / "ant" / "link.png").symlink_to(outside)
    (folder / "ant" / "text.png").write_text("not an image")
    whole = (folder / "ant" / "1.png").read_bytes()
    (folder / "ant" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "ant" / "none.png").write_bytes(b"")
    (folder / "stray.png").write_bytes(whole)
    problems = _problems(folder)
    assert "class folders without images: cow" in problems
    assert "bee (2)" in problems
    assert "leave the folder: ant/link.png" in problems
    assert "outside of class folders: stray.png" in problems
    assert "3 images are broken" in problems
    for name in ("1.png", "text.png", "none.png"):
        assert f"{folder}/ant/{name}" in problems


def test_ten_broken_images_are_named_and_the_rest_counted(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    for number in range(13):
        (folder / "bee" / f"broken{number}.jpg").write_bytes(b"\xff\xd8 cut")
    problems = _problems(folder)
    assert "13 images are broken" in problems
    assert problems.count("cannot be decoded") == 10
    assert "and 3 more" in problems


def test_a_single_class_is_refused(make_folder: MakeFolder) -> None:
    assert "two classes" in _problems(make_folder({"ant": 9}))


def test_a_class_that_only_test_has_is_named(make_folder: MakeFolder) -> None:
    problems = _problems(
        make_folder({"train/ant": 4, "train/bee": 4, "test/ant": 1, "test/bee": 1, "test/cow": 1})
    )
    assert "test/cow" in problems


def test_a_folder_that_is_no_part_is_named(make_folder: MakeFolder) -> None:
    problems = _problems(make_folder({"train/ant": 4, "train/bee": 4, "extra/ant": 1}))
    assert "folders beside train that are not val or test: extra" in problems


def test_a_linked_class_folder_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    (folder / "cow").symlink_to(folder / "ant")
    (folder / "dog").symlink_to(tmp_path)
    assert "links to folders, which are not followed: cow, dog" in _problems(folder)


def test_a_link_inside_the_folder_is_followed_once(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4, ".store": 1})
    (folder / "ant" / "linked.png").symlink_to(folder / ".store" / "0.png")
    assert "ant/linked.png" in read_folder(folder).keys
    (folder / "bee" / "again.png").symlink_to(folder / ".store" / "0.png")
    assert "already there" in _problems(folder)


def test_a_link_to_nothing_is_named(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    (folder / "ant" / "gone.png").symlink_to(folder / "absent.png")
    assert "ant/gone.png" in _problems(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_image_is_named(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 5, "bee": 5})
    (folder / "ant" / "0.png").chmod(0)
    assert "Permission denied" in _problems(folder)


def test_other_files_are_left_out_with_a_warning(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    (folder / "ant" / "notes.txt").write_text("seen in May")
    (folder / "ant" / ".DS_Store").write_text("")
    with pytest.warns(UserWarning, match=r"1 files .* ant/notes.txt"):
        source = read_folder(folder)
    assert len(source.keys) == 8


def test_grey_16_bit_palette_alpha_and_cmyk_images_become_rgb(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    grey16 = np.full((8, 8), 0x8000, np.uint16)
    Image.fromarray(grey16).save(folder / "ant" / "grey16.png")
    Image.new("L", (8, 8), 128).save(folder / "ant" / "grey8.png")
    # over white: 3 of 4 parts are hidden
    Image.new("RGBA", (8, 8), (1, 1, 1, 128)).save(folder / "ant" / "alpha.png")
    Image.new("CMYK", (8, 8), (127, 127, 127, 0)).save(folder / "ant" / "print.jpg")
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 128, 128, 128])
    palette.save(folder / "ant" / "palette.png", transparency=b"\xff\xff")
    source = read_folder(folder)
    for name in ("grey16.png", "grey8.png", "alpha.png", "print.jpg", "palette.png"):
        image = np.asarray(source.reader(source.keys.index(f"ant/{name}")))
        assert image.shape == (8, 8, 3), name
        np.testing.assert_allclose(image, 128, atol=2, err_msg=name)


def test_a_turned_photograph_is_set_upright(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.new("RGB", (20, 10)).save(folder / "ant" / "turned.jpg", exif=exif)
    source = read_folder(folder)
    assert source.reader(source.keys.index("ant/turned.jpg")).size == (10, 20)


def test_16_bit_grey_of_a_pgm_is_scaled_and_pixels_without_a_range_are_refused(
    make_folder: MakeFolder,
) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    values = np.full((4, 4), 0x8000, ">u2")
    (folder / "ant" / "deep.pgm").write_bytes(b"P5 4 4 65535\n" + values.tobytes())
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(folder / "bee" / "float.tif")
    source = read_folder(folder)
    read = np.asarray(source.reader(source.keys.index("ant/deep.pgm")))
    np.testing.assert_allclose(read, 128, atol=1)
    with pytest.raises(InputError, match="floating-point pixels have no fixed range"):
        source.reader(source.keys.index("bee/float.tif"))


def test_what_shows_through_transparent_pixels_is_white(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    Image.new("RGBA", (4, 4), (200, 0, 0, 0)).save(folder / "ant" / "hidden.png")
    source = read_folder(folder)
    assert np.asarray(source.reader(source.keys.index("ant/hidden.png"))).min() == 255
    dataset = load_dataset(str(folder), input_size=8)
    assert dataset.preprocessing.to_json()["background"] == [255, 255, 255]


def test_pixels_of_one_value_are_refused_and_of_a_narrow_range_warned_of(
    make_folder: MakeFolder,
) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    for path in folder.rglob("*.png"):
        Image.new("RGB", (8, 8), (9, 9, 9)).save(path)
    assert "all pixels of train have one value, 9" in _problems(folder)
    for path in folder.rglob("*.png"):
        pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3) % 13
        Image.fromarray(pixels).save(path)
    with pytest.warns(HwnasWarning, match="take 5% of the range only .from 0 to 12 of 255"):
        load_dataset(str(folder), input_size=8)


def test_a_class_that_is_nearly_all_is_warned_of(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 40, "bee": 4})
    with pytest.warns(HwnasWarning, match="91% of the images are ant"):
        load_dataset(str(folder), input_size=8)


def test_endings_that_are_not_read_are_counted_beside_those_that_are(
    make_folder: MakeFolder,
) -> None:
    folder = make_folder({"ant": 0, "bee": 0})
    for place in ("ant", "bee"):
        for number in range(3):
            (folder / place / f"IMG_{number}.HEIC").write_bytes(b"heic")
    with pytest.raises(InputError) as caught:
        load_dataset(str(folder), input_size=8)
    text = "\n".join(caught.value.problems)
    assert "their endings: .heic (6); read are .jfif" in text
    assert "convert HEIC files to JPEG" in text


def test_what_is_no_regular_file_is_not_opened(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    os.mkfifo(folder / "ant" / "pipe.png")
    assert "ant/pipe.png (not a regular file)" in _problems(folder)


def test_the_fingerprint_tells_what_is_in_files_of_one_size(make_folder: MakeFolder) -> None:
    folder = make_folder({"ant": 4, "bee": 4})
    before = load_dataset(str(folder), input_size=8).fingerprint
    first, second = sorted((folder / "ant").iterdir())[:2]
    content = first.read_bytes(), second.read_bytes()
    first.write_bytes(content[1])
    second.write_bytes(content[0])
    assert load_dataset(str(folder), input_size=8).fingerprint != before
