"""Options that several verbs take, with the panels that help texts group them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hwnas.device.runtimes import RUNTIMES
from hwnas.export.formats import PRECISIONS
from hwnas.plugins.registry import Registry

TARGET = "Device and latency"
TRAINING = "Training"
LIMITS = "Limits"
STRATEGY = "Strategy"
WEIGHTS = "Published weights"
DATA = "Images"


def option(*names: str, panel: str | None = None, **settings: Any) -> Any:
    """Return ``typer.Option`` with its panel in the help text."""
    return typer.Option(*names, rich_help_panel=panel, **settings)


def any_of(registry: Registry[Any]) -> str:
    """Return the names of a registry for a help text: ``litert or onnxruntime``."""
    *others, last = [entry.name for entry in registry.values()]
    return f"{', '.join(others)} or {last}" if others else last


AsJson = Annotated[bool, option("--json", help="Print JSON instead of text.")]
Resume = Annotated[bool, option("--resume", help="Continue from what is on record.")]
RunPath = Annotated[Path, option("--run", help="A run folder.")]
Seed = Annotated[int, option("--seed", min=0, help="Seed of all random draws.")]
SpaceName = Annotated[str, option("--space", help="NAME[:key=value,...] or a .yaml file.")]
Archs = Annotated[Path, option("--archs", help="Architectures, one JSON object a line.")]
Device = Annotated[
    str | None, option("--device", panel=TARGET, help="A device's name or .yaml file.")
]
Threads = Annotated[
    int | None,
    option("--threads", panel=TARGET, min=1, help="Threads; by default the device file's."),
]
Affinity = Annotated[
    str | None, option("--affinity", panel=TARGET, help="CPUs to bind threads to, as in 4-7.")
]
Runtime = Annotated[str, option("--runtime", panel=TARGET, help=f"{any_of(RUNTIMES)}.")]
Precision = Annotated[str, option("--precision", panel=TARGET, help=f"{PRECISIONS.help_text()}.")]
LutPath = Annotated[
    Path,
    option("--lut", panel=TARGET, help="A latency table, a folder of them, or a known name."),
]
PredictorOption = Annotated[
    str,
    option(
        "--predictor",
        panel=TARGET,
        help="lut: measured rows only; op-predictor: also predict rows that the table lacks.",
    ),
]
Spread = Annotated[
    float | None,
    option(
        "--spread",
        panel=TARGET,
        min=0,
        max=86_400,
        help="Measure for at least this many seconds, in more rounds; a host's speed varies "
        "within a minute.",
    ),
]
Confidence = Annotated[
    float | None,
    option(
        "--confidence",
        panel=LIMITS,
        min=0.5,
        max=0.9999,
        help="Shrink budgets so that measured latencies meet them with this probability "
        "(0.95), instead of --headroom.",
    ),
]
Evaluations = Annotated[
    int, option("--evaluations", panel=STRATEGY, min=1, help="Networks to score, per budget.")
]
Workers = Annotated[
    int | None,
    option("--workers", panel=TRAINING, min=1, help="Parallel trainings; by default one per core."),
]
TorchDevice = Annotated[
    str, option("--torch-device", panel=TRAINING, help="Device of trainings: cpu, cuda, cuda:1.")
]
Init = Annotated[
    Path | None,
    option(
        "--init",
        panel=WEIGHTS,
        help="File of published weights to start from: Once-for-All's supernet (spaces "
        "ofa-mbv3), or those of --init-arch.",
    ),
]
InitArch = Annotated[
    str | None,
    option(
        "--init-arch",
        panel=WEIGHTS,
        help="Name of the torchvision or timm model whose weights --init holds.",
    ),
]
DataRoot = Annotated[
    Path | None, option("--data-root", panel=DATA, help="Folder of torchvision data sets.")
]
