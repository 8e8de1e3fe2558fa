"""What a stage needs of the files that earlier stages wrote; other keys may be there as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hwnas.io.schemas import parse_model

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]  # also a name in the run folder
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
Latency = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    """Base of the parts of a run's files."""

    model_config = ConfigDict(extra="allow", strict=True)


class ArchPart(Part):
    """An architecture."""

    space: str
    choices: dict[str, str | int]


class Top1(Part):
    """What the search believes of a network."""

    value: Number
    source: str


class Objectives(Part):
    """The objectives of a network; others may be beside top1."""

    top1: Top1


class Network(Part):
    """A network with its predicted latency."""

    arch: ArchPart
    arch_id: Id
    network_id: Id
    latency_ms: Latency


class Finalist(Network):
    """A network as the search ranks it."""

    objectives: Objectives


class Answer(Part):
    """The finalists of one budget."""

    finalists: list[Finalist]
    random: list[Finalist] = []


class FinalistsFile(Part):
    """``finalists.json``."""

    answers: Annotated[list[Answer], Field(min_length=1)]


class Validated(Part):
    """Accuracy on ``val``."""

    top1: Number


class Trained(Network):
    """A network after training."""

    val: Validated
    search_top1: Number
    search_source: str


class RetrainedFile(Part):
    """``retrained.json``."""

    recipe: dict[str, Any]
    finalists: list[Trained]
    random: list[Trained] = []


class Format(Part):
    """An exported model."""

    file: FileName
    parity: dict[str, Any]


class Exported(Part):
    """The models of a network."""

    arch_id: Id
    network_id: Id
    formats: dict[Literal["onnx", "tflite", "onnx-int8", "tflite-int8"], Format]


class IndexFile(Part):
    """``export/index.json``."""

    networks: list[Exported]


class Measured(Part):
    """A measurement."""

    latency_ms: Latency


class BenchRow(Part):
    """A model that was measured."""

    kind: Literal["finalist", "shelf"]
    network_id: Id
    measurement: Measured
    within_budget: bool
    val_top1: Number
    macs: int
    params: int


class BenchFile(Part):
    """``bench/<device>-<runtime>-<precision>.json``."""

    rows: list[BenchRow]


FILES: Mapping[str, type[Part]] = {
    "finalists.json": FinalistsFile,
    "retrained.json": RetrainedFile,
    "export/index.json": IndexFile,
}


def check_file(name: str, content: Any, what: str) -> None:
    """Raise InputError, with all that is wrong, unless ``content`` is what the file should hold."""
    model = BenchFile if name.startswith("bench/") else FILES.get(name)
    if model is not None:
        parse_model(
            model, content, what=what, next_step="remove it and repeat the command that made it"
        )
