"""The configuration of a run: one YAML file, checked as a whole before any work begins."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hwnas.device.runtimes import Runtime
from hwnas.errors import InputError, UsageError
from hwnas.export.formats import Format, Precision
from hwnas.io.schemas import FileSchema, parse_model, read_yaml, yaml_text
from hwnas.latency.models import model_name
from hwnas.pipeline.config.search import SearchConfig, require_init
from hwnas.plugins.loading import load_plugins
from hwnas.train.recipe import RecipeSchema

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


class TargetConfig(FileSchema):
    """A device the model must run on, and the budget there.

    The budget is ``budget_ms`` (several: one answer each), or ``budget_percentile`` of the space's
    latencies. Without ``table`` the device is profiled. ``headroom`` is the share of the budget
    that search leaves free for errors of prediction; null derives it from the table's errors.
    ``force`` takes a table whose latencies look as if they were not in ms, or whose predictions err
    by more than 10 %.
    ``predictor`` op-predictor predicts operations without a row from those with one.
    """

    device: str = "host"
    runtime: Runtime = "litert"
    precision: Precision = "fp32"
    threads: Annotated[int, Field(ge=1, le=64)] | None = None
    affinity: str | None = None
    table: str | None = None
    calibrate: Annotated[int, Field(ge=0, le=1000)] = 16
    validate_: Annotated[int, Field(ge=0, le=1000, alias="validate")] = 0
    budget_ms: Positive | tuple[Positive, ...] | None = None
    budget_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    headroom: Annotated[float, Field(ge=0, lt=0.5)] | None = None
    force: bool = False
    predictor: str = "lut"

    @field_validator("predictor")
    @classmethod
    def _known_model(cls, value: str) -> str:
        try:
            return model_name(value, needs="table")
        except UsageError as error:
            raise ValueError(str(error)) from None

    @field_validator("budget_ms", mode="before")
    @classmethod
    def _positive_ms(cls, value: Any) -> Any:
        """Check before the two forms are told apart, so that one sentence says what is wrong."""
        listed = value if isinstance(value, list | tuple) else [value]
        if value is not None and not (listed and all(_is_positive(item) for item in listed)):
            raise ValueError("must be a number of ms above 0, or a list of such numbers")
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_budget(self) -> TargetConfig:
        if (self.budget_ms is None) == (self.budget_percentile is None):
            raise ValueError("needs either budget_ms or budget_percentile")
        return self

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """The budgets in ms; empty when it is a percentile."""
        if self.budget_ms is None:
            return ()
        return self.budget_ms if isinstance(self.budget_ms, tuple) else (self.budget_ms,)


class RetrainConfig(FileSchema):
    """How the finalists are trained: from scratch, or from published weights.

    With ``random_baseline`` as many networks drawn at random below the same budget are trained by
    the same recipe beside them (not where the search is random itself).

    ``data`` (in ``data_root``) are images instead of the search's; their classes replace the head.
    ``init`` is a file that trainings begin with: Once-for-All's supernet, or the weights of the
    known model ``init_arch``, for finalists that are this network. With ``train`` false they stay
    as they are, but for the statistics of batch norms.

    ``folds`` (0: none) scores the networks by cross-validation instead of on ``val``: each is also
    trained so many times, without one fold of train, arch and val, and scored on it. Few images
    decide more that way, for so many times the training.
    """

    top: Annotated[int, Field(ge=1, le=1000)] = 3
    random_baseline: bool = True
    recipe: RecipeSchema = RecipeSchema()
    data: str | None = None
    data_root: str | None = None
    init: str | None = None
    init_arch: str | None = None
    train: bool = True
    folds: Annotated[int, Field(ge=0, le=20)] = 0

    @model_validator(mode="after")
    def _possible(self) -> RetrainConfig:
        require_init("retrain", self.init, self.init_arch, train=self.train)
        if self.folds == 1:
            raise ValueError("retrain.folds must be 2 or more, or 0 for no cross-validation, got 1")
        if self.folds and not self.train:
            raise ValueError("retrain.folds trains networks, and retrain.train is false")
        if self.data_root is not None and self.data is None:
            raise ValueError(
                "retrain.data_root is where the set of retrain.data lies: give retrain.data, too"
            )
        return self


class BenchConfig(FileSchema):
    """Which known networks the winner is compared with: scaled to its budget, trained like it."""

    baselines: tuple[Literal["mobilenet_v2", "mobilenet_v3_small"], ...] = (
        "mobilenet_v2",
        "mobilenet_v3_small",
    )


class RunConfig(FileSchema):
    """Everything that decides a run.

    ``confidence`` (0.95) shrinks every latency budget so far that what is found is within it, when
    measured, with that probability (``latency/drift/conformal.py``), instead of a ``headroom``.
    ``plugins`` are Python files that add spaces, operations, strategies or runtimes: reading the
    configuration runs them.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"bench.shelf": "baselines"}

    schema_: Literal[1] = Field(alias="schema", default=1)
    plugins: tuple[str, ...] = ()
    space: str
    data: str | None = None
    data_root: str | None = None
    targets: Annotated[tuple[TargetConfig, ...], Field(min_length=1, max_length=8)]
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    limits: dict[Literal["params", "macs", "size_mb"], Positive] = Field(default_factory=dict)
    search: SearchConfig = SearchConfig()
    retrain: RetrainConfig = RetrainConfig()
    bench: BenchConfig = BenchConfig()
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = (
        "onnx",
        "tflite",
    )
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    torch_device: str = "cpu"
    workers: Annotated[int, Field(ge=1, le=256)] | None = None

    @model_validator(mode="after")
    def _budget_lists(self) -> RunConfig:
        if any(len(target.budgets_ms) > 1 for target in self.targets[1:]):
            raise ValueError("only the first target may have several budgets")
        if self.confidence is not None and any(t.headroom is not None for t in self.targets):
            raise ValueError("confidence decides the headroom: give either of them")
        if self.data is None and self.search.evaluator.entry.needs_images:
            raise ValueError(
                f"data is needed by evaluator {self.search.evaluator}: digits, a "
                "folder of images, or a torchvision data set"
            )
        return self

    @property
    def exported_precisions(self) -> tuple[Precision, ...]:
        """The precisions of exported files: ``precisions``; null: fp32, and those of targets."""
        if self.precisions is not None:
            return self.precisions
        return tuple(dict.fromkeys(("fp32", *(target.precision for target in self.targets))))

    def to_yaml(self) -> str:
        """Return the file this configuration is read back from."""
        content = self.model_dump(mode="json", by_alias=True)
        if not self.plugins:
            del content["plugins"]
        return yaml_text(content)


