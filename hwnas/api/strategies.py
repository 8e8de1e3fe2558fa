"""Strategies by name, for ask and tell under limits."""

from __future__ import annotations

from hwnas.api.problem import Problem
from hwnas.errors import UsageError
from hwnas.protocols import CodeSearcher, Searcher
from hwnas.rng import derived_seed
from hwnas.search.strategies.population import ArchSearcher

ASK_AND_TELL = ("random", "evolution", "nsga2", "rl", "local", "exhaustive")
MIN_BATCHES = 4  # a short search learns at least this often


def make_searcher(
    strategy: str,
    problem: Problem,
    *,
    seed: int,
    evaluations: int,
    surrogate: bool,
    low_share: float,
) -> Searcher:
    """Return a strategy; the same seed gives what ``hwnas search`` proposes.

    Raises:
        UsageError: no such strategy, or one that is not for ask and tell.
    """
    if strategy not in ASK_AND_TELL:
        raise UsageError(
            f"strategy {strategy!r} is not for ask and tell; those are {', '.join(ASK_AND_TELL)}. "
            "Next: choose one; hwnas.run runs strategies that train a supernet"
        )
    codes = _code_searcher(strategy, problem, seed, evaluations, low_share)
    if surrogate:
        from hwnas.search.strategies.surrogate import Surrogate

        if strategy not in ("evolution", "rl", "local"):
            raise UsageError(
                "surrogate guides a strategy that learns one objective (evolution, local, rl), "
                f"not {strategy}"
            )
        codes = Surrogate(
            problem.feasible,
            codes,
            derived_seed(seed, "search", 0),
            initial=_population(evaluations),
        )
    return ArchSearcher(problem.space.definition, codes)


def usual_batch(strategy: str, evaluations: int) -> int:
    """Return how many networks a search asks for at a time, as ``hwnas search`` does."""
    if strategy in ("random", "exhaustive"):
        return evaluations
    return min(10, max(1, evaluations // MIN_BATCHES))


def _population(evaluations: int) -> int:
    return min(20, max(4, evaluations // MIN_BATCHES))


def _code_searcher(
    strategy: str, problem: Problem, seed: int, evaluations: int, low_share: float
) -> CodeSearcher:
    from hwnas.search.strategies.evolution import Evolution
    from hwnas.search.strategies.exhaustive import Exhaustive
    from hwnas.search.strategies.local_search import LocalSearch
    from hwnas.search.strategies.nsga2 import Nsga2
    from hwnas.search.strategies.random_search import RandomSearch
    from hwnas.search.strategies.rl import PolicySearch, PolicySettings

    feasible, population = problem.feasible, _population(evaluations)
    own = derived_seed(seed, "search", 0)
    if strategy == "random":
        return RandomSearch(feasible, seed, low_share)
    if strategy == "exhaustive":
        return Exhaustive(feasible, evaluations)
    if strategy == "evolution":
        sample = min(5, population)
        return Evolution(feasible, own, population=population, sample=sample, low_share=low_share)
    if strategy == "local":
        return LocalSearch(feasible, own, initial=min(10, population), low_share=low_share)
    if strategy == "rl":
        settings = PolicySettings(ppo=False, reward_weight=0.0, batch=min(20, population))
        return PolicySearch(feasible, own, settings, low_share=low_share)
    latencies = [n for n, limit in enumerate(problem.limits) if limit.table is not None]
    size = min(50, max(4, evaluations // MIN_BATCHES))
    return Nsga2(feasible, own, population=size, metrics=latencies)
