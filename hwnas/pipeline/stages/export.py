"""The stage that exports the trained finalists to model files and measures their parity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from hwnas.artifacts.exported import ExportedNetwork, ExportIndexFile, PreprocessingPart
from hwnas.artifacts.training import RetrainedFile, TrainedNetwork
from hwnas.data import Dataset
from hwnas.export.bundle import write_bundle
from hwnas.export.formats import Format, Precision
from hwnas.export.verify.parity import PARITY_IMAGES
from hwnas.io.progress import report
from hwnas.nn.build import build
from hwnas.pipeline.context import Context
from hwnas.pipeline.stages.quantised import calibration_data, file_score
from hwnas.train.checkpoint import load_weights


def export(context: Context, *, formats: Sequence[Format], precisions: Sequence[Precision]) -> bool:
    """Export every retrained finalist; write export/<arch_id>/ and export/index.json."""
    rows = context.folder.read(RetrainedFile).finalists

    def work() -> tuple[ExportIndexFile, Mapping[str, float]]:
        exported = []
        for place, row in enumerate(rows):
            report("exporting", place, len(rows))
            exported.append(_export_one(context, row, formats, precisions))
        report("exporting", len(rows), len(rows))
        return ExportIndexFile(networks=tuple(exported)), {}

    return context.folder.stage("export", ExportIndexFile.path(context.folder.path), work)


def _export_one(
    context: Context,
    row: TrainedNetwork,
    formats: Sequence[Format],
    precisions: Sequence[Precision],
) -> ExportedNetwork:
    arch = context.data.arch(row.arch)
    layers = context.space.layers(arch)
    dataset = context.data.dataset_for(layers)
    network = build(context.space, arch)
    weights = context.folder.weights(row.network_id)
    load_weights(network, weights)
    written = write_bundle(
        context.folder.file("export"),
        network=network,
        layers=layers,
        wiring=context.space.wiring(arch),
        arch=arch,
        weights=weights,
        images=_parity_images(dataset.without_test()),
        preprocessing=PreprocessingPart.from_json(dataset.preprocessing.to_json()),
        cache=context.cache,
        formats=formats,
        precisions=precisions,
        calibration=calibration_data(dataset) if "int8" in precisions else None,
    )
    # the accuracy of an int8 file is that of the file, not of the network it is made of
    folder = context.folder.file(f"export/{arch.arch_id}")
    files = {
        key: entry.model_copy(
            update={"val": file_score(folder / entry.file, dataset.without_test(), "val")}
        )
        if entry.precision == "int8"
        else entry
        for key, entry in written.formats.items()
    }
    return ExportedNetwork(arch_id=arch.arch_id, network_id=row.network_id, formats=files)


def _parity_images(dataset: Dataset) -> torch.Tensor:
    """Return PARITY_IMAGES images of ``val``, filled up from ``train`` where it has fewer."""
    images = dataset.images("val", PARITY_IMAGES)
    if len(images) == PARITY_IMAGES:
        return images
    return torch.cat([images, dataset.images("train", PARITY_IMAGES - len(images))])
