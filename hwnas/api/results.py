"""What a search found: its trials, the best of them, the front, as text, HTML and a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hwnas.arch import Arch
from hwnas.errors import HwnasError, UsageError
from hwnas.io.html import rows_html
from hwnas.protocols import Evaluation, Objective
from hwnas.search.pareto import non_dominated
from hwnas.search.problem.limits import Limit

if TYPE_CHECKING:
    import pandas as pd

    from hwnas.api.problem import Problem
    from hwnas.api.spaces import Space

SCORE = "top1"  # what strategies call the objective they maximise

Cell: TypeAlias = str | int | float | None
SHOWN = 5  # finalists that a repr lists


@dataclass(frozen=True)
class Trial:
    """One evaluated architecture.

    ``score`` is what is maximised, None where the evaluation failed; then ``error`` says why.
    ``metrics`` holds predicted latencies (``latency_ms``; of several devices
    ``latency_ms@NAME``), ``macs`` and ``params``; ``values`` what the evaluation returned beside
    the score, ``cost`` what it took (``wall_s``, ``core_s`` ...).
    """

    number: int
    arch: Arch
    network_id: str
    score: float | None
    metrics: Mapping[str, float]
    values: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def latency_ms(self) -> float | None:
        """The predicted milliseconds on the first device; None where no latency is limited."""
        return next((v for k, v in self.metrics.items() if k.startswith("latency_ms")), None)

    @property
    def is_failed(self) -> bool:
        """Whether the evaluation failed."""
        return self.score is None

    def row(self) -> dict[str, Cell]:
        """Return the trial as one row of a table, its choices as columns."""
        return {
            "number": self.number,
            "arch_id": self.arch.arch_id,
            "score": self.score,
            **self.metrics,
            **self.values,
            "error": self.error,
            **self.arch.choices,
        }

    def __repr__(self) -> str:
        what = f"failed: {self.error}" if self.score is None else f"score {self.score:.4g}"
        metrics = "".join(f", {name} {value:.4g}" for name, value in self.metrics.items())
        return f"Trial({self.number}, {self.arch.arch_id}, {what}{metrics})"


def rank_key(trial: Trial) -> tuple[float, float, str]:
    """Sort best first: higher score, then lower loss where there is one, then the network's id."""
    assert trial.score is not None  # failed trials are not ranked
    return -trial.score, trial.values.get("loss", 0.0), trial.network_id


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The outcome of a search: its ``trials`` in the order of evaluation, and the best of them.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> latency = hwnas.latency_model(space, "table.json")
        >>> result = hwnas.search(space, {"latency_ms": (latency, 0.08)},
        ...                       evaluate=lambda arch: float(space.macs([arch])[0]),
        ...                       evaluations=40)
        >>> result.best.latency_ms <= 0.08 and result.best == result.finalists[0]
        True
        >>> len(result.trials), len(result.front) >= 1
        (40, True)
    """

    space: Space
    limits: tuple[Limit, ...]
    strategy: str
    seed: int
    trials: tuple[Trial, ...]

    @property
    def budgets_ms(self) -> tuple[float, ...]:
        """The limits on latency, one a device."""
        return tuple(limit.maximum for limit in self.limits if limit.table is not None)

    @cached_property
    def finalists(self) -> tuple[Trial, ...]:
        """The trials of distinct networks that did not fail, best first."""
        distinct: dict[str, Trial] = {}
        for trial in sorted((t for t in self.trials if not t.is_failed), key=rank_key):
            distinct.setdefault(trial.network_id, trial)
        return tuple(distinct.values())

    @property
    def best(self) -> Trial:
        """The trial with the highest score.

        Raises:
            HwnasError: no evaluation succeeded.
        """
        if not self.finalists:
            raise HwnasError(
                f"none of {len(self.trials)} evaluations succeeded, so there is no best network. "
                "Next: result.failures holds their errors"
            )
        return self.finalists[0]

    @cached_property
    def front(self) -> tuple[Trial, ...]:
        """The networks that no other one dominates in score and latency, fastest first.

        Latency is that of the first device; MACs where no latency is limited.
        """
        if not self.finalists:
            return ()
        values = np.array([[cost_of(trial), -(trial.score or 0.0)] for trial in self.finalists])
        kept = non_dominated(values)
        return tuple(
            sorted((t for t, on in zip(self.finalists, kept, strict=True) if on), key=cost_of)
        )

    @property
    def failures(self) -> tuple[Trial, ...]:
        """The trials whose evaluation failed."""
        return tuple(trial for trial in self.trials if trial.is_failed)

    def frame(self) -> pd.DataFrame:
        """Return the trials as a pandas frame: a row each, with metrics, values and choices.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise UsageError(
                "frame() needs pandas, which is not installed. Next: pip install pandas, or use "
                "[trial.row() for trial in result.trials]"
            ) from error
        return pd.DataFrame([trial.row() for trial in self.trials])

    def _title(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        limits = " and ".join(map(str, self.limits)) or "no limit"
        return (
            f"{self.strategy} on {self.space.name}, seed {self.seed}, {limits}: "
            f"{len(self.trials)} evaluations{failed}"
        )

    def _rows(self, trials: Sequence[Trial]) -> list[list[str]]:
        return [
            [
                str(place),
                trial.arch.arch_id,
                f"{trial.score:.4g}",
                *(f"{value:.4g}" for value in trial.metrics.values()),
            ]
            for place, trial in enumerate(trials, start=1)
        ]

    def __repr__(self) -> str:
        shown = [f"  {trial!r}" for trial in self.finalists[:SHOWN]]
        return "\n".join([f"SearchResult({self._title()})", *shown])

    def _repr_html_(self) -> str:
        metrics = list(self.trials[0].metrics) if self.trials else []
        header = ["rank", "architecture", "score", *metrics]
        return rows_html(self._title(), header, self._rows(self.finalists[:SHOWN]))


def cost_of(trial: Trial) -> float:
    """Return what a front trades score against: the first latency, or MACs without one."""
    return trial.metrics["macs"] if trial.latency_ms is None else trial.latency_ms


def make_trials(problem: Problem, evaluations: Sequence[Evaluation], first: int = 0) -> list[Trial]:
    """Return evaluations as trials, numbered from ``first``, with the metrics of ``problem``."""
    metrics = problem.metrics([evaluation.arch for evaluation in evaluations])
    return [
        Trial(
            number=first + place,
            arch=evaluation.arch,
            network_id=problem.space.network_id(evaluation.arch),
            score=evaluation.objectives[SCORE].value if evaluation.objectives else None,
            metrics=dict(zip(problem.metric_names, values, strict=True)),
            values={k: o.value for k, o in evaluation.objectives.items() if k != SCORE},
            cost=evaluation.cost,
            error=evaluation.error,
        )
        for place, (evaluation, values) in enumerate(
            zip(evaluations, metrics.tolist(), strict=True)
        )
    ]


def evaluation_of(
    arch: Arch,
    score: float | Mapping[str, float] | None,
    *,
    error: str | None = None,
    cost: Mapping[str, float],
) -> Evaluation:
    """Return what a user says of an architecture as an evaluation; no finite score: a failure.

    Raises:
        UsageError: a mapping without ``score``, or a value that is no number.
    """
    values = dict(score) if isinstance(score, Mapping) else {"score": score}
    if "score" not in values:
        raise UsageError(
            f"a mapping of values needs the key 'score', got {', '.join(map(str, values)) or '{}'}"
        )
    if score is None or error is not None:
        return Evaluation(arch, {}, cost, error or "the evaluation returned None")
    try:
        numbers = {name: float(value) for name, value in values.items() if value is not None}
    except (TypeError, ValueError) as problem:
        raise UsageError(f"a score and its other values are numbers, got {values!r}") from problem
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad or "score" not in numbers:
        what = ", ".join(f"{name}={numbers[name]}" for name in bad) or "score=None"
        return Evaluation(arch, {}, cost, f"the evaluation returned {what}")
    objectives = {SCORE if name == "score" else name: v for name, v in numbers.items()}
    return Evaluation(arch, {n: objective_of(n, v) for n, v in objectives.items()}, cost)


def objective_of(name: str, value: float) -> Objective:
    """Return a value as an objective: searches maximise the score and keep other values."""
    return Objective(value, "", "max" if name == SCORE else "min", "function")
