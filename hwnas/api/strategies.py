"""From the options of a study or a search to the strategy that proposes its networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hwnas.api.problem import Problem
from hwnas.arch import Arch
from hwnas.errors import UsageError
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.protocols import CodeEvaluator, Codes, Searcher
from hwnas.rng import derived_seed
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.warm_start import start_from
from hwnas.search.strategies.population import ArchSearcher
from hwnas.search.strategies.registry import (
    STRATEGIES,
    AskTellStrategy,
    SearchProblem,
    StrategyEntry,
    strategies_with,
    takes,
)

Prior = Literal["macs", "none"]


@dataclass(frozen=True)
class StrategyOptions:
    """What decides a strategy's proposals, besides the space and its limits.

    ``start`` are architectures to propose first, ``settings`` the strategy's own.
    """

    strategy: str
    evaluations: int
    seed: int = 0
    low_share: float = 0.75
    surrogate: bool = False
    prior: Prior = "macs"
    start: Sequence[Arch] = ()
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def entry(self) -> StrategyEntry:
        """The strategy's entry; UsageError, naming the nearest, where there is none."""
        return STRATEGIES[self.strategy]

    def check(self) -> None:
        """Raise UsageError where an option has no effect on this strategy, or is out of range."""
        entry = self.entry
        if self.evaluations < 1:
            raise UsageError(f"evaluations must be 1 or more, got {self.evaluations}")
        if self.evaluations < entry.min_evaluations:
            raise UsageError(
                f"strategy {self.strategy} needs {entry.min_evaluations} evaluations or more, got "
                f"{self.evaluations}"
            )
        if not 0 <= self.low_share < 1:
            raise UsageError(f"low_share must be from 0 to below 1, got {self.low_share}")
        if self.prior not in ("macs", "none"):
            raise UsageError(f"prior must be macs or none, got {self.prior!r}")
        given = (("surrogate", "surrogate", self.surrogate), ("start", "seed_archs", self.start))
        for name, option, is_given in given:
            if is_given and option not in entry.takes:
                raise UsageError(
                    f"{name} has no effect on strategy {self.strategy}; it goes with "
                    f"{', '.join(strategies_with(option))}"
                )

    def parsed_settings(self) -> FileSchema | None:
        """Return the strategy's settings, checked by its schema; None where it has none.

        Raises:
            UsageError: settings of a strategy that has none.
            InputError: lists every problem of them.
        """
        schema = self.entry.settings_schema()
        if schema is not None:
            what = f"settings of strategy {self.strategy}"
            return parse_model(schema, dict(self.settings), what=what)
        if self.settings:
            raise UsageError(f"strategy {self.strategy} has no settings. Next: leave them out")
        return None


def ask_tell_names() -> list[str]:
    """Return the names of the strategies for ask and tell."""
    return [name for name, entry in STRATEGIES.items() if isinstance(entry, AskTellStrategy)]


def make_searcher(problem: Problem, options: StrategyOptions) -> Searcher:
    """Return the strategy; the same seed gives what ``hwnas search`` proposes.

    Raises:
        UsageError: no such strategy, one that is not for ask and tell, or an option that has no
            effect on it.
    """
    options.check()
    entry = options.entry
    if not isinstance(entry, AskTellStrategy):
        raise UsageError(
            f"strategy {options.strategy} is not for ask and tell; those are "
            f"{', '.join(ask_tell_names())}. Next: choose one; hwnas.run carries out all strategies"
        )
    codes = entry.searcher(search_problem(problem, options), surrogate=options.surrogate)
    return ArchSearcher(problem.space.definition, codes)


def search_problem(
    problem: Problem, options: StrategyOptions, evaluator: CodeEvaluator | None = None
) -> SearchProblem:
    """Return what strategies are given to search."""
    feasible, entry = problem.feasible, options.entry
    # as in a run, where each budget has a seed of its own but for random search
    seed = options.seed if entry.is_random else derived_seed(options.seed, "search", 0)
    takes_prior = takes(entry, "prior", surrogate=options.surrogate)
    return SearchProblem(
        feasible,
        seed,
        options.evaluations,
        # without limits there is no budget to stay just below
        low_share=options.low_share if problem.limits else 0.0,
        start=_start(problem, options.start),
        prior=MacsPrior(feasible, seed) if takes_prior and options.prior == "macs" else None,
        latencies=tuple(n for n, limit in enumerate(problem.limits) if limit.table is not None),
        settings=options.parsed_settings(),
        evaluator=evaluator,
    )


def _start(problem: Problem, archs: Sequence[Arch]) -> Codes | None:
    """Return the codes of ``archs``; None: of none.

    Raises:
        UsageError: one breaks a limit, or builds the same network as another.
    """
    if not archs:
        return None
    problem.space.check(archs)
    named = {arch.arch_id: arch for arch in archs}
    start = start_from(problem.feasible, named, problem.limits)
    if start.refused:
        said = "; ".join(f"{name} {reason}" for name, reason in start.refused.items())
        raise UsageError(f"a search cannot start from these networks: {said}. Next: leave them out")
    return start.codes


def usual_batch(options: StrategyOptions) -> int:
    """Return how many networks a search asks for at a time, as ``hwnas search`` does."""
    entry = options.entry
    if isinstance(entry, AskTellStrategy):
        return entry.usual_batch(options.evaluations)
    return options.evaluations
