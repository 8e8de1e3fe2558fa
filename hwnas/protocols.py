"""The Protocols between rooms: what a space, an evaluator, a searcher and a runner must offer.

Each has a conformance suite in ``tests/conformance/`` that a new implementation runs against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term
from hwnas.arch import Arch, Choice, Option
from hwnas.ops import OpSpec, Shape

Codes = NDArray[np.int16]
"""Architectures as integers, ``(num_archs, num_choices)``: the option's index, -1 where absent."""

Wiring = tuple[tuple[int, ...], ...]
"""For each operation of a network the positions of those whose outputs it takes, -1 the image."""


@dataclass(frozen=True)
class Factor:
    """An additive part of every network of a space, decided by the choices it names.

    ``ops`` is an object array with one axis per choice in ``choices`` (indices into the space's
    choices, increasing); an entry is the OpSpec executed for these options, or None where nothing
    is. A part that no choice decides has ``choices == ()`` and a 0-d array. Where a choice may be
    absent its axis has one more entry, the last, for 'absent'. ``possible`` says of which
    combinations a code can consist at all; None: of every one.
    """

    choices: tuple[int, ...]
    ops: NDArray[np.object_]
    possible: NDArray[np.bool_] | None = None

    def values(self, value: Callable[[OpSpec | None], float]) -> NDArray[np.float64]:
        """Return ``value`` of each entry of ``ops``, called once per operation; NaN: impossible."""
        ops, index = self._distinct
        values = np.array([value(op) for op in ops], dtype=np.float64)[index]
        return values if self.possible is None else np.where(self.possible, values, np.nan)

    @cached_property
    def _distinct(self) -> tuple[list[OpSpec | None], NDArray[np.intp]]:
        """The distinct operations, and of each entry of ``ops`` its position among them."""
        entries = self.ops.ravel().tolist()
        objects = {id(op): op for op in entries}  # many entries are few objects
        positions: dict[OpSpec | None, int] = {}
        by_object = {key: positions.setdefault(op, len(positions)) for key, op in objects.items()}
        index = np.array([by_object[id(op)] for op in entries], dtype=np.intp)
        return list(positions), index.reshape(self.ops.shape)


class SearchSpace(Protocol):
    """An ordered set of choices and the one shape walk from a code to operations."""

    @property
    def name(self) -> str:
        """Canonical name, as arch files and calibrations carry it."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The decisions, in the order of the columns of Codes."""

    @property
    def input_shape(self) -> Shape:
        """The largest input image (C, H, W); a network's own is its first operation's."""

    @property
    def num_classes(self) -> int:
        """Width of the classifier."""

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        """Return the checked architecture; InputError lists every impossible choice."""

    def encode(self, archs: Sequence[Arch]) -> Codes:
        """Return ``(num_archs, num_choices)`` option indices."""

    def decode(self, codes: Codes) -> list[Arch]:
        """Return the architectures of ``(num_archs, num_choices)`` codes."""

    def repair(self, codes: Codes) -> Codes:
        """Return the codes of architectures nearest to any option indices, valid ones unchanged.

        A choice that does not exist becomes -1; one that exists and has none gets its first
        option. Options change only where a space has some that exclude each other.
        """

    def network_keys(self, codes: Codes) -> Codes:
        """Return one row per code; rows, also of different calls, are equal just where ids are.

        The width is the space's own, the same in every call.
        """

    def layers(self, arch: Arch) -> tuple[OpSpec, ...]:
        """Return the operations of the network in order of execution: the one shape walk."""

    def wiring(self, arch: Arch) -> Wiring | None:
        """Return whose outputs each of ``layers(arch)`` takes; None: of the one before it."""

    def factors(self) -> tuple[Factor, ...]:
        """Return the additive parts; for every arch their ops are those of ``layers(arch)``."""

    def network_id(self, arch: Arch) -> str:
        """Return the id of the network this code builds; different codes can share one."""


@dataclass(frozen=True)
class Objective:
    """One value of an architecture, with where it came from.

    ``direction`` is ``max`` or ``min``; ``source`` one of measured, lut, lut-uncalibrated,
    predictor, table, supernet, scratch.
    """

    value: float
    unit: str
    direction: str
    source: str


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator says of one architecture, and what it cost.

    ``error`` says why an evaluation failed; then there are no objectives.
    """

    arch: Arch
    objectives: Mapping[str, Objective]
    cost: Mapping[str, float]
    error: str | None = None


class Evaluator(Protocol):
    """Scores architectures; never sees the test split."""

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yield ``(position in archs, evaluation)`` as they are ready, one per architecture."""


