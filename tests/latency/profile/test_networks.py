"""Networks spread over windows, against all 1,024 networks of ``tiny`` listed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwnas.additive.graph import Term, build_graph
from hwnas.additive.optimum import cheapest, dearest
from hwnas.errors import InfeasibleError
from hwnas.latency.lut.op_groups import design_matrix, terms_of
from hwnas.latency.profile.networks import (
    calibration_networks,
    macs_terms,
    spread_networks,
    utility_terms,
    winner_networks,
)
from hwnas.latency.table.scope import scope_terms
from hwnas.space.catalogue import load_space
from hwnas.space.codes import symbol_counts, to_symbols

COUNT = 8


@pytest.fixture(scope="module")
def every_arch(tiny):
    sizes = [range(len(choice.options)) for choice in tiny.choices]
    return tiny.decode(np.array(list(itertools.product(*sizes)), dtype=np.int16))


def _macs(space, arch):
    return sum(op.macs for op in space.layers(arch))


def _window(value, values, count):
    """The window of a value; a value on an edge belongs to the window below."""
    edges = np.linspace(min(values), max(values), count + 1)
    return max(int(np.searchsorted(edges[:-1], value, side="left")) - 1, 0)


def _spread(space, **options):
    settings = {"seed": 0, "purpose": "test", **options}
    return spread_networks(space, macs_terms(space), COUNT, **settings)


def test_macs_terms_sum_to_the_networks_macs(tiny, every_arch):
    for arch in every_arch[::37]:
        codes = tiny.encode([arch])[0]
        total = sum(term.values[tuple(codes[list(term.choices)])] for term in macs_terms(tiny))
        assert total == _macs(tiny, arch)


@pytest.mark.parametrize("seed", range(5))
def test_every_window_with_a_network_gives_one(tiny, every_arch, seed):
    values = [_macs(tiny, arch) for arch in every_arch]
    occupied = sorted({_window(value, values, COUNT) for value in values})
    found = _spread(tiny, seed=seed)
    assert [_window(_macs(tiny, arch), values, COUNT) for arch in found] == occupied
    assert len(occupied) == COUNT


def test_networks_are_distinct_as_networks_and_of_the_space(tiny):
    found = _spread(tiny)
    assert len({tiny.network_id(arch) for arch in found}) == COUNT
    assert [tiny.arch(arch.choices) for arch in found] == found


def test_the_same_name_draws_the_same_and_another_name_others(tiny):
    found = _spread(tiny)
    assert _spread(tiny) == found
    assert _spread(tiny, seed=1) != found
    assert _spread(tiny, purpose="other") != found


def test_networks_to_avoid_are_not_drawn_again(tiny):
    first = _spread(tiny)
    second = _spread(tiny, avoid=first)
    third = _spread(tiny, avoid=[*first, *second])
    ids = [tiny.network_id(arch) for arch in (*first, *second, *third)]
    assert len(set(ids)) == len(ids) > 2 * COUNT


def test_windows_that_hold_nothing_new_are_left_out(tiny):
    # one choice decides nearly all: two clusters at the ends of the range
    terms = [Term((0,), np.array([0.0, 0.0, 0.0, 1000.0])), Term((1,), np.arange(4.0))]
    found = spread_networks(tiny, terms, 10, seed=0, purpose="gap")
    assert [arch.choices["layer1"] == "mb6_k3" for arch in found] == [False, True]


def test_a_space_of_one_network_gives_it_once(tiny):
    small = [Term((n,), np.array([1.0, np.nan, np.nan, np.nan])) for n in range(5)]
    only = spread_networks(tiny, small, 3, seed=0, purpose="one")
    assert len(only) == 1
    assert spread_networks(tiny, small, 3, seed=0, purpose="one", avoid=only) == []


def test_no_networks_are_drawn_when_none_is_covered(tiny):
    with pytest.raises(InfeasibleError, match="no network of tiny is covered"):
        spread_networks(tiny, [Term((0,), np.full(4, np.nan))], 3, seed=0, purpose="none")


def test_a_large_space_is_spread_from_its_smallest_to_its_largest():
    space = load_space("proxyless")
    found = spread_networks(space, macs_terms(space), 12, seed=0, purpose="test")
    macs = [_macs(space, arch) for arch in found]
    smallest = sum(term.values.min() for term in macs_terms(space))
    largest = sum(term.values.max() for term in macs_terms(space))
    assert macs == sorted(macs)
    edges = np.linspace(smallest, largest, 13)
    for number, value in enumerate(macs):
        assert edges[number] <= value <= edges[number + 1]


@pytest.mark.parametrize("name", ["tiny", "proxyless"])
def test_calibration_networks_cover_the_range_and_its_ends(name):
    space = load_space(name)
    found = calibration_networks(space, macs_terms(space), 16, seed=0)
    macs = [_macs(space, arch) for arch in found]
    assert len({space.network_id(arch) for arch in found}) == 16
    assert macs == sorted(macs)
    assert macs[0] == sum(term.values.min() for term in macs_terms(space))
    assert macs[-1] == sum(term.values.max() for term in macs_terms(space))
    assert max(np.diff(macs)) <= 2 * (macs[-1] - macs[0]) / 16
    assert calibration_networks(space, macs_terms(space), 16, seed=0) == found
    assert calibration_networks(space, macs_terms(space), 16, seed=1) != found


def test_calibration_networks_tell_more_than_networks_drawn_at_random():
    space = load_space("proxyless")

    def information(archs):
        every = [*archs, *reference]
        x = design_matrix(space, every)[: len(archs)]
        return np.linalg.slogdet(np.eye(x.shape[1]) + x.T @ x)[1]

    reference = spread_networks(space, macs_terms(space), 64, seed=7, purpose="reference")
    chosen = calibration_networks(space, macs_terms(space), 16, seed=0)
    drawn = [
        spread_networks(space, macs_terms(space), 16, seed=seed, purpose="drawn")
        for seed in range(5)
    ]
    assert information(chosen) > max(information(archs) for archs in drawn) + 1


def test_calibration_networks_of_a_wide_space_are_spread_by_ratio(tiny):
    """A space whose largest network is a thousand times the smallest."""
    worth = 10.0 ** np.linspace(0, 2.7, 4)
    terms = [
        Term((place,), worth[: len(choice.options)]) for place, choice in enumerate(tiny.choices)
    ]
    found = calibration_networks(tiny, terms, 8, seed=0)
    codes = tiny.encode(found)
    sums = sum(term.values[codes[:, term.choices[0]]] for term in terms)
    ratio = (sums[-1] / sums[0]) ** (1 / 8)
    assert max(sums[1:] / sums[:-1]) <= ratio**2 * (1 + 1e-6)
    assert sums[0] == pytest.approx(5.0)


@pytest.mark.parametrize("slow", [3, 5, 7])
@pytest.mark.parametrize("name", ["ofa-mbv3", "proxyless"])
def test_calibration_networks_cover_devices_that_run_one_kernel_slowly(name, slow):
    """Its fastest networks have that kernel nowhere, its slowest everywhere; MACs tell neither."""
    space = load_space(name)
    scope = scope_terms(space, {"resolution": 160} if name == "ofa-mbv3" else {})
    device = terms_of(
        space.factors(),
        lambda op: op.macs * (5.0 if op.kind == "mbconv" and op["kernel"] == slow else 1.0),
    )
    found = calibration_networks(space, [*macs_terms(space), *scope], 16, seed=0)
    graph = build_graph(symbol_counts(space), [[*device, *scope]])
    fastest, slowest = cheapest(graph, 0), dearest(graph, 0)
    totals = graph.totals(to_symbols(space.encode(found), space))[0]
    places = (totals - fastest.score) / (slowest.score - fastest.score)
    assert (places < 1 / 8).sum() >= 4
    assert (places > 1 / 2).sum() >= 2


def test_few_calibration_networks_and_one_are_possible(tiny):
    for count in (1, 2, 3, 5):
        assert len(calibration_networks(tiny, macs_terms(tiny), count, seed=0)) == count


def test_winners_are_the_best_by_their_utility_within_their_budget(tiny, every_arch):
    terms = macs_terms(tiny)
    found = winner_networks(tiny, terms, 6, seed=3, purpose="test")
    macs = np.array([_macs(tiny, arch) for arch in every_arch])
    codes = tiny.encode(every_arch)
    for number, arch in enumerate(found):
        utility = utility_terms(tiny, 3, "test", number)
        assert all((term.values >= 0).all() for term in utility)
        worth = sum(term.values[tuple(codes[:, c] for c in term.choices)] for term in utility)
        budget = macs.min() + (0.05 + 0.9 * (number + 0.5) / 6) * (macs.max() - macs.min())
        assert worth[every_arch.index(arch)] == pytest.approx(worth[macs <= budget].max())
    again = winner_networks(tiny, terms, 6, seed=3, purpose="test", avoid=found)
    assert not {tiny.network_id(a) for a in again} & {tiny.network_id(a) for a in found}
