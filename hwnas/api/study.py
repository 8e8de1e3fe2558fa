"""Ask and tell: a strategy proposes architectures, the caller evaluates them anywhere.

A study with a path writes every proposal and every evaluation to a journal before it goes on. To
resume is to make the same study again: the strategy, deterministic in its seed and in what it was
asked and told, is led through the journal and stands where it stopped.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, JsonValue

from hwnas.api.problem import Limits, Problem, make_problem
from hwnas.api.results import (
    SearchResult,
    Trial,
    evaluation_of,
    make_trials,
    objective_of,
    rank_key,
)
from hwnas.api.spaces import SpaceLike, as_space
from hwnas.api.strategies import Prior, StrategyOptions, make_searcher
from hwnas.arch import Arch
from hwnas.errors import HwnasError, InputError, UsageError
from hwnas.io.journal import Journal
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.protocols import Evaluation
from hwnas.search.loop import SYNC_S


class StudyHeader(FileSchema):
    """The first line of a study's journal: what decides its proposals."""

    event: Literal["study"] = "study"
    schema_: Literal[1] = Field(alias="schema", default=1)
    space: str
    limits: tuple[str, ...]
    strategy: str
    seed: int
    evaluations: int
    surrogate: bool = False
    prior: str = "macs"
    low_share: float = 0.75
    start: tuple[str, ...] = ()
    settings: dict[str, JsonValue] = Field(default_factory=dict)


class AskEvent(FileSchema):
    """A group of architectures that the strategy proposed at a time."""

    event: Literal["ask"] = "ask"
    archs: tuple[dict[str, str | int], ...]


class TellEvent(FileSchema):
    """The evaluation of one architecture: ``objectives`` name to value, or an error."""

    event: Literal["tell"] = "tell"
    arch: dict[str, str | int]
    objectives: dict[str, float]
    cost: dict[str, float] = Field(default_factory=dict)
    error: str | None = None


@dataclass
class _Group:
    """Architectures asked for at a time; the strategy is told once all of them are evaluated."""

    archs: list[Arch]
    done: dict[str, Evaluation] = field(default_factory=dict)

    @property
    def missing(self) -> list[Arch]:
        return [arch for arch in self.archs if arch.arch_id not in self.done]

    def evaluations(self) -> list[Evaluation]:
        return [self.done[arch.arch_id] for arch in self.archs]