def with_confidence(config: RunConfig, confidence: float) -> RunConfig:
    """Return ``config`` with this confidence, which decides every target's headroom."""
    content = config.model_dump(mode="json", by_alias=True)
    for target in content["targets"]:
        target["headroom"] = None
    return parse_model(RunConfig, {**content, "confidence": confidence}, what="configuration")


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "schema": 1,
        "space": "tiny",
        "data": "digits",
        "targets": [
            {
                "device": "host",
                "runtime": "litert",
                "calibrate": 16,
                "validate": 16,
                "budget_percentile": 35.0,
            }
        ],
        "search": {
            "strategy": "proxyless",
            "evaluations": 16,
            "supernet": {
                "recipe": {"epochs": 20, "batch_size": 32, "lr": 0.3, "label_smoothing": 0.1}
            },
        },
        "retrain": {"top": 3, "recipe": {"epochs": 20}},
    }
}


def load_config(path: Path, *, run_plugins: bool = True) -> RunConfig:
    """Read a run's YAML file and, unless told not to, run the plugins it names.

    Raises:
        InputError: lists every problem of the file, or says what is wrong with a plugin.
    """
    return parse_config(read_yaml(path), what=str(path), run_plugins=run_plugins)


def parse_config(content: Any, *, what: str, run_plugins: bool = True) -> RunConfig:
    """Check a configuration as YAML gives it, and run its plugins first; see ``load_config``.

    Plugins come first, as the names they add are checked like all others.
    """
    named = content.get("plugins") if isinstance(content, Mapping) else None
    if run_plugins and isinstance(named, Sequence) and all(isinstance(n, str) for n in named):
        load_plugins(named)
    next_step = "hwnas run --schema prints what a file may hold"
    return parse_model(RunConfig, content, what=what, next_step=next_step)


def preset(name: str) -> RunConfig:
    """Return a configuration that comes with hwnas."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        raise UsageError(
            f"there is no preset {name!r}; presets: {', '.join(PRESETS)}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return parse_model(RunConfig, PRESETS[name], what=f"preset {name}")


def require_same(path: Path, config: RunConfig) -> None:
    """Raise InputError, naming what differs, unless ``path`` holds this configuration."""
    recorded = load_config(path, run_plugins=False).model_dump(mode="json", by_alias=True)
    wanted = config.model_dump(mode="json", by_alias=True)
    differing = _differences(recorded, wanted)
    if differing:
        raise InputError(
            str(path),
            differing,
            "resume with the configuration the run was begun with, or begin another "
            "in another folder",
        )


def _differences(recorded: Any, wanted: Any, place: str = "") -> list[str]:
    """Return one line for each value, however deep, that is not what was recorded."""
    if recorded == wanted:
        return []
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(recorded, dict) and isinstance(wanted, dict):
        keys = dict.fromkeys([*wanted, *recorded])
        pairs = [(str(key), recorded.get(key), wanted.get(key)) for key in keys]
    elif isinstance(recorded, list) and isinstance(wanted, list) and len(recorded) == len(wanted):
        pairs = [(str(i), *two) for i, two in enumerate(zip(recorded, wanted, strict=True))]
    if not pairs:
        return [f"{place}: the run was begun with {recorded!r}, now it is {wanted!r}"]
    return [
        line
        for key, before, now in pairs
        for line in _differences(before, now, f"{place}.{key}" if place else key)
    ]
