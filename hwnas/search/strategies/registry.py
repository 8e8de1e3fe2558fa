"""The strategies of ``search.strategy``: what each is called, reads, needs, and how it is built.

The configuration's checks, the command line's help and the errors that say what goes with what are
derived from these entries. Builders and settings are named by their import path, so that reading
the registry loads neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hwnas.plugins.registry import Entry, Registry, load_object, resolved

if TYPE_CHECKING:
    from hwnas.io.schemas import FileSchema
    from hwnas.protocols import CodeEvaluator, Codes, CodeSearcher
    from hwnas.search.gates.gate_search import GateRule
    from hwnas.search.predictors.macs_prior import MacsPrior
    from hwnas.search.problem.feasible import Feasible

BATCH = 10  # networks that a strategy which learns is asked for at a time, at most
MIN_BATCHES = 4  # a search that learns gets scores at least this often
_ROOM = "hwnas.search.strategies"
OPTIONS = ("surrogate", "seed_archs", "prior")
"""Keys of ``search:`` that only some strategies take."""
NEEDS = {
    "codes": "an evaluator at array speed",
    "supernet": "the evaluator supernet, whose weights it trains",
    "chain": "a space whose networks are chains of choices",
}
"""What a strategy may need besides a space under limits."""
PLUGIN_SECTION = "settings"
"""The key of ``search:`` that holds the settings of a strategy outside the package."""


@dataclass(frozen=True)
class SearchProblem:
    """What a strategy is given to search.

    ``feasible`` is the space under the limits, ``evaluations`` how many networks may be scored.
    Random networks are drawn from ``[low_share, 1] x budget``. ``start`` (num_archs, num_choices)
    are the codes of ``seed_archs``, to be asked for first. ``prior`` is None where ``search.prior``
    is ``none``. ``latencies`` are the columns of ``feasible.metrics`` that hold a latency.
    ``settings`` is an instance of the entry's schema, None where it has none. ``evaluator`` scores
    codes at array speed; only strategies with ``needs="codes"`` get it.
    """

    feasible: Feasible
    seed: int
    evaluations: int
    low_share: float = 0.75
    start: Codes | None = None
    prior: MacsPrior | None = None
    latencies: tuple[int, ...] = (0,)
    settings: Any = None
    evaluator: CodeEvaluator | None = None


class Archive(Protocol):
    """The best networks of a batch search."""

    @property
    def codes(self) -> Codes:
        """``(num_archs, num_choices)``, best first."""

    @property
    def num_evaluations(self) -> int:
        """How many networks were scored."""


class BatchSearch(Protocol):
    """A search that scores networks itself, at array speed."""

    def run(self, num_evaluations: int, known: Codes | None = None) -> Archive:
        """Return the best networks of about ``num_evaluations`` scored ones."""


@dataclass(frozen=True)
class StrategyEntry(Entry):
    """A strategy of ``search.strategy``; use one of the subclasses, which say how it is run.

    ``needs`` are of NEEDS. ``settings`` is the schema of the key ``section`` of ``search:``.
    ``takes`` are those of OPTIONS that have an effect. ``min_evaluations`` is the least number that
    it can work with.
    """

    section: str = field(default=PLUGIN_SECTION, kw_only=True)
    takes: tuple[str, ...] = field(default=(), kw_only=True)
    min_evaluations: int = field(default=1, kw_only=True)

    @property
    def is_random(self) -> bool:
        """Whether it is the random baseline itself."""
        return False

    @property
    def usual_evaluator(self) -> str:
        """The name of the evaluator of a run that names none."""
        return "supernet" if "supernet" in self.needs else "scratch"

    def settings_schema(self) -> type[FileSchema] | None:
        """Return the schema of its settings, None where it has none."""
        schema: type[FileSchema] | None = resolved(self.settings)
        return schema


@dataclass(frozen=True)
class AskTellStrategy(StrategyEntry):
    """A strategy that asks for networks and learns from their scores.

    ``build(problem)`` returns a :class:`~hwnas.protocols.CodeSearcher`. ``asks_all``: all networks
    are asked for at once, as nothing is learned from scores. ``one_front``: one search below the
    largest budget answers every budget.
    """

    build: Callable[[SearchProblem], CodeSearcher] | str
    asks_all: bool = field(default=False, kw_only=True)
    one_front: bool = field(default=False, kw_only=True)
    is_baseline: bool = field(default=False, kw_only=True)

    @property
    def is_random(self) -> bool:
        """Whether it is the random baseline itself."""
        return self.is_baseline

    def searcher(self, problem: SearchProblem, *, surrogate: bool = False) -> CodeSearcher:
        """Return a new searcher of ``problem``, guided by a surrogate if asked for."""
        searcher: CodeSearcher = resolved(self.build)(problem)
        if not surrogate:
            return searcher
        guided: CodeSearcher = load_object(f"{_ROOM}.surrogate:guided")(problem, searcher)
        return guided

    def usual_batch(self, evaluations: int) -> int:
        """Return how many networks are asked for at a time where the user gives no number."""
        if self.asks_all:
            return evaluations
        return min(BATCH, max(1, evaluations // MIN_BATCHES))


@dataclass(frozen=True)
class BatchStrategy(StrategyEntry):
    """A strategy that scores thousands of networks itself; ``build(problem)`` returns it."""

    build: Callable[[SearchProblem], BatchSearch] | str
    needs: tuple[str, ...] = field(default=("codes",), kw_only=True)

    def search(self, problem: SearchProblem) -> BatchSearch:
        """Return a new search of ``problem``."""
        search: BatchSearch = resolved(self.build)(problem)
        return search


@dataclass(frozen=True)
class GateStrategy(StrategyEntry):
    """A strategy that trains gates with a supernet; ``build(settings)`` returns their rule."""

    build: Callable[[Any], GateRule] | str
    needs: tuple[str, ...] = field(default=("supernet", "chain"), kw_only=True)

    def rule(self, settings: Any) -> GateRule:
        """Return the rule that moves the gates."""
        rule: GateRule = resolved(self.build)(settings)
        return rule


STRATEGIES: Registry[StrategyEntry] = Registry("strategy")


def register_strategy(
    name: str,
    help: str,
    build: Callable[[SearchProblem], CodeSearcher],
    *,
    settings: type[FileSchema] | None = None,
    takes: tuple[str, ...] = (),
    min_evaluations: int = 1,
) -> AskTellStrategy:
    """Add a strategy that asks and learns; its settings are read from ``search.settings``.

    >>> from hwnas.search.strategies.random_search import build
    >>> register_strategy("my-random", "Random search under another name.", build).name
    'my-random'

    Raises:
        ValueError: ``takes`` names an option that there is not.
        UsageError: the name is taken.
    """
    unknown = [option for option in takes if option not in OPTIONS]
    if unknown:
        raise ValueError(f"takes must be of {', '.join(OPTIONS)}, got {', '.join(unknown)}")
    entry = AskTellStrategy(
        name, help, build, settings=settings, takes=takes, min_evaluations=min_evaluations
    )
    STRATEGIES.register(entry)
    return entry


def takes(entry: StrategyEntry, option: str, *, surrogate: bool = False) -> bool:
    """Return whether a strategy reads one of OPTIONS; a surrogate is guided by the prior, too."""
    return option in entry.takes or (option == "prior" and surrogate)


def strategies_with(option: str) -> tuple[str, ...]:
    """Return the names of the strategies that take one of OPTIONS."""
    return tuple(name for name, entry in STRATEGIES.items() if option in entry.takes)


_BUILTIN: tuple[StrategyEntry, ...] = (
    AskTellStrategy(
        "random",
        "Uniform draws just below the budget: the baseline of every search.",
        build=f"{_ROOM}.random_search:build",
        asks_all=True,
        is_baseline=True,
    ),
    GateStrategy(
        "proxyless",
        "ProxylessNAS: gates trained with a supernet by gradients.",
        settings="hwnas.search.settings:GatesConfig",
        section="gates",
        build="hwnas.search.gates.proxyless:build",
    ),
    GateStrategy(
        "proxyless-rl",
        "ProxylessNAS: gates trained with a supernet by REINFORCE.",
        settings="hwnas.search.settings:GatesConfig",
        section="gates",
        build="hwnas.search.gates.proxyless_rl:build",
    ),
    AskTellStrategy(
        "evolution",
        "Aging evolution of networks within the limits.",
        takes=("surrogate", "seed_archs", "prior"),
        build=f"{_ROOM}.evolution:build",
    ),
    AskTellStrategy(
        "nsga2",
        "NSGA-II: the front of accuracy and latencies, for all budgets at once.",
        takes=("seed_archs",),
        build=f"{_ROOM}.nsga2:build",
        one_front=True,
    ),
    AskTellStrategy(
        "rl",
        "A recurrent controller that learns by REINFORCE or PPO.",
        settings="hwnas.search.settings:ControllerConfig",
        section="controller",
        takes=("surrogate", "seed_archs", "prior"),
        build=f"{_ROOM}.rl:build",
    ),
    AskTellStrategy(
        "local",
        "Local search by single changes, begun again at a local optimum.",
        takes=("surrogate", "seed_archs"),
        build=f"{_ROOM}.local_search:build",
    ),
    AskTellStrategy(
        "exhaustive",
        "Every network within the limits, where they are few.",
        build=f"{_ROOM}.exhaustive:build",
        asks_all=True,
    ),
    BatchStrategy(
        "combined-moves",
        "Local search by combined changes, for a table or predictor of accuracies.",
        min_evaluations=1000,
        build=f"{_ROOM}.combined_moves:build",
    ),
)
BUILTIN_STRATEGIES = tuple(STRATEGIES.add(entry).name for entry in _BUILTIN)
