"""Architectures and model files that belong to no run: exported, measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwnas.artifacts.answers import ExportedModel, ExportedModels, TimedModel, TimedModels
from hwnas.artifacts.benched import MeasurementPart
from hwnas.artifacts.exported import PreprocessingPart
from hwnas.device.benchmark import bench, check_models
from hwnas.device.device import load_device
from hwnas.device.runner import Target, make_target, open_runner
from hwnas.device.runtimes import usual_runtimes
from hwnas.errors import InputError, UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.formats import formats_of, precision_of
from hwnas.export.verify.session import file_precision
from hwnas.latency.table.files import load_table
from hwnas.ops import OpSpec
from hwnas.pipeline.prediction import predictor_of
from hwnas.rng import stream
from hwnas.space.archfile import read_arch
from hwnas.space.catalogue import load_space

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)


def export_arch(
    path: Path,
    formats: Sequence[str],
    *,
    space: str | None,
    weights: Path | None,
    out: Path,
    weights_of: str | None = None,
    precisions: Sequence[str] = ("fp32",),
) -> ExportedModels:
    """Export one architecture with given weights, or its initial ones; return its model files.

    With ``weights_of`` the weights are a published model's of that name, a state dict of
    torchvision or timm; the network must be that model's.

    Without images of its own, parity is measured on fixed noise, and int8 calibrated on other
    noise; the preprocessing says mean 0 and deviation 1.

    Raises:
        UsageError: int8 of given weights, whose ranges noise does not tell.
    """
    wanted = tuple(precision_of(name) for name in precisions)
    if "int8" in wanted and weights is not None:
        raise UsageError(
            "--precision int8 with --weights needs training images to measure ranges "
            "on, which an architecture file does not bring. Next: export the run the "
            "weights were trained in, with --run"
        )
    value = read_arch(path)
    loaded = load_space(space or value["space"])
    if loaded.name != value["space"]:
        raise InputError(str(path), [f"is of space {value['space']}, not of {loaded.name}"])
    arch = loaded.arch(value["choices"])
    # what loads torch comes after the checks that need none
    import torch

    from hwnas.export.bundle import write_bundle
    from hwnas.export.quantize.calibration import NormalData
    from hwnas.export.verify.parity import PARITY_IMAGES
    from hwnas.nn.build import build

    layers, network = loaded.layers(arch), build(loaded, arch)
    own = out / arch.arch_id / "weights.safetensors"
    used = _load_given(network, weights, weights_of, own)
    shape = (PARITY_IMAGES, *layers[0].in_shape)
    noise = stream(0, "parity images").standard_normal(shape, dtype=np.float32)
    written = write_bundle(
        out,
        network=network,
        layers=layers,
        wiring=loaded.wiring(arch),
        arch=arch,
        weights=used,
        images=torch.from_numpy(noise),
        preprocessing=_plain_preprocessing(layers, loaded.num_classes),
        cache=ConversionCache(),
        formats=formats_of(formats),
        precisions=wanted,
        calibration=NormalData() if "int8" in wanted else None,
    )
    return ExportedModels(
        tuple(
            ExportedModel(str(out / arch.arch_id / entry.file), entry)
            for entry in written.formats.values()
        )
    )


def _plain_preprocessing(layers: Sequence[OpSpec], num_classes: int) -> PreprocessingPart:
    """Return the preprocessing that changes no value; classes are called by their numbers."""
    return PreprocessingPart(
        input_size=layers[0].in_shape[1:],
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        class_names=tuple(str(number) for number in range(num_classes)),
    )


def _load_given(
    network: nn.Module, weights: Path | None, weights_of: str | None, own: Path
) -> Path:
    """Load given weights into ``network``; return the safetensors file that holds what it has.

    That is ``own``, which is written, unless ``weights`` is such a file already.
    """
    from hwnas.nn.pretrained import load_reference
    from hwnas.train.checkpoint import load_weights, read_tensors, save_weights

    if weights is not None and weights_of is None:
        load_weights(network, weights)
        return weights
    if weights is not None and weights_of is not None:
        load_reference(network, weights_of, read_tensors(weights))
    save_weights(network, own)
    return own


def bench_models(
    models: Sequence[Path],
    device: str,
    runtime: str | None,
    threads: int | None,
    affinity: str | None,
    *,
    rounds: int | None = None,
    spread_s: float = 0.0,
    lut: Path | None = None,
) -> TimedModels:
    """Measure model files; predicted beside where an arch.json lies beside and a table is given."""
    target = make_target(
        load_device(device), runtime or _runtime_of(models), "fp32", threads, affinity
    )
    names = {str(path): path for path in models}
    check_models(names, target)
    precisions = {path: file_precision(path) for path in models}
    if lut is not None and len(set(precisions.values())) > 1:
        raise UsageError(
            "--lut holds latencies of one precision, the models are of several: "
            + ", ".join(f"{path} {found}" for path, found in precisions.items())
        )
    target = replace(target, precision=precisions[models[0]])
    predicted = _predictions(models, lut, target) if lut else {}
    with open_runner(target) as runner:
        found = bench(names, target, runner, rounds=rounds, spread_s=spread_s)
    if found.disturbance:
        logger.warning(found.disturbance)
    return TimedModels(
        device=target.device.name,
        runtime=target.runtime,
        runtime_version=found.runtime_version,
        threads=target.threads,
        affinity=target.affinity,
        state_before=dict(found.state_before),
        state_after=dict(found.state_after),
        rows=tuple(
            TimedModel(
                name=model.name,
                model=model.model.name,
                precision=precisions[model.model],
                measurement=MeasurementPart.from_json(model.measurement.to_json()),
                round_medians_ms=model.round_medians_ms,
                predicted_ms=predicted.get(model.model),
            )
            for model in found.models
        ),
    )


def _runtime_of(models: Sequence[Path]) -> str:
    suffixes = {path.suffix for path in models}
    for name, runtime in usual_runtimes().items():
        if suffixes == {f".{name}"}:
            return runtime
    raise UsageError(
        f"cannot tell the runtime of {', '.join(map(str, models))}: measure *.tflite "
        "or *.onnx files, one kind at a time"
    )


def _predictions(models: Sequence[Path], lut: Path, target: Target) -> dict[Path, float]:
    """Return the predicted ms of each model with an arch.json beside it.

    Raises:
        UsageError: the table is of another device, runtime, precision or number of threads.
    """
    table = load_table(lut)
    header = table.header
    measured = (header.device, header.runtime, header.precision, header.threads)
    wanted = (target.device.name, target.runtime, target.precision, target.threads)
    if measured != wanted:
        raise UsageError(
            f"{lut} holds latencies of {_spelt(*measured)}, but {_spelt(*wanted)} is "
            "to be measured. Next: give the table of that target, or leave out --lut"
        )
    predicted = {}
    for model in models:
        description = model.parent / "arch.json"
        if description.is_file():
            value = read_arch(description)
            space = load_space(value["space"])
            predictor = predictor_of(space, table)
            predicted[model] = predictor.predict_arch_ms(space.arch(value["choices"]))
    return predicted


def _spelt(device: str, runtime: str, precision: str, threads: int) -> str:
    return f"{device} ({runtime}, {precision}, {threads} thread(s))"
