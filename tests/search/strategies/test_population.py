"""Moves stay in the space and do what they say; nothing comes twice; the adapter's signs."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.protocols import Evaluation, Objective
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible, ListedFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.strategies.population import (
    ArchSearcher,
    History,
    collect,
    crossover,
    draw_new,
    mutate,
    neighbours,
    random_codes,
    search_codes,
)
from hwnas.space.catalogue import SPACES, load_space

TINY, MACRO = load_space("tiny"), load_space("macro-cifar")
ALL_TINY = np.indices((4, 4, 4, 4, 4)).reshape(5, -1).T.astype(np.int16)


@pytest.fixture(params=SPACES)
def space(request):
    return load_space(request.param)


def _rng(number=0):
    return stream(number, "test population")


def _are_codes(space, codes):
    assert codes.dtype == np.int16
    np.testing.assert_array_equal(space.repair(codes), codes)


def test_moves_stay_in_every_space_and_leave_their_arguments_alone(space):
    rng = _rng()
    parents = random_codes(space, 40, rng)
    before = parents.copy()
    for codes in (
        parents,
        mutate(space, parents, rng),
        mutate(space, parents, rng, 3),
        crossover(space, parents, parents[::-1], rng),
        neighbours(space, parents[:3])[0],
    ):
        _are_codes(space, codes)
    np.testing.assert_array_equal(parents, before)


def test_mutation_changes_as_many_choices_as_it_is_told_uniformly():
    rng = _rng()
    sizes = [len(choice.options) for choice in TINY.choices]
    parents = random_codes(TINY, 20_000, rng)
    for changes in (1, 2, 5):
        children = mutate(TINY, parents, rng, changes)
        assert ((children != parents).sum(axis=1) == changes).all()
    children = mutate(TINY, parents, rng)
    row, column = np.nonzero(children != parents)
    steps = (children[row, column] - parents[row, column]) % np.array(sizes)[column]
    counts = np.array(
        [np.bincount(steps[column == c], minlength=s)[1:] for c, s in enumerate(sizes)],
        dtype=object,
    )
    for choice, of_choice in enumerate(counts):
        expected = 20_000 / len(sizes) / (sizes[choice] - 1)
        assert np.abs(np.array(of_choice, float) - expected).max() < 5 * np.sqrt(expected)


def test_each_parent_can_have_its_own_number_of_changes():
    parents = random_codes(MACRO, 50, _rng())
    changes = np.arange(50) % 4
    assert ((mutate(MACRO, parents, _rng(1), changes) != parents).sum(axis=1) == changes).all()


def test_a_child_has_every_option_from_one_of_its_parents_half_from_each():
    mothers, fathers = random_codes(MACRO, 5000, _rng()), random_codes(MACRO, 5000, _rng(1))
    children = crossover(MACRO, mothers, fathers, _rng(2))
    assert ((children == mothers) | (children == fathers)).all()
    differ = mothers != fathers
    share = (children == mothers)[differ].mean()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(differ.sum())


def test_neighbours_are_all_codes_one_choice_away():
    codes = random_codes(TINY, 4, _rng())
    near, rows = neighbours(TINY, codes)
    for row, code in enumerate(codes):
        expected = ALL_TINY[(code != ALL_TINY).sum(axis=1) == 1]
        assert {*map(tuple, near[rows == row].tolist())} == {*map(tuple, expected.tolist())}
        assert (rows == row).sum() == len(expected)


def test_history_knows_networks_not_codes():
    # macro-cifar: an identity may stand anywhere among layers of one shape
    code = np.array([[1, 2, 1, 0, 1, 2, 0, 1], [1, 2, 1, 1, 0, 2, 0, 1]], dtype=np.int16)
    history = History(MACRO)
    assert len({MACRO.network_id(arch) for arch in MACRO.decode(code)}) == 1
    assert history.fresh(code).tolist() == [True, False]
    history.ask(code[:1])
    assert history.fresh(code).tolist() == [False, False]
    assert history.num_asked == 1


def test_history_agrees_with_network_ids():
    codes = random_codes(MACRO, 4000, _rng())
    fresh = History(MACRO).fresh(codes)
    seen = set()
    for network_id, is_fresh in zip(map(MACRO.network_id, MACRO.decode(codes)), fresh, strict=True):
        assert is_fresh == (network_id not in seen)
        seen.add(network_id)


def test_failed_evaluations_are_never_asked_again_and_leave_no_score():
    history = History(TINY)
    codes = ALL_TINY[:3]
    good = history.tell(codes, np.array([[0.5], [np.nan], [0.7]]))
    assert good.tolist() == [True, False, True]
    np.testing.assert_array_equal(history.codes, codes[[0, 2]])
    assert history.scores.tolist() == [[0.5], [0.7]]
    assert not history.fresh(codes).any()


def _macs(space, share):
    free = LimitedSpace(space, (Limit("macs", 1e15),), {})
    most = free.percentiles([share])[0]
    return AdditiveFeasible(LimitedSpace(space, (Limit("macs", most),), {}))


def test_collect_keeps_what_is_within_and_new():
    feasible, history = _macs(TINY, 0.3), History(TINY)
    rng = _rng()
    first = collect(lambda n: random_codes(TINY, n, rng), feasible, history, 20)
    history.ask(first)
    second = collect(lambda n: random_codes(TINY, n, rng), feasible, history, 20)
    both = np.concatenate([first, second])
    assert len(both) == 40
    assert feasible.within(both).all()
    assert History(TINY).fresh(both).all()


def test_collect_gives_up_on_proposals_that_are_all_known():
    history = History(TINY)
    history.ask(ALL_TINY[:1])
    feasible = _macs(TINY, 1.0)
    assert collect(lambda n: np.repeat(ALL_TINY[:1], n, axis=0), feasible, history, 3).shape == (
        0,
        5,
    )


def test_new_networks_are_drawn_until_none_is_left_the_window_first():
    feasible, history = _macs(TINY, 0.3), History(TINY)
    num_networks = History(TINY).fresh(ALL_TINY[feasible.within(ALL_TINY)]).sum()
    shares = []
    while len(codes := draw_new(feasible, history, 17, _rng(history.num_asked))):
        assert feasible.within(codes).all()
        assert history.fresh(codes).all()
        history.ask(codes)
        shares += (feasible.metrics(codes)[:, 0] >= 0.75 * feasible.maxima[0]).tolist()
    assert history.num_asked == num_networks
    assert shares == sorted(shares, reverse=True)


class _Fixed:
    def __init__(self, codes):
        self.codes, self.told = codes, []

    def ask_codes(self, count):
        asked, self.codes = self.codes[:count], self.codes[count:]
        return asked

    def tell_codes(self, codes, scores):
        self.told.append((codes, scores))


def test_the_adapter_tells_signs_failures_and_several_objectives():
    inner = _Fixed(ALL_TINY[:3])
    searcher = ArchSearcher(TINY, inner, ("top1", "energy"))
    archs = searcher.ask(3)
    assert archs == TINY.decode(ALL_TINY[:3])
    good = {
        "top1": Objective(0.9, "fraction", "max", "table"),
        "energy": Objective(2.0, "mJ", "min", "measured"),
    }
    searcher.tell(
        [
            Evaluation(archs[0], good, {}),
            Evaluation(archs[1], {}, {}, error="lost"),
            Evaluation(archs[2], good, {}),
        ]
    )
    ((codes, scores),) = inner.told
    np.testing.assert_array_equal(codes, ALL_TINY[:3])
    np.testing.assert_array_equal(scores, [[0.9, -2.0], [np.nan, np.nan], [0.9, -2.0]])
    with pytest.raises(ValueError, match=r"needs objective 'energy', but .*'top1'"):
        searcher.tell([Evaluation(archs[0], {"top1": good["top1"]}, {})])


def test_a_search_on_arrays_asks_in_batches_until_nothing_is_left():
    inner = _Fixed(ALL_TINY[:7])
    codes, scores = search_codes(inner, lambda c: c.sum(axis=1) / 10, 20, batch=3)
    np.testing.assert_array_equal(codes, ALL_TINY[:7])
    np.testing.assert_allclose(scores[:, 0], ALL_TINY[:7].sum(axis=1) / 10)
    assert [len(told) for told, _ in inner.told] == [3, 3, 1]
    codes, scores = search_codes(_Fixed(ALL_TINY[:0]), lambda c: c.sum(axis=1), 20, batch=3)
    assert codes.shape == (0, 5)
    assert scores.shape == (0, 1)


def test_listed_and_additive_limits_agree_where_both_can_be():
    additive = _macs(TINY, 0.4)
    values = additive.metrics(ALL_TINY).T.reshape(1, 4, 4, 4, 4, 4)
    listed = ListedFeasible(TINY, values, additive.maxima)
    np.testing.assert_array_equal(listed.listed(), additive.listed())
    codes = random_codes(TINY, 100, _rng())
    np.testing.assert_array_equal(listed.within(codes), additive.within(codes))
    np.testing.assert_array_equal(listed.metrics(codes), additive.metrics(codes))
    assert listed.num_codes == additive.num_codes
