"""Limits on predictions that are not sums, against the exact answers of the same predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hwnas.errors import InfeasibleError
from hwnas.latency.few_shot.feature_space import Measured
from hwnas.latency.few_shot.predictor import FewShotPredictor
from hwnas.rng import stream
from hwnas.search.problem import predicted
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit
from hwnas.search.problem.predicted import PredictedFeasible, feasible_of
from hwnas.search.strategies.evolution import Evolution
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")
ALL_TINY = np.indices((4,) * 5).reshape(5, -1).T.astype(np.int16)


@dataclass
class Opaque:
    """Another model's predictions, without the terms they are sums of."""

    model: object
    source = "opaque"

    @property
    def space(self):
        return self.model.space

    def predict_ms(self, codes):
        return self.model.predict_ms(codes)

    def predict_arch_ms(self, arch):
        return self.model.predict_arch_ms(arch)


@pytest.fixture(scope="module")
def predictor(make_predictor):
    return make_predictor(TINY)


@pytest.fixture(scope="module")
def limits(predictor):
    ms = predictor.predict_ms(ALL_TINY)
    params = np.median([sum(op.params for op in TINY.layers(a)) for a in TINY.decode(ALL_TINY)])
    return Limit("params", float(params)), Limit("latency_ms", float(np.quantile(ms, 0.4)), "t")


@pytest.fixture(params=["listed", "drawn"])
def pair(request, predictor, limits, monkeypatch):
    """The same limits on sums, exactly, and on their predictions, listed or by rejection."""
    if request.param == "drawn":
        monkeypatch.setattr(predicted, "MAX_LISTED", 0)
    ordered = tuple(reversed(limits))
    exact = feasible_of(TINY, ordered, {"t": predictor})
    opaque = feasible_of(TINY, ordered, {"t": Opaque(predictor)})
    assert isinstance(exact, AdditiveFeasible)
    assert isinstance(opaque, PredictedFeasible)
    assert (opaque.listed() is None) == (request.param == "drawn")
    return exact, opaque


def test_what_is_within_and_its_metrics_are_those_of_the_sums(pair):
    exact, opaque = pair
    np.testing.assert_array_equal(opaque.within(ALL_TINY), exact.within(ALL_TINY))
    np.testing.assert_allclose(opaque.metrics(ALL_TINY), exact.metrics(ALL_TINY), rtol=1e-9)
    np.testing.assert_array_equal(opaque.maxima, exact.maxima)
    assert opaque.num_codes >= exact.within(ALL_TINY).sum()
    if opaque.listed() is not None:
        np.testing.assert_array_equal(opaque.listed(), exact.listed())


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.8, 1.0)])
def test_samples_are_uniform_over_the_window(pair, low, high):
    exact, opaque = pair
    first = exact.metrics(ALL_TINY)[:, 0]
    inside = exact.within(ALL_TINY) & (low * exact.maxima[0] <= first)
    inside &= first <= high * exact.maxima[0]
    draws = opaque.sample(40 * inside.sum(), stream(0, "predicted"), low, high)
    counts = np.bincount(np.ravel_multi_index(tuple(draws.T), (4,) * 5), minlength=len(ALL_TINY))
    assert counts[~inside].sum() == 0
    chi2 = ((counts[inside] - 40) ** 2 / 40).sum()
    assert abs(chi2 - inside.sum()) < 6 * np.sqrt(2 * inside.sum())


def test_an_empty_window_reaches_down_and_the_largest_come_first(pair, monkeypatch):
    exact, opaque = pair
    monkeypatch.setattr(predicted, "TRIES", 2000)
    draws = opaque.sample(4, stream(0, "predicted"), 1e-9, 2e-9)
    assert exact.within(draws).all()
    best = opaque.top_by_macs(5, stream(0, "predicted"))
    np.testing.assert_allclose(
        opaque.macs(best), exact.macs(exact.top_by_macs(5, stream(0, "predicted")))
    )


@pytest.mark.parametrize("listed", [True, False])
def test_limits_that_no_prediction_meets_are_an_error(predictor, monkeypatch, listed):
    monkeypatch.setattr(predicted, "TRIES", 2000)
    if not listed:
        monkeypatch.setattr(predicted, "MAX_LISTED", 0)
    feasible = feasible_of(TINY, [Limit("latency_ms", 1e-6, "t")], {"t": Opaque(predictor)})
    with pytest.raises(InfeasibleError, match=r"smallest values of \d+ networks are latency_ms 0"):
        feasible.sample(1, stream(0, "predicted"))


@pytest.mark.parametrize("space_name", ["tiny", "proxyless"])
def test_evolution_searches_under_a_few_shot_predictor(space_name):
    space = load_space(space_name)
    sizes = [len(choice.options) for choice in space.choices]
    drawn = stream(0, "timed").integers(0, sizes, (60, len(sizes))).astype(np.int16)
    codes = space.repair(drawn)
    macs = np.array([sum(op.macs for op in space.layers(arch)) for arch in space.decode(codes)])
    ms = 1 + 10 * macs / macs.mean()
    model = FewShotPredictor(space, Measured("phone", codes[:20], ms[:20]))
    budget = float(np.median(ms))
    feasible = feasible_of(space, [Limit("latency_ms", budget, "phone")], {"phone": model})
    search = Evolution(feasible, seed=0)
    for _ in range(6):
        asked = search.ask_codes(10)
        assert (model.predict_ms(asked) <= budget).all()
        search.tell_codes(asked, feasible.macs(asked)[:, None] / macs.mean())
