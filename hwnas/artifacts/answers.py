"""What commands print that is in no file of a run: exported models, measured models, a run."""

from __future__ import annotations

from typing import NamedTuple

from hwnas.artifacts.base import Id, JsonObject, Milliseconds, Part
from hwnas.artifacts.benched import MeasurementPart
from hwnas.artifacts.exported import ModelFilePart
from hwnas.artifacts.winner import WinnerFile


class ExportedModel(NamedTuple):
    """An exported model file: where it is, and what ``export.json`` holds of it."""

    path: str
    file: ModelFilePart

    def to_json(self) -> JsonObject:
        """Return one object, the path first."""
        return {"path": self.path, **self.file.to_json()}


class ExportedModels(NamedTuple):
    """What ``hwnas export`` made."""

    models: tuple[ExportedModel, ...]

    def to_json(self) -> JsonObject:
        """Return the object that ``--json`` prints."""
        return {"models": [model.to_json() for model in self.models]}


class TimedModel(Part):
    """A model file that was measured; ``predicted_ms`` is by a table, None without one."""

    name: str
    model: str
    precision: str
    measurement: MeasurementPart
    round_medians_ms: tuple[float, ...]
    predicted_ms: Milliseconds | None


class TimedModels(Part):
    """One session in which model files were measured in the same interleaved rounds."""

    device: str
    runtime: str
    runtime_version: str
    threads: int
    affinity: str | None
    state_before: JsonObject
    state_after: JsonObject
    rows: tuple[TimedModel, ...]


class RunAnswer(NamedTuple):
    """What ``hwnas run`` ends with: the winner, and the path of the report."""

    winner: WinnerFile
    report: str

    def to_json(self) -> JsonObject:
        """Return the object that ``--json`` prints."""
        return {"winner": self.winner.to_json(), "report": self.report}


class LineScore(Part):
    """How a run's search scores the architecture of one line, or why it cannot.

    ``source`` is the evaluator's (supernet, scratch, table, predictor); ``loss`` only some have.
    """

    arch_id: Id | None = None
    top1: float | None = None
    loss: float | None = None
    source: str | None = None
    error: str | None = None
