"""What a budget leaves: every number of the audit against the list of all codes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.additive import window as window_module
from hwnas.arch import Arch, Choice, short_hash
from hwnas.ops import OpSpec
from hwnas.protocols import Factor
from hwnas.search.problem.audit import SHARES, audit
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.space.catalogue import load_space
from hwnas.space.codes import decode, encode

TINY = load_space("tiny")
CODES = np.indices((4,) * 5).reshape(5, -1).T


def _audit(predictor, budget_ms):
    limits = (Limit("latency_ms", budget_ms, "t"),)
    return audit(LimitedSpace(predictor.space, limits, {"t": predictor}))


@pytest.fixture(scope="module")
def predictor(make_predictor):
    return make_predictor(TINY)


@pytest.fixture(scope="module")
def all_ms(predictor):
    return predictor.predict_ms(CODES)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 1.0])
def test_counts_ends_and_percentiles_are_those_of_all_codes(predictor, all_ms, share):
    budget = float(np.quantile(all_ms, share, method="nearest"))
    found = _audit(predictor, budget)
    feasible = int((all_ms <= budget).sum())
    assert found.num_codes == 1024
    assert found.num_feasible_low == found.num_feasible_high == feasible
    assert found.share == feasible / 1024
    assert found.budget_ms == budget
    assert (found.fastest_ms, found.slowest_ms) == pytest.approx((all_ms.min(), all_ms.max()))
    expected = np.percentile(all_ms, [100 * s for s in SHARES], method="inverted_cdf")
    assert list(found.percentiles.values()) == pytest.approx(expected.tolist())
    assert list(found.percentiles)[:5] == ["1", "5", "10", "25", "35"]


def test_a_count_that_is_only_bounded_says_so(predictor, all_ms, monkeypatch):
    monkeypatch.setattr(window_module, "LISTED_CODES", 0)
    monkeypatch.setattr(window_module, "FIRST_CELLS", 16)
    monkeypatch.setattr(window_module, "MAX_CELLS", 64)
    budget = float(np.median(all_ms))
    found = _audit(predictor, budget)
    assert found.num_feasible_low < (all_ms <= budget).sum() < found.num_feasible_high
    assert found.share == (found.num_feasible_low + found.num_feasible_high) / 2 / 1024


@pytest.mark.parametrize("share", [0.005, 0.1, 1.0])
def test_each_choice_is_what_the_networks_within_the_budget_do_with_it(predictor, all_ms, share):
    budget = float(np.quantile(all_ms, share, method="nearest"))
    found = _audit(predictor, budget)
    inside = CODES[all_ms <= budget]
    some_impossible = False
    for number, (choice, audited) in enumerate(zip(TINY.choices, found.choices, strict=True)):
        used = set(inside[:, number].tolist())
        unused = tuple(o for i, o in enumerate(choice.options) if i not in used)
        assert audited.name == choice.name
        assert audited.impossible == unused
        assert audited.is_forced == (len(used) == 1)
        term = predictor.factor_ms()[number + 1].values  # the first is the stem's
        assert audited.spread_ms == pytest.approx(np.ptp(term))
        assert audited.is_negligible == (np.ptp(term) <= 0.01 * all_ms.min())
        some_impossible |= bool(unused)
    assert some_impossible == (share < 1.0)


def test_a_choice_is_forced_where_the_budget_leaves_one_option(predictor, all_ms):
    found = _audit(predictor, float(all_ms.min()))
    assert all(choice.is_forced for choice in found.choices)
    assert all(len(choice.impossible) == 3 for choice in found.choices)


def test_a_choice_below_the_noise_of_the_table_never_matters(make_predictor):
    # no operation takes longer than another: only how many there are counts
    predictor = make_predictor(TINY, ms=lambda op: 1.0, repeatability=0.0001)
    found = _audit(predictor, 100.0)
    expected = [choice.name in ("layer1", "layer3", "layer5") for choice in found.choices]
    # a layer that changes the shape is never left out
    assert [choice.is_negligible for choice in found.choices] == expected
    noisy = make_predictor(TINY, ms=lambda op: 1.0, repeatability=0.5)
    assert all(choice.is_negligible for choice in _audit(noisy, 100.0).choices)


def test_options_that_no_table_covers_have_no_part_in_a_spread(make_predictor):
    ops = [factor.ops for factor in TINY.factors() if factor.choices]
    found = _audit(make_predictor(TINY, without=[ops[2][3]]), 100.0)
    full = _audit(make_predictor(TINY), 100.0)
    assert found.num_codes == found.num_feasible_low == 768
    assert found.choices[2].impossible == ("mb6_k3",)
    values = make_predictor(TINY).factor_ms()[3].values
    assert found.choices[2].spread_ms == pytest.approx(np.ptp(values[:3]))
    assert [found.choices[i].spread_ms for i in (0, 1, 3, 4)] == pytest.approx(
        [full.choices[i].spread_ms for i in (0, 1, 3, 4)]
    )


class PairSpace:
    """A width and a kernel that one convolution needs together."""

    name, input_shape, num_classes = "pair", (3, 8, 8), 4
    choices = (Choice("width", (8, 16, 24)), Choice("kernel", (3, 5)))

    def arch(self, choices):
        return Arch.make(self.name, choices)

    def encode(self, archs):
        return encode(self.choices, archs)

    def decode(self, codes):
        return decode(self.name, self.choices, codes)

    def _conv(self, width, kernel):
        return OpSpec.make("conv", self.input_shape, width, kernel=kernel, stride=1)

    def _head(self, width):
        return OpSpec.make("head", (width, 8, 8), self.num_classes, hidden=0)

    def layers(self, arch):
        width = arch.choices["width"]
        return self._conv(width, arch.choices["kernel"]), self._head(width)

    def factors(self):
        convs = np.empty((3, 2), dtype=object)
        heads = np.empty(3, dtype=object)
        for i, width in enumerate((8, 16, 24)):
            heads[i] = self._head(width)
            for j, kernel in enumerate((3, 5)):
                convs[i, j] = self._conv(width, kernel)
        return Factor((0, 1), convs), Factor((0,), heads)

    def network_id(self, arch):
        return short_hash(str(self.layers(arch)))


def test_where_choices_interact_the_fastest_completions_are_compared(make_predictor):
    space = PairSpace()
    convs = space.factors()[0].ops
    predictor = make_predictor(space, without=convs[2].tolist())  # no network of width 24
    codes = np.indices((3, 2)).reshape(2, -1).T
    ms = predictor.predict_ms(codes).reshape(3, 2)
    assert np.isnan(ms[2]).all()
    found = _audit(predictor, 1e3)
    assert found.num_codes == found.num_feasible_low == 4
    width, kernel = found.choices
    assert width.impossible == (24,)
    assert width.spread_ms == pytest.approx(abs(ms[0].min() - ms[1].min()))
    assert kernel.impossible == ()
    assert kernel.spread_ms == pytest.approx(abs(ms[:2, 0].min() - ms[:2, 1].min()))


def test_an_audit_is_an_object_of_result_files(predictor, all_ms):
    found = _audit(predictor, float(np.median(all_ms)))
    read = json.loads(json.dumps(found.to_json()))
    assert read["feasible_share"] == found.share == 0.5
    assert read["choices"][0]["name"] == "layer1"
    assert set(read) == {
        "num_codes",
        "num_feasible_low",
        "num_feasible_high",
        "budget_ms",
        "fastest_ms",
        "slowest_ms",
        "percentiles",
        "choices",
        "feasible_share",
    }