class Study:
    """A search by ask and tell, of networks within ``limits``.

    ``strategy`` proposes architectures: random, evolution, nsga2, rl, local, exhaustive, or one
    that a plugin added; ``settings`` are its own. ``evaluations`` is how many are planned:
    strategies choose the size of their population by it. ``start`` are architectures to propose
    first. With ``surrogate`` a predictor, fitted on the way, chooses among the proposals of a
    strategy that learns; ``prior="none"`` switches off its preference for many MACs. ``low_share``
    is where random draws begin, as a share of the first limit.

    ``path`` is a journal (JSON lines) from which the same study resumes: proposals that were not
    evaluated are returned again first. Several proposals may be open at a time, to evaluate them in
    parallel.

    Raises:
        InputError: wrong limits, or the journal at ``path`` is of another study; lists what
            differs.
        InfeasibleError: no network meets the limits.
        UsageError: no such strategy, or not for ask and tell.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> latency = hwnas.latency_model(space, "table.json")
        >>> study = hwnas.Study(space, {"latency_ms": (latency, 0.08)}, strategy="rl")
        >>> for _ in range(20):
        ...     arch = study.ask()
        ...     study.tell(arch, float(space.macs([arch])[0]) / 1e7)
        >>> study.best.latency_ms <= 0.08
        True
    """

    def __init__(
        self,
        space: SpaceLike,
        limits: Limits,
        *,
        strategy: str = "evolution",
        evaluations: int = 100,
        surrogate: bool = False,
        prior: Prior = "macs",
        low_share: float = 0.75,
        start: Sequence[Arch] = (),
        settings: Mapping[str, object] | None = None,
        seed: int = 0,
        path: str | Path | None = None,
    ) -> None:
        options = StrategyOptions(
            strategy, evaluations, seed, low_share, surrogate, prior, start, settings or {}
        )
        self._begin(make_problem(as_space(space), limits), options, path)

    @classmethod
    def of(cls, problem: Problem, options: StrategyOptions, path: str | Path | None) -> Study:
        """Return the study of a problem that was made before."""
        study = cls.__new__(cls)
        study._begin(problem, options, path)
        return study

    def _begin(self, problem: Problem, options: StrategyOptions, path: str | Path | None) -> None:
        problem.check()
        self.space, self.problem = problem.space, problem
        self._searcher = make_searcher(problem, options)
        self._header = _header(problem, options)
        self._open: dict[str, _Group] = {}  # by arch_id of what is not evaluated
        self._again: list[Arch] = []  # proposals of an earlier process without an evaluation
        self._trials: list[Trial] = []
        self._told: set[str] = set()
        self._synced = time.monotonic()
        self._journal = None if path is None else Journal(Path(path))
        if self._journal is not None:
            weakref.finalize(self, self._journal.close)  # with the study, also unasked
            self._replay(self._journal)

    @property
    def strategy(self) -> str:
        """The name of the strategy."""
        return self._header.strategy

    @property
    def seed(self) -> int:
        """The seed of all draws."""
        return self._header.seed

    @property
    def num_evaluated(self) -> int:
        """The number of evaluations so far, failed ones included."""
        return len(self._trials)

    def ask(self) -> Arch:
        """Return an architecture to evaluate.

        Raises:
            UsageError: every network within the limits was asked for.
        """
        archs = self.ask_batch(1)
        if not archs:
            raise UsageError(
                f"every network of {self.space.name} within the limits was asked for "
                f"({self.num_evaluated} are evaluated). Next: study.result(), or raise a limit"
            )
        return archs[0]

    def ask_batch(self, count: int) -> list[Arch]:
        """Return up to ``count`` architectures; fewer where no more are left.

        The strategy learns from their evaluations when all of them are told.
        """
        if self._again:
            again, self._again = self._again[:count], self._again[count:]
            return again
        archs = self._searcher.ask(count)
        if archs:
            self._write(AskEvent(archs=tuple(arch.choices for arch in archs)))
            self._add_group(archs)
        return archs

    def tell(
        self,
        arch: Arch,
        score: float | Mapping[str, float] | None,
        *,
        error: str | None = None,
        cost: Mapping[str, float] | None = None,
    ) -> None:
        """Record the evaluation of ``arch``: its score (more is better), or None where it failed.

        A mapping holds ``score``, and other values to keep with the trial. ``arch`` need not have
        been asked for: known results make a start.

        Raises:
            UsageError: ``arch`` was told before, or breaks a limit; or a mapping has no ``score``.
            InputError: ``arch`` is of another space.

        Example:
            >>> import hwnas
            >>> study = hwnas.Study("tiny", {"params": 20_000}, strategy="random")
            >>> study.tell(study.ask(), {"score": 0.71, "loss": 0.9})
            >>> study.tell(study.ask(), None, error="out of memory")
            >>> study.trials[0].score
            0.71
        """
        self.tell_evaluation(evaluation_of(arch, score, error=error, cost=cost or {}))

    def tell_evaluation(self, evaluation: Evaluation) -> None:
        """Record an :class:`~hwnas.protocols.Evaluation`, as an evaluator makes it."""
        arch = evaluation.arch
        if arch.arch_id in self._told:
            raise UsageError(
                f"architecture {arch.arch_id} was told before. Next: tell each evaluation once"
            )
        if arch.arch_id not in self._open and not self.problem.within([arch])[0]:
            raise UsageError(
                f"architecture {arch.arch_id} was not asked for and breaks a limit "
                f"({' and '.join(self.problem.describe())}). Next: tell networks within the limits"
            )
        self._write(
            TellEvent(
                arch=arch.choices,
                objectives={name: one.value for name, one in evaluation.objectives.items()},
                cost=dict(evaluation.cost),
                error=evaluation.error,
            )
        )
        self._take(evaluation)

    def _take(self, evaluation: Evaluation) -> None:
        """Keep an evaluation; tell the strategy where it completes its group."""
        arch = evaluation.arch
        self._told.add(arch.arch_id)
        self._trials += make_trials(self.problem, [evaluation], first=self.num_evaluated)
        group = self._open.pop(arch.arch_id, None) or _Group([arch])
        group.done[arch.arch_id] = evaluation
        if not group.missing:
            self._searcher.tell(group.evaluations())

    def _add_group(self, archs: Sequence[Arch]) -> None:
        group = _Group(list(archs))
        self._open |= {arch.arch_id: group for arch in archs}

    def _write(self, event: StudyHeader | AskEvent | TellEvent) -> None:
        if self._journal is None:
            return
        is_due = time.monotonic() - self._synced > SYNC_S
        self._journal.append(event.model_dump(mode="json", by_alias=True), sync=is_due)
        self._synced = time.monotonic() if is_due else self._synced

    def _replay(self, journal: Journal) -> None:
        """Lead the strategy through the journal, or begin it.

        Raises:
            InputError: it was begun by another study, or holds proposals that this one does not
                make.
        """
        records = journal.records()
        if not records:
            self._write(self._header)
            return
        what = str(journal.path)
        events = [_event(record, f"{what}, line {n}") for n, record in enumerate(records, 1)]
        self._require_same(events[0], what)
        for number, event in enumerate(events[1:], start=2):
            if isinstance(event, AskEvent):
                wanted = [self.space.arch(choices) for choices in event.archs]
                if self._searcher.ask(len(wanted)) != wanted:
                    raise InputError(
                        what,
                        [f"line {number}: this study asks for other architectures"],
                        "resume with the table and limits of the study, or begin another file",
                    )
                self._add_group(wanted)
            elif isinstance(event, TellEvent):
                self._take(
                    Evaluation(
                        self.space.arch(event.arch),
                        {name: objective_of(name, v) for name, v in event.objectives.items()},
                        event.cost,
                        event.error,
                    )
                )
        groups = {id(group): group for group in self._open.values()}
        self._again = [arch for group in groups.values() for arch in group.missing]

    def _require_same(self, begun: StudyHeader | AskEvent | TellEvent, what: str) -> None:
        before, now = begun.model_dump(), self._header.model_dump()
        problems = [
            f"{key}: the study was begun with {before.get(key)!r}, now it is {value!r}"
            for key, value in now.items()
            if before.get(key) != value
        ]
        if problems:
            raise InputError(what, problems, "resume with its settings, or choose another path")

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All evaluations so far, in the order of telling."""
        return tuple(self._trials)

    @property
    def best(self) -> Trial:
        """The trial with the highest score so far.

        Raises:
            HwnasError: no evaluation succeeded yet.
        """
        good = [trial for trial in self.trials if not trial.is_failed]
        if not good:
            raise HwnasError(
                f"none of {self.num_evaluated} evaluations succeeded, so there is no best "
                "network. Next: ask, evaluate and tell"
            )
        return min(good, key=rank_key)

    def result(self) -> SearchResult:
        """Return what was found so far."""
        return SearchResult(self.space, self.problem.limits, self.strategy, self.seed, self.trials)

    def close(self) -> None:
        """Close the journal; the study can go on, and opens it again."""
        if self._journal is not None:
            self._journal.close()

    def __repr__(self) -> str:
        limits = " and ".join(self.problem.describe()) or "no limit"
        return (
            f"Study({self.strategy} on {self.space.name}, seed {self.seed}, {limits}, "
            f"{self.num_evaluated} evaluated)"
        )


def _header(problem: Problem, options: StrategyOptions) -> StudyHeader:
    """Return what a journal holds of how a study was begun."""
    settings = options.parsed_settings()
    return StudyHeader(
        space=problem.space.name,
        limits=tuple(problem.describe()),
        strategy=options.strategy,
        seed=options.seed,
        evaluations=options.evaluations,
        surrogate=options.surrogate,
        prior=options.prior,
        low_share=options.low_share,
        start=tuple(arch.arch_id for arch in options.start),
        settings={} if settings is None else settings.model_dump(mode="json"),
    )


def _event(record: Mapping[str, Any], what: str) -> StudyHeader | AskEvent | TellEvent:
    """Return a checked line of a journal; InputError lists its problems."""
    event = record.get("event")
    if event == "study":
        return parse_model(StudyHeader, dict(record), what=what)
    if event == "ask":
        return parse_model(AskEvent, dict(record), what=what)
    if event == "tell":
        return parse_model(TellEvent, dict(record), what=what)
    raise InputError(what, [f"event must be one of study, ask, tell, got {event!r}"])
