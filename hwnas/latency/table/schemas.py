"""What a latency table's file holds, checked: header, rows, calibrations, validations, networks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import Measurement
from hwnas.io.schemas import FileSchema
from hwnas.io.suggest import command
from hwnas.latency.table.scope import scope_text

KEYS = ("schema", "header", "calibration", "validation", "networks", "entries")
STATISTICS = ("p5_ms", "p50_ms", "p90_ms", "p95_ms", "repeatability")
OLD_FORMS = {"cold": "weight_traffic", "cold+ops": "weight_traffic+ops"}
"""Names of calibration forms in files written before they were renamed."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]


class TableHeader(FileSchema):
    """The target a table describes and how it was measured.

    Tables merge only where all of this but ``date`` and ``provenance`` agrees.
    """

    device: str
    runtime: str
    runtime_version: str
    precision: str
    threads: Annotated[int, Field(ge=1, le=4096)]
    affinity: str | None
    layout: str
    protocol: TimingProtocol | None  # None: published numbers, protocol unknown
    host: dict[str, str | int | list[int]]
    date: str
    seed: int = 0
    scope: dict[str, int] = Field(default_factory=dict)  # options it holds for
    provenance: dict[str, str] = Field(default_factory=dict)  # of imported rows

    def target(self) -> dict[str, Any]:
        """Return all that must agree for two tables to describe the same target."""
        content: dict[str, Any] = self.model_dump(exclude={"date", "provenance"})
        return content

    def profile_command(
        self, space: str, out: str, *, calibrate: int | None = None, resume: bool = False
    ) -> str:
        """Return the command that measures ``space`` on this target, into the table ``out``.

        With ``resume`` it has all that a table must agree in to be continued.
        """
        return command(
            "profile",
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            threads=self.threads,
            affinity=self.affinity,
            space=space,
            scope=scope_text(self.scope) if self.scope else None,
            seed=self.seed or None,
            calibrate=calibrate,
            out=out,
            resume=resume,
        )

    def differences(self, other: TableHeader, ignore: Collection[str] = ()) -> list[str]:
        """Return in which keys the target differs from ``other``'s, but for ``ignore``."""
        theirs = other.target()
        return [
            f"{key} is {value!r}, but {theirs[key]!r}"
            for key, value in self.target().items()
            if key not in ignore and value != theirs[key]
        ]


class MeasurementSchema(FileSchema):
    """A Measurement in a file; a published number (``num_rounds`` 0) has no statistics."""

    latency_ms: Milliseconds
    p5_ms: Milliseconds | None = None
    p50_ms: Milliseconds | None = None
    p90_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    num_rounds: Annotated[int, Field(ge=0, le=10**9)]
    num_runs: Annotated[int, Field(ge=0, le=10**12)]
    repeatability: Annotated[float, Field(ge=0, le=2)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> MeasurementSchema:
        given = [name for name in STATISTICS if getattr(self, name) is not None]
        if self.num_rounds and len(given) < len(STATISTICS):
            absent = ", ".join(name for name in STATISTICS if name not in given)
            raise ValueError(f"a measurement of {self.num_rounds} rounds also has {absent}")
        if not self.num_rounds and given:
            raise ValueError(f"a published number (num_rounds 0) has no {', '.join(given)}")
        return self

    def value(self) -> Measurement:
        """Return the frozen value."""
        if self.num_rounds == 0:
            return Measurement.published(self.latency_ms, self.num_runs)
        return Measurement(**self.model_dump())


class FormError(FileSchema):
    """How a form of calibration errs on networks left out of its fit, relative."""

    rms_rel_error: float
    mean_abs_rel_error: float
    max_abs_rel_error: float


class Calibration(FileSchema):
    """Whole-network latency of one space from its rows (``lut/calibration.py`` has the formula).

    ``form`` was chosen by ``left_out``, the errors of the forms compared; ``margin`` is how much
    larger the rms error of the next best form is (below 0: a more complex form errs less, but not
    reliably). Tables written before forms were compared have none.
    """

    scale: Finite
    per_op_ms: Finite
    constant_ms: Finite
    per_mparam_ms: Finite = 0.0
    per_cold_mparam_ms: Finite = 0.0
    per_mvalue_ms: Finite = 0.0
    corrections: dict[str, Finite] = Field(default_factory=dict)
    num_networks: Annotated[int, Field(ge=0, le=10**9)]
    mean_abs_rel_error: Finite
    max_abs_rel_error: Finite
    form: str | None = None
    left_out: dict[str, FormError] = Field(default_factory=dict)
    margin: float | None = None

    @field_validator("form", mode="before")
    @classmethod
    def _form_now(cls, value: Any) -> Any:
        return OLD_FORMS.get(value, value) if isinstance(value, str) else value

    @field_validator("left_out", mode="before")
    @classmethod
    def _forms_now(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {OLD_FORMS.get(name, name): error for name, error in value.items()}


class ErrorsSchema(BaseModel):
    """What is shown of a validation's errors; a block may hold more."""

    model_config = ConfigDict(strict=True)

    mean_abs_rel_error: Finite
    max_abs_rel_error: Finite | None = None
    within_5_percent: Finite | None = None
    kendall_tau: Finite


class ValidationSchema(ErrorsSchema):
    """What is shown of a space's validation; the block may hold more."""

    num_networks: int
    fastest_ms: Finite | None = None
    slowest_ms: Finite | None = None
    repeatability_mean: Finite
    macs_line: ErrorsSchema
    op_count_line: ErrorsSchema
    winners: ErrorsSchema | None = None


class ArchSchema(FileSchema):
    """An architecture in a table: the object an arch file holds."""

    schema_: Literal[1] = Field(alias="schema")
    space: str
    choices: dict[str, str | int]


class NetworkRecord(FileSchema):
    """A whole network that was measured together with the rows."""

    space: str
    role: Literal["sentinel", "calibrate", "validate", "winner"]
    is_sentinel: bool
    arch: dict[str, Any]
    measurement: MeasurementSchema

    @field_validator("arch")
    @classmethod
    def _is_arch(cls, value: dict[str, Any]) -> dict[str, Any]:
        ArchSchema.model_validate(value)
        return value
