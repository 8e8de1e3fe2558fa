"""Exported networks: model files with what they expect, and their latency on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.arch import Arch
from hwnas.artifacts.answers import TimedModel
from hwnas.artifacts.exported import ExportFile, NetworkFile, ParityPart, PreprocessingPart
from hwnas.device.runtimes import RUNTIMES, usual_runtimes
from hwnas.errors import InputError, UsageError
from hwnas.export.formats import formats_of, precision_of
from hwnas.io.html import rows_html
from hwnas.io.installed import names_missing_packages
from hwnas.io.schemas import parse_model
from hwnas.rng import stream

if TYPE_CHECKING:
    from hwnas.api.networks import Network
    from hwnas.export.quantize.calibration import CalibrationData

PARITY_IMAGES = 64
NOISE: Literal["noise"] = "noise"

Images: TypeAlias = ArrayLike
"""Preprocessed images (N, C, H, W): a numpy array, or a torch tensor on the CPU."""


@dataclass(frozen=True, repr=False)
class Bundle:
    """An exported network: a folder with model files, ``arch.json`` and ``export.json``.

    ``files`` maps what each file is (``onnx``, ``tflite-int8`` ...) to its path; ``parity`` the
    same names to how its outputs differ from the torch network's.
    """

    path: Path
    arch: Arch
    files: Mapping[str, Path]
    parity: Mapping[str, ParityPart]

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r}, {', '.join(path.name for path in self.files.values())})"

    def _repr_html_(self) -> str:
        rows = [
            [
                path.name,
                f"{path.stat().st_size / 1e6:.3f} MB",
                f"{self.parity[key].top1_agreement:.1%}",
            ]
            for key, path in self.files.items()
        ]
        return rows_html(f"Bundle {self.path}", ["file", "size", "top-1 agreement"], rows)


@dataclass(frozen=True)
class BenchRow:
    """The latency of one model file: median of rounds, and its spread, in milliseconds."""

    file: str
    runtime: str
    precision: str
    latency_ms: float
    p5_ms: float
    p95_ms: float
    repeatability: float


@dataclass(frozen=True, repr=False)
class Benchmark:
    """Measured latencies on one device, one row a model file."""

    device: str
    rows: tuple[BenchRow, ...]

    def __repr__(self) -> str:
        lines = [
            f"  {row.file} ({row.runtime}, {row.precision}): {row.latency_ms:.4g} ms "
            f"(p5 {row.p5_ms:.4g}, p95 {row.p95_ms:.4g})"
            for row in self.rows
        ]
        return "\n".join([f"Benchmark({self.device})", *lines])

    def _repr_html_(self) -> str:
        rows = [
            [row.file, row.runtime, row.precision]
            + [f"{ms:.4g}" for ms in (row.latency_ms, row.p5_ms, row.p95_ms)]
            for row in self.rows
        ]
        header = ["file", "runtime", "precision", "latency_ms", "p5_ms", "p95_ms"]
        return rows_html(f"Measured on {self.device}", header, rows)


@names_missing_packages
def export(
    network: Network,
    out: str | Path,
    *,
    formats: Sequence[str] = ("onnx", "tflite"),
    precision: str | Sequence[str] = "fp32",
    calibration: Images | Literal["noise"] | None = None,
    images: Images | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    class_names: Sequence[str] | None = None,
) -> Bundle:
    """Convert a network with its weights; write ``out/<arch_id>/`` and return the bundle.

    ``precision`` is fp32, int8, or both as a list. int8 needs ``calibration``: preprocessed
    float32 images (N, C, H, W) that ranges are measured on; ``"noise"`` is for models that are
    only timed. ``images`` measure how the files' outputs differ from the torch network's; by
    default those of ``calibration``, and fixed noise without any. ``mean``, ``std`` (of each
    channel, pixels being 0..1) and ``class_names`` tell an application what the model expects. A
    second call only verifies what is unchanged.

    Raises:
        UsageError: ``network`` was not made by ``hwnas.build``; no such format or precision.
        InputError: int8 without calibration, or images of another shape; lists every problem.
        ConversionError: a format is impossible for this network.
        ParityError: the outputs of a file differ from the network's.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> network = hwnas.build(space, space.sample(1, seed=0)[0])
        >>> bundle = hwnas.export(network, "out", formats=["onnx"])
        >>> bundle.files["onnx"].name
        'model.onnx'
    """
    from hwnas.api.networks import Network

    if not isinstance(network, Network):
        raise UsageError(
            f"only networks of hwnas.build are exported, got {type(network).__name__}. Next: "
            "network = hwnas.build(space, arch), then network.load_state_dict(...)"
        )
    names = [precision] if isinstance(precision, str) else list(precision)
    preprocessing = parse_model(
        PreprocessingPart,
        {
            "input_size": list(network.input_shape[1:]),
            "mean": [float(value) for value in mean],
            "std": [float(value) for value in std],
            "class_names": list(class_names or map(str, range(network.space.num_classes))),
        },
        what="preprocessing",
    )
    shown = _parity_images(network, images, calibration)
    return _write(network, Path(out), formats, names, calibration, shown, preprocessing)


def _write(
    network: Network,
    out: Path,
    formats: Sequence[str],
    precisions: Sequence[str],
    calibration: Images | Literal["noise"] | None,
    images: NDArray[np.float32],
    preprocessing: PreprocessingPart,
) -> Bundle:
    import torch

    from hwnas.export.bundle import write_bundle
    from hwnas.export.convert.cache import ConversionCache

    wanted = tuple(precision_of(name) for name in precisions)
    folder = out / network.arch.arch_id
    network.save_weights(folder / "weights.safetensors")
    write_bundle(
        out,
        network=network,
        layers=network.layers,
        wiring=network.space.definition.wiring(network.arch),
        arch=network.arch,
        weights=folder / "weights.safetensors",
        images=torch.from_numpy(images),
        preprocessing=preprocessing,
        cache=ConversionCache(),
        formats=formats_of(list(formats)),
        precisions=wanted,
        calibration=_calibration(calibration) if "int8" in wanted else None,
    )
    return load_bundle(folder)


def _float_images(images: Images, what: str) -> NDArray[np.float32]:
    found = np.asarray(images)
    if found.ndim != 4 or found.dtype != np.float32:
        raise InputError(
            what, [f"must be float32 (N, C, H, W), preprocessed, got {found.dtype} {found.shape}"]
        )
    return found


def _parity_images(
    network: Network, images: Images | None, calibration: Images | Literal["noise"] | None
) -> NDArray[np.float32]:
    """Return images ``(N, C, H, W)`` to compare outputs on: given ones, or fixed noise."""
    if images is not None:
        return _float_images(images, "images")
    if calibration is not None and not isinstance(calibration, str):
        return _float_images(calibration, "calibration")
    shape = (PARITY_IMAGES, *network.input_shape)
    return stream(0, "parity images").standard_normal(shape, dtype=np.float32)


def _calibration(images: Images | Literal["noise"] | None) -> CalibrationData:
    from hwnas.export.quantize.calibration import ImageData, NormalData

    if images is None:
        raise InputError(
            "export in int8",
            ["calibration is missing: images that activation ranges are measured on"],
            'give preprocessed float32 images (N, C, H, W), or "noise" for a model only timed',
        )
    if isinstance(images, str):
        if images != NOISE:
            raise UsageError(f'calibration must be images or "noise", got {images!r}')
        return NormalData()
    return ImageData.of(_float_images(images, "calibration"))


@names_missing_packages
def load_bundle(path: str | Path) -> Bundle:
    """Return the bundle in a folder that ``hwnas.export`` or a run wrote.

    Raises:
        InputError: it holds no ``export.json`` and ``arch.json`` of a bundle.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> network = hwnas.build(space, space.sample(1, seed=0)[0])
        >>> bundle = hwnas.export(network, "out", formats=["onnx"])
        >>> hwnas.load_bundle(bundle.path) == bundle
        True
    """
    folder = Path(path)
    if not ExportFile.path(folder).is_file():
        raise InputError(
            str(folder), [f"holds no {ExportFile.FILE}"], "hwnas.export writes such folders"
        )
    exported, network = ExportFile.load(folder), NetworkFile.load(folder)
    return Bundle(
        folder,
        network.arch.unchecked,
        {key: folder / entry.file for key, entry in exported.formats.items()},
        {key: entry.parity for key, entry in exported.formats.items()},
    )


@names_missing_packages
def bench(
    models: Bundle | str | Path | Sequence[str | Path],
    device: str = "host",
    *,
    runtime: str | None = None,
    threads: int | None = None,
    affinity: str | None = None,
    rounds: int | None = None,
    min_seconds: float = 0.0,
) -> Benchmark:
    """Measure model files on a device, in interleaved rounds; return their latencies.

    ``models`` are a bundle (all its files, unless ``runtime`` is given), or paths of ``.onnx`` and
    ``.tflite`` files. Files of different runtimes are measured one kind after the other.
    ``min_seconds`` measures in more rounds for at least this long.

    Raises:
        UsageError: the device has no such runtime, or there is no file for it.
        InputError: a file is missing.
        DeviceError: a model does not load, or the device failed.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> network = hwnas.build(space, space.sample(1, seed=0)[0])
        >>> bundle = hwnas.export(network, "out", formats=["onnx"])
        >>> hwnas.bench(bundle, "desk.yaml", rounds=2).rows[0].latency_ms > 0
        True
    """
    from hwnas.pipeline.commands.single import bench_models

    if isinstance(models, Bundle):
        paths = list(models.files.values())
    elif isinstance(models, str | Path):
        paths = [Path(models)]
    else:
        paths = [Path(model) for model in models]
    rows: list[BenchRow] = []
    name = device
    kinds = usual_runtimes().values() if runtime is None else (runtime,)
    for kind in kinds:
        some = [path for path in paths if path.suffix == f".{RUNTIMES[kind].format}"]
        if not some:
            continue
        found = bench_models(
            some, device, kind, threads, affinity, rounds=rounds, spread_s=min_seconds
        )
        name = found.device
        rows += [_row(row, kind) for row in found.rows]
    if not rows:
        raise UsageError(
            f"there is nothing to measure in {', '.join(map(str, paths)) or 'no files'} for "
            f"runtime {' or '.join(kinds)}. Next: give .onnx or .tflite files"
        )
    return Benchmark(name, tuple(rows))


def _row(row: TimedModel, runtime: str) -> BenchRow:
    measured = row.measurement
    return BenchRow(
        file=row.model,
        runtime=runtime,
        precision=row.precision,
        latency_ms=measured.latency_ms,
        p5_ms=measured.p5_ms,
        p95_ms=measured.p95_ms,
        repeatability=measured.repeatability,
    )
