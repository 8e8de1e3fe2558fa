"""A run goes on with what it was begun with: every other input is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.artifacts.inputs import InputsFile
from hwnas.errors import InputError
from hwnas.pipeline.commands.runs import (
    bench_run,
    export_run,
    retrain_run,
    search_run,
)
from hwnas.pipeline.config.run import RunConfig
from hwnas.train import task

SPACE = "tiny:num_classes=3"


@pytest.fixture(autouse=True)
def read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage reads the images from disk, as a process of its own does."""
    monkeypatch.setattr(task, "_load", task._load.__wrapped__)


@pytest.fixture
def config(images: Path, make_config, make_table, tmp_path: Path) -> RunConfig:
    table = make_table(tmp_path / "t3.json", space=SPACE)
    target = {"device": "host", "runtime": "onnxruntime", "table": str(table), "budget_ms": 100}
    return make_config(
        space=SPACE,
        data=str(images),
        targets=[target],
        search={"evaluations": 2, "recipe": {"epochs": 1, "warmup_epochs": 0}},
    )


@pytest.fixture
def begun(config: RunConfig, tmp_path: Path) -> Path:
    """A search on a folder of images that may be changed."""
    search_run(config, tmp_path / "run")
    return tmp_path / "run"


def renamed(images: Path) -> None:
    (images / "ant").rename(images / "zebra")


def darkened(images: Path) -> None:
    for path in images.rglob("*.png"):
        pixels = np.asarray(Image.open(path))
        Image.fromarray((pixels // 2).astype(np.uint8)).save(path)


def removed(images: Path) -> None:
    sorted((images / "bee").iterdir())[0].unlink()


def exchanged(images: Path) -> None:
    """Two images of one class, of one size, exchange their names."""
    first, second = sorted((images / "cat").iterdir())[:2]
    shutil.move(first, images / "kept")
    shutil.move(second, first)
    shutil.move(images / "kept", second)


CHANGES = [
    (renamed, "the classes were ant, bee, cat, and are bee, cat, zebra"),
    (darkened, "the mean of train was"),
    (removed, "the splits were"),
    (exchanged, "files were changed, renamed or exchanged|the mean of train was"),
]


def files_of(run: Path) -> dict[str, bytes]:
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("change", "says"), CHANGES)
def test_other_images_are_refused_after_the_search(begun, images, change, says) -> None:
    before = files_of(begun)
    change(images)
    with pytest.raises(InputError, match=says) as error:
        retrain_run(begun)
    assert str(images) in str(error.value)
    assert str(begun) in str(error.value)
    assert files_of(begun) == before


def test_other_images_are_refused_before_every_later_stage(begun, images, tmp_path) -> None:
    retrain_run(begun)
    shutil.copytree(images, tmp_path / "as they were")
    darkened(images)
    before = files_of(begun)
    with pytest.raises(InputError, match="the mean of train was"):
        export_run(begun, formats=["onnx"])
    assert files_of(begun) == before
    shutil.rmtree(images)
    shutil.move(tmp_path / "as they were", images)
    export_run(begun, formats=["onnx"])
    removed(images)
    before = files_of(begun)
    with pytest.raises(InputError, match="the splits were"):
        bench_run(begun)
    assert files_of(begun) == before


def test_a_search_is_not_resumed_on_other_images(begun, images, config) -> None:
    renamed(images)
    before = files_of(begun)
    with pytest.raises(InputError, match="the classes were"):
        search_run(config, begun, resume=True)
    after = files_of(begun)
    del before["journal.jsonl"], after["journal.jsonl"]  # notes that it was resumed
    assert after == before


def test_finalists_may_be_trained_on_other_images_that_are_named(begun, images, tmp_path) -> None:
    other = Path(shutil.copytree(images, tmp_path / "others"))
    darkened(other)
    retrain_run(begun, data=str(other))
    assert set(InputsFile.load(begun).images) == {str(images), str(other)}
    removed(other)
    with pytest.raises(InputError, match="the splits were"):
        export_run(begun, formats=["onnx"])


def test_images_that_only_moved_are_the_same(begun, images, tmp_path) -> None:
    copy = shutil.copytree(images, tmp_path / "copy")
    shutil.rmtree(images)
    shutil.copytree(copy, images)
    retrain_run(begun)


def test_a_table_that_was_edited_is_refused(begun) -> None:
    path = begun / "table.json"
    content = path.read_text()
    path.write_text(content.replace("host", "tsoh", 1))
    with pytest.raises(InputError, match=r"table\.json has changed since the run recorded it"):
        retrain_run(begun)
    path.write_text(content)
    retrain_run(begun)


def test_weights_that_were_exchanged_are_refused(begun) -> None:
    retrain_run(begun)
    first, *_ = sorted((begun / "checkpoints").glob("*.safetensors"))
    other = bytearray(first.read_bytes())
    other[-4:] = b"\0\0\0\0"
    first.write_bytes(bytes(other))
    with pytest.raises(InputError, match=rf"checkpoints/{first.name} has changed"):
        export_run(begun, formats=["onnx"])


def test_a_space_file_that_was_edited_is_refused(make_config, make_table, tmp_path) -> None:
    space = tmp_path / "my_space.yaml"
    shutil.copy(Path(__file__).parents[2] / "examples" / "my_space.yaml", space)
    table = make_table(tmp_path / "own.json", space=str(space))
    target = {"device": "host", "runtime": "onnxruntime", "table": str(table), "budget_ms": 100}
    search_run(make_config(space=str(space), targets=[target]), tmp_path / "run")
    space.write_text(space.read_text() + "\n# a word\n")
    with pytest.raises(InputError, match=r"my_space\.yaml has changed"):
        retrain_run(tmp_path / "run")


def test_the_record_says_what_the_images_were(begun, images) -> None:
    content = json.loads((begun / "inputs.json").read_text())
    record = content["images"][str(images)]
    assert record["class_names"] == ["ant", "bee", "cat"]
    assert sum(record["splits"].values()) == 60
    assert len(record["mean"]) == len(record["std"]) == 3
    assert set(content["own"]) == {"table.json"}
