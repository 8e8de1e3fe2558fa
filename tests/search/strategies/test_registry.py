"""What derives from a strategy's entry: checks of a run, options that go with it, building it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.io.schemas import FileSchema
from hwnas.pipeline.config.search import SearchConfig
from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import ListedFeasible
from hwnas.search.strategies.population import History, draw_new
from hwnas.search.strategies.registry import (
    BUILTIN_STRATEGIES,
    NEEDS,
    OPTIONS,
    STRATEGIES,
    AskTellStrategy,
    SearchProblem,
    register_strategy,
    strategies_with,
    takes,
)
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")


class Settings(FileSchema):
    """Of the strategy below."""

    first: int = 0


class Descending:
    """Asks for random networks after ``first`` others."""

    def __init__(self, problem: SearchProblem) -> None:
        self.problem, self.history = problem, History(problem.feasible.space)

    def ask_codes(self, count):
        rng = stream(self.problem.seed, "descending", self.history.num_asked)
        return self.history.ask(draw_new(self.problem.feasible, self.history, count, rng))

    def tell_codes(self, codes, scores):
        self.history.tell(codes, scores)


@pytest.fixture(scope="module", autouse=True)
def descending() -> Iterator[AskTellStrategy]:
    """A strategy of this test, registered as a plugin's would be, and forgotten afterwards."""
    yield register_strategy(
        "test-descending",
        "For this test.",
        Descending,
        settings=Settings,
        takes=("surrogate",),
        min_evaluations=5,
    )
    del STRATEGIES._entries["test-descending"]


def _problem(**changes) -> SearchProblem:
    feasible = ListedFeasible(TINY, np.ones((1, 4, 4, 4, 4, 4)), np.array([1.0]))
    return SearchProblem(feasible, 0, 40, prior=MacsPrior(feasible), **changes)


def test_entries_name_needs_and_options_that_there_are() -> None:
    for entry in STRATEGIES.values():
        assert set(entry.needs) <= set(NEEDS)
        assert set(entry.takes) <= set(OPTIONS)
        assert entry.help.endswith(".")


@pytest.mark.parametrize("name", BUILTIN_STRATEGIES)
def test_every_strategy_that_asks_is_built_from_a_problem(name) -> None:
    entry = STRATEGIES[name]
    if not isinstance(entry, AskTellStrategy):
        return
    schema = entry.settings_schema()
    feasible = ListedFeasible(TINY, np.arange(1024.0).reshape(1, *(4,) * 5), np.array([30.0]))
    settings = None if schema is None else schema()
    codes = entry.searcher(SearchProblem(feasible, 0, 40, settings=settings)).ask_codes(3)
    assert codes.shape == (3, 5)
    assert feasible.within(codes).all()


def test_a_surrogate_guides_any_searcher(descending) -> None:
    guided = descending.searcher(_problem(settings=Settings()), surrogate=True)
    assert len(guided.ask_codes(4)) == 4
    assert takes(descending, "prior", surrogate=True)
    assert not takes(descending, "prior")


def test_how_many_are_asked_for_at_a_time() -> None:
    evolution, random = STRATEGIES["evolution"], STRATEGIES["random"]
    assert isinstance(evolution, AskTellStrategy)
    assert isinstance(random, AskTellStrategy)
    assert [evolution.usual_batch(n) for n in (1, 16, 400)] == [1, 4, 10]
    assert random.usual_batch(400) == 400


def _config(**search) -> SearchConfig:
    return SearchConfig.model_validate({"evaluator": "table:a", **search}, strict=False)


def test_a_run_reads_settings_of_a_registered_strategy_by_its_schema() -> None:
    config = _config(strategy="test-descending", settings={"first": 3})
    assert config.strategy_settings() == Settings(first=3)
    with pytest.raises(ValueError, match=r"settings\.frist: unknown key; did you mean 'first'"):
        _config(strategy="test-descending", settings={"frist": 3})
    with pytest.raises(ValueError, match="needs 5 evaluations or more, got 4"):
        _config(strategy="test-descending", evaluations=4)
    assert _config(strategy="test-descending", surrogate=True).uses_prior
    with pytest.raises(ValueError, match="seed_archs goes with strategy"):
        _config(strategy="test-descending", seed_archs="known")
    assert "test-descending" in strategies_with("surrogate")


def test_what_a_registration_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="takes must be of surrogate, seed_archs, prior, got copy"):
        register_strategy("test-other", "x", Descending, takes=("copy",))
    with pytest.raises(UsageError, match="registered already"):
        register_strategy("evolution", "x", Descending)


def test_the_prior_is_used_where_it_is_taken_unless_it_is_none() -> None:
    assert _config(strategy="evolution").uses_prior
    assert not _config(strategy="evolution", prior="none").uses_prior
    assert not _config(strategy="local").uses_prior
