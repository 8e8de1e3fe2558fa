"""Int8 files in a run: what they are calibrated on, and how accurate they are as they execute."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.artifacts.exported import FileScorePart
from hwnas.data import Dataset
from hwnas.export.formats import FORMATS, format_of
from hwnas.export.quantize.calibration import ImageData
from hwnas.export.verify.session import open_session

CALIBRATION_IMAGES = 128


def calibration_data(dataset: Dataset) -> ImageData:
    """Return the first CALIBRATION_IMAGES of ``train``, preprocessed as for evaluation.

    Never of ``val`` or ``test``, on which int8 files are scored.
    """
    return ImageData.of(dataset.images("train", CALIBRATION_IMAGES).numpy())


def file_score(model: Path, dataset: Dataset, split: str) -> FileScorePart:
    """Return top-1 (0..1) of a model file over a split, executed by its runtime one by one.

    The file has its format's usual layout.
    """
    session, layout = open_session(model), FORMATS[format_of(model)].layouts[0]
    correct, num_images = 0, 0
    for images, labels in dataset.batches((split,), batch_size=64):
        values = images.permute(0, 2, 3, 1) if layout == "nhwc" else images
        for value, label in zip(np.ascontiguousarray(values.numpy()), labels.tolist(), strict=True):
            correct += int(session.run_real(value[None]).argmax()) == label
        num_images += len(labels)
    return FileScorePart(top1=correct / num_images, num_images=num_images, source="file")
