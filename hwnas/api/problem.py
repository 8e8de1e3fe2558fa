"""Limits as users write them, and the problem that strategies solve: a space under these limits."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from hwnas.api.latency import LatencyModel
from hwnas.arch import Arch
from hwnas.errors import InputError
from hwnas.export.formats import Precision
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible, Feasible
from hwnas.search.problem.limits import COUNTED, Limit, LimitedSpace
from hwnas.search.problem.predicted import feasible_of

if TYPE_CHECKING:
    from hwnas.api.spaces import Space

UNLIMITED = (Limit("macs", math.inf),)  # a limit that every network meets

LatencyLimit: TypeAlias = tuple[LatencyModel, float]


class Limits(TypedDict, total=False):
    """Upper limits that every network has to meet; all are optional.

    ``latency_ms`` is a latency model with milliseconds, or a list of several such pairs (one a
    device); ``macs`` multiply-accumulates of one image; ``params`` parameters; ``size_mb`` the size
    of the model file in 10^6 bytes. The first latency is the budget that strategies stay just
    below: they draw from the upper quarter of the time it leaves.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> latency = hwnas.latency_model(space, "table.json")
        >>> limits: hwnas.Limits = {"latency_ms": (latency, 0.08), "params": 20_000}
        >>> len(space.sample(10, limits=limits))
        10
    """

    latency_ms: LatencyLimit | list[LatencyLimit]
    macs: float
    params: float
    size_mb: float


@dataclass(frozen=True)
class Problem:
    """A space under limits: ``limits`` in order, ``models`` by the name their limits carry."""

    space: Space
    limits: tuple[Limit, ...]
    models: Mapping[str, LatencyModel]

    @cached_property
    def limited(self) -> LimitedSpace:
        """The space under the limits, for exact answers.

        Raises:
            UsageError: a limit is on a latency that is no sum over operations.
        """
        models = {name: model.additive for name, model in self.models.items()}
        return LimitedSpace(self.space.definition, self.limits or UNLIMITED, models)

    @cached_property
    def feasible(self) -> Feasible:
        """The networks within the limits, for draws and searches."""
        limits = self.limits or UNLIMITED
        models = {name: model.model for name, model in self.models.items()}
        return feasible_of(self.space.definition, limits, models)

    def check(self) -> None:
        """Make sure that some network meets all limits.

        Raises:
            InfeasibleError: none does; names the limit and the best network for it.
        """
        if isinstance(self.feasible, AdditiveFeasible):
            self.feasible.limited.check()
        else:
            self.feasible.sample(1, stream(0, "check of limits"))

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The columns of :meth:`metrics`: latencies (of several: ``latency_ms@NAME``), counts."""
        several = len(self.models) > 1
        latencies = [f"latency_ms@{name}" if several else "latency_ms" for name in self.models]
        return (*latencies, "macs", "params")

    def metrics(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """Return ``(num_archs, num_metrics)`` values, in the order of :attr:`metric_names`."""
        columns = [model.predict(archs, missing="nan") for model in self.models.values()]
        columns += [self.space.macs(archs), self.space.params(archs)]
        return np.stack(columns, axis=1)

    def within(self, archs: Sequence[Arch]) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: which architectures meet all limits."""
        return self.feasible.within(self.space.encode(archs))

    def describe(self) -> list[str]:
        """Return each limit in words, as ``latency_ms <= 20 on host-litert-fp32-t1``."""
        return [str(limit) for limit in self.limits]


def make_problem(space: Space, limits: Limits) -> Problem:
    """Return the problem of ``space`` under ``limits``.

    Raises:
        InputError: lists every unknown limit, every maximum that is no positive number, and every
            latency model of another space.
    """
    problems: list[str] = []
    for key in limits:
        if key not in Limits.__annotations__:
            near = difflib.get_close_matches(key, Limits.__annotations__, n=1)
            problems.append(
                f"{key!r} is not a limit; limits are {', '.join(Limits.__annotations__)}"
                + (f". Did you mean {near[0]!r}?" if near else "")
            )
    models: dict[str, LatencyModel] = {}
    found: list[Limit] = []
    for model, maximum in _latency_limits(limits, problems):
        if model.space != space:
            problems.append(
                f"latency_ms: the model is of space {model.space.name}, not of {space.name}"
            )
        name = _free_name(model.name, models)
        models[name] = model
        if _is_positive(maximum, "latency_ms", problems):
            found.append(Limit("latency_ms", float(maximum), name))
    precision = _file_precision(list(models.values()))
    for metric in COUNTED:
        value = limits.get(metric)
        if value is not None and _is_positive(value, metric, problems):
            found.append(Limit(metric, float(value), precision=precision))  # type: ignore[arg-type]
    if problems:
        raise InputError(
            "limits", problems, 'limits are like {"latency_ms": (latency, 20.0), "params": 4e6}'
        )
    return Problem(space, tuple(found), models)


def _latency_limits(limits: Limits, problems: list[str]) -> list[LatencyLimit]:
    """Return the pairs of ``latency_ms``, given as one or as a list."""
    given: object = limits.get("latency_ms", [])
    pairs = given if isinstance(given, list) else [given]
    good: list[LatencyLimit] = []
    for pair in pairs:
        if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], LatencyModel):
            good.append(pair)
        else:
            problems.append(
                f"latency_ms must be (latency model, milliseconds), or a list of such pairs, "
                f"got {pair!r}"
            )
    return good


def _is_positive(value: object, metric: str, problems: list[str]) -> bool:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if is_number and float(value) > 0:  # type: ignore[arg-type]
        return True
    problems.append(f"{metric} must be a number above 0, got {value!r}")
    return False


def _free_name(name: str, taken: Mapping[str, LatencyModel]) -> str:
    """Return ``name``, numbered where another model has it already."""
    numbered = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(one for one in numbered if one not in taken)


def _file_precision(models: Sequence[LatencyModel]) -> Precision:
    """Return the precision of the largest file among the models' targets, which size_mb limits."""
    precisions = {model.precision for model in models}
    return "int8" if precisions == {"int8"} else "fp32"
