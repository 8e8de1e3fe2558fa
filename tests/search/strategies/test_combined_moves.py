from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hwnas.additive.graph import Term
from hwnas.errors import InfeasibleError
from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.combined_moves import CombinedMoves, MoveSettings, combinations, hub
from hwnas.search.strategies.population import random_codes
from hwnas.space.catalogue import load_space

PROXYLESS = load_space("proxyless")
ELASTIC = load_space("ofa-mbv3")


class Quadratic:
    """A score of choices and of pairs of neighbouring choices; NaN for some networks."""

    source = "predictor"

    def __init__(self, space, seed: int, pairs: float, failing: bool = False) -> None:
        rng, n = stream(seed, "score"), len(space.choices)
        self.single = rng.normal(size=(n, 9))
        self.pair = pairs * rng.normal(size=(n, 9, 9))
        self.failing = failing
        self.asked: list[Codes] = []

    def score(self, codes: Codes):
        self.asked.append(codes)
        columns = np.arange(codes.shape[1])
        total = self.single[columns, codes].sum(axis=1)
        total += self.pair[columns[1:], codes[:, :-1], codes[:, 1:]].sum(axis=1)
        return np.where(codes.sum(axis=1) % 5 == 0, np.nan, total) if self.failing else total


def _under(space, *limits: tuple[str, float]) -> AdditiveFeasible:
    """Limits in shares between the least and the largest value of a metric."""
    made = []
    for metric, share in limits:
        low, high = LimitedSpace(space, (Limit(metric, 1.0),), {}).extremes()
        made.append(Limit(metric, low + share * (high - low)))
    return AdditiveFeasible(LimitedSpace(space, tuple(made), {}))


@pytest.mark.parametrize("limits", [[("macs", 0.5)], [("macs", 0.4), ("params", 0.5)]])
@pytest.mark.parametrize("space", [PROXYLESS, ELASTIC], ids=["proxyless", "ofa-mbv3"])
def test_all_results_meet_the_limits_and_have_their_scores(space, limits):
    feasible, score = _under(space, *limits), Quadratic(space, 0, 0.3, failing=True)
    found = CombinedMoves(feasible, score, 1).run(6000)
    assert feasible.within(found.codes).all()
    assert np.array_equal(space.repair(found.codes), found.codes)
    assert np.array_equal(score.score(found.codes), found.scores)
    assert (np.diff(found.scores) <= 0).all()
    assert len(np.unique(found.codes, axis=0)) == len(found.codes)


def test_a_sum_under_a_limit_is_solved_exactly():
    feasible, score = _under(PROXYLESS, ("macs", 0.4)), Quadratic(PROXYLESS, 2, 0.0)
    limited = feasible.limited
    terms = tuple(
        Term((i,), score.single[i, : len(choice.options)])
        for i, choice in enumerate(PROXYLESS.choices)
    )
    exact = LimitedSpace(PROXYLESS, limited.limits, {}, score=terms).best(1)[0][1]
    found = CombinedMoves(feasible, score, 0).run(20_000)
    assert found.scores[0] == pytest.approx(exact)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_better_than_random_search_of_ten_times_the_length(share):
    feasible, score = _under(ELASTIC, ("macs", share)), Quadratic(ELASTIC, 3, 0.5)
    found = CombinedMoves(feasible, score, 0).run(4000)
    random = feasible.sample(40_000, stream(0, "random"), 0.75)
    assert found.scores[0] > score.score(random).max()


def test_the_seed_decides_everything():
    feasible = _under(ELASTIC, ("macs", 0.4))
    runs = [Quadratic(ELASTIC, 4, 0.5) for _ in range(3)]
    found = [
        CombinedMoves(feasible, score, seed).run(3000)
        for score, seed in zip(runs, (7, 7, 8), strict=True)
    ]
    assert np.array_equal(found[0].codes, found[1].codes)
    assert all(np.array_equal(a, b) for a, b in zip(runs[0].asked, runs[1].asked, strict=True))
    assert not np.array_equal(runs[0].asked[0], runs[2].asked[0])


def test_known_networks_are_never_lost():
    feasible, score = _under(ELASTIC, ("macs", 0.4)), Quadratic(ELASTIC, 5, 0.5)
    good = CombinedMoves(feasible, score, 0).run(6000)
    again = CombinedMoves(feasible, score, 1).run(1, known=good.codes[:1])
    assert again.scores[0] >= good.scores[0]


def test_limits_that_no_network_meets():
    limited = LimitedSpace(ELASTIC, (Limit("macs", 1e6),), {})
    with pytest.raises(InfeasibleError):
        CombinedMoves(AdditiveFeasible(limited), Quadratic(ELASTIC, 0, 0.1), 0).run(1000)


def test_hub_is_the_resolution_where_there_is_one():
    assert hub(ELASTIC) == 0
    assert hub(PROXYLESS) is None


def test_combinations_are_the_best_of_all_that_fit():
    rng = stream(0, "moves")
    code = random_codes(PROXYLESS, 1, rng)[0]
    moved = np.repeat(code[None], 8, axis=0)
    places = [0, 0, 3, 3, 5, 8, 11, 13]
    for row, place in enumerate(places):
        moved[row, place] = (code[place] + 1 + row % 2) % 6
    gains, costs = rng.normal(size=8), rng.normal(size=(8, 1))
    room = np.array([0.1])
    settings = MoveSettings(changes=3, beam=1000, scored=10)
    every = []
    for chosen in product(range(9), repeat=3):  # 8: no move
        moves = [move for move in chosen if move < 8]
        distinct = len({places[move] for move in moves}) == len(moves)
        if moves and distinct and list(chosen) == sorted(chosen) and costs[moves].sum() <= room[0]:
            every.append((float(gains[moves].sum()), moves))
    best = sorted((gain for gain, _ in every), reverse=True)[:10]
    got = combinations(code, moved, gains, costs, room, settings)
    sums = [float(gains[[m for m in row if m >= 0]].sum()) for row in got.tolist()]
    assert sums == pytest.approx(best)