class Searcher(Protocol):
    """Proposes architectures and learns from their evaluations."""

    def ask(self, count: int) -> list[Arch]:
        """Return up to ``count`` architectures to evaluate; fewer when the space is exhausted."""

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the evaluations of what was asked, in order."""


class CodeEvaluator(Protocol):
    """Scores encoded architectures at array speed (a table of accuracies, a predictor)."""

    @property
    def source(self) -> str:
        """Where the scores come from, as in :class:`Objective`."""

    def score(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` top-1 accuracies as fractions; NaN where there is none."""


class CodeSearcher(Protocol):
    """A searcher on encoded architectures; ``search.population.ArchSearcher`` makes it one of
    architectures. It never asks for a network twice.
    """

    def ask_codes(self, count: int) -> Codes:
        """Return ``(up to count, num_choices)`` codes; fewer when no network is left."""

    def tell_codes(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Take ``(num_archs, num_objectives)`` scores of what was asked, in the order of asking.

        More is better in every column; NaN: the evaluation failed.
        """


@dataclass(frozen=True)
class Restriction:
    """An option whose latency cannot be predicted because a row is missing; search leaves it out.

    With ``beside`` the option alone is covered, but not together with these options of other
    choices. ``op`` is an operation without a row.
    """

    choice: str
    option: Option
    op: OpSpec
    beside: tuple[tuple[str, Option], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object result files hold."""
        content: dict[str, Any] = {"choice": self.choice, "option": self.option}
        return {**content, "beside": dict(self.beside)} if self.beside else content

    def __str__(self) -> str:
        beside = "".join(f" beside {name}={option}" for name, option in self.beside)
        return f"{self.choice}={self.option}{beside} (no row for {self.op})"


class LatencyModel(Protocol):
    """Predicts the latency of the networks of one space on one target.

    Any object with these members can be searched with. A model whose predictions are
    sums over the space's factors also implements :class:`AdditiveLatencyModel`; limits on it are
    then exact, where limits on other models are kept by listing or by rejection
    (``search.problem.predicted``).
    """

    @property
    def space(self) -> SearchSpace:
        """The space whose codes the model reads."""

    @property
    def source(self) -> str:
        """How files name the origin of the predictions: ``lut``, ``op-predictor``, ``few-shot``.

        Predictions of a table without a calibration of the space end in ``-uncalibrated``.
        """

    def predict_ms(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` predicted milliseconds of ``(num_archs, num_choices)`` codes.

        NaN where the model has no prediction, such as for an option without a row.
        """

    def predict_arch_ms(self, arch: Arch) -> float:
        """Return the predicted milliseconds of one architecture.

        Raises:
            MissingRowError: there is no prediction; names what is missing.
        """


@runtime_checkable
class AdditiveLatencyModel(LatencyModel, Protocol):
    """A latency model whose prediction is a sum of terms, each over few choices.

    Limits, the fastest network, counts and uniform samples are then exact (``hwnas.additive``).
    """

    @property
    def restricted(self) -> tuple[Restriction, ...]:
        """Options without a prediction."""

    @property
    def repeatability(self) -> float:
        """The relative difference of two measurements of one operation; 0 where it is not known.

        Smaller differences of predictions are noise.
        """

    def factor_ms(self) -> tuple[Term, ...]:
        """Return the terms in milliseconds; their sum over a code is its ``predict_ms``.

        NaN forbids a combination of options.
        """


class Runner(Protocol):
    """Times models on one target; local, ssh and adb are the same to everything above."""

    def load(self, model_id: str, model: Path) -> None:
        """Put a model file on the target and prepare it; DeviceError if it does not load."""

    def time_ms(
        self, model_id: str, *, min_runs: int, min_ms: float, flush_mb: float = 0.0
    ) -> list[float]:
        """Run a loaded model until both minima are reached; one latency in ms per run.

        Before each timed run ``flush_mb`` of other data are read, and then the model's inputs; both
        count to ``min_ms``.
        """

    def unload(self, model_id: str) -> None:
        """Free a loaded model."""

    @property
    def info(self) -> Mapping[str, Any]:
        """What the target says of itself: ``runtime_version``, ``cpu``, ``cpus``, ``system``..."""

    def state(self) -> dict[str, Any]:
        """Return the target's state now: frequencies, temperatures, load."""

    def close(self) -> None:
        """Release the target; safe to call twice."""

    def __enter__(self) -> Runner:
        """Return the runner itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the runner."""
