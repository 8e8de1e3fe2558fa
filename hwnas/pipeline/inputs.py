"""What a run was begun with, recorded, and compared whenever a stage reads it again.

A model whose class names, mean or images are not those of its training is wrong without a sign of
it, so a stage that finds other inputs than the run's refuses, and names both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.artifacts.inputs import ImagesRecord, InputsFile
from hwnas.errors import InputError
from hwnas.pipeline.config.run import RunConfig

if TYPE_CHECKING:
    from hwnas.data import Dataset

SHOWN = 5
"""Class names in a message."""


def images_record(dataset: Dataset) -> ImagesRecord:
    """Return what identifies a data set."""
    return ImagesRecord(
        fingerprint=dataset.fingerprint,
        class_names=dataset.class_names,
        splits=dataset.sizes,
        input_size=dataset.input_size,
        mean=dataset.mean,
        std=dataset.std,
    )


def keep_images(run: Path, name: str, dataset: Dataset) -> None:
    """Check that ``dataset`` is what the run read under this name; the first time write it down.

    A folder without a configuration is no run yet, and nothing is written there.

    Raises:
        InputError: it is not; says what was recorded and what is there now.
    """
    if not (run / "config.yaml").is_file():
        return
    inputs = InputsFile.load_if_present(run) or InputsFile(images={}, files={}, own={})
    now, known = images_record(dataset), inputs.images.get(name)
    if known is None:
        images = {**inputs.images, name: now}
        inputs.model_copy(update={"images": images}).save(run)
    elif problems := _differences(known, now):
        raise InputError(
            f"images {name} of the run in {run}",
            problems,
            "put the images back as they were, or begin a new run in another folder; "
            "--data of hwnas retrain trains the finalists on other images",
        )


def _differences(known: ImagesRecord, now: ImagesRecord) -> list[str]:
    """Return what is not as it was, the most telling first; empty where all is."""
    if known == now:
        return []
    problems = []
    if known.class_names != now.class_names:
        problems.append(
            f"the classes were {_names(known.class_names)}, and are {_names(now.class_names)}"
        )
    if known.splits != now.splits:
        problems.append(f"the splits were {_counts(known.splits)}, and are {_counts(now.splits)}")
    for what in ("mean", "std"):
        was, is_now = getattr(known, what), getattr(now, what)
        if was != is_now:
            problems.append(f"the {what} of train was {_triple(was)}, and is {_triple(is_now)}")
    if not problems:
        problems.append(
            f"files were changed, renamed or exchanged: the fingerprint was {known.fingerprint}, "
            f"and is {now.fingerprint}"
        )
    return problems


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _counts(splits: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in splits.items())


def _triple(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


def named_files(config: RunConfig) -> list[Path]:
    """Return the files of others that a configuration names and that stages read again."""
    space = config.space.rpartition(":")[0] if "=" in config.space else config.space
    names = [
        space if space.endswith((".yaml", ".yml")) else None,
        config.search.supernet.init,
        config.retrain.init,
        _evaluator_file(str(config.search.evaluator)),
    ]
    return [Path(name) for name in dict.fromkeys(names) if name is not None]


def _evaluator_file(evaluator: str) -> str | None:
    """Return the file in ``predictor:FILE`` and ``table:FILE``."""
    _, colon, name = evaluator.partition(":")
    return name if colon and Path(name).is_file() else None


def keep_files(run: Path, config: RunConfig) -> None:
    """Check that the files a run was begun with are as they were; the first time write them down.

    Those that are gone are left to the stage that needs them.

    Raises:
        InputError: some have changed; names them all.
    """
    inputs = InputsFile.load_if_present(run) or InputsFile(images={}, files={}, own={})
    now = {str(path): _digest(path) for path in named_files(config) if path.is_file()}
    _require_same(run, inputs.files, now)
    _require_same(run, inputs.own, _digests(run, [run / name for name in inputs.own]))
    if new := {name: digest for name, digest in now.items() if name not in inputs.files}:
        inputs.model_copy(update={"files": {**inputs.files, **new}}).save(run)


def keep_own(run: Path, paths: Iterable[Path]) -> None:
    """Write down what tables and weights of the run folder hold now that they are whole."""
    inputs = InputsFile.load_if_present(run) or InputsFile(images={}, files={}, own={})
    files = [file for path in paths for file in (path.glob("*.json") if path.is_dir() else [path])]
    own = {**inputs.own, **_digests(run, files)}
    if own != inputs.own:
        inputs.model_copy(update={"own": own}).save(run)


def _digests(run: Path, files: Iterable[Path]) -> dict[str, str]:
    return {file.relative_to(run).as_posix(): _digest(file) for file in files if file.is_file()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _require_same(run: Path, known: Mapping[str, str], now: Mapping[str, str]) -> None:
    changed = [
        f"{name} has changed since the run recorded it (SHA-256 was {known[name][:12]}..., and is "
        f"{digest[:12]}...)"
        for name, digest in now.items()
        if known.get(name, digest) != digest
    ]
    if changed:
        raise InputError(
            f"the run in {run}",
            changed,
            "put the files back as they were, or begin a new run in another folder",
        )
