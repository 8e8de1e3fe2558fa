"""Limits over real spaces: every answer against the predictions of all codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from hwnas.additive import window as window_module
from hwnas.additive.graph import Term
from hwnas.errors import InfeasibleError, UsageError
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace, counted, counted_terms, parse_limit
from hwnas.search.strategies.random_search import RandomSearch
from hwnas.space.catalogue import load_space

TINY = load_space("tiny")
MACRO = load_space("macro-cifar")


def _all_codes(space):
    sizes = [len(choice.options) for choice in space.choices]
    return np.indices(sizes).reshape(len(sizes), -1).T


def _params(space, codes):
    archs = space.decode(codes.astype(np.int16))
    return np.array([sum(op.params for op in space.layers(arch)) for arch in archs])


def _limited(predictor, most_ms, *others, **kwargs):
    limits = (Limit("latency_ms", most_ms, "phone"), *others)
    return LimitedSpace(predictor.space, limits, {"phone": predictor}, **kwargs)


@pytest.fixture(scope="module")
def tiny(make_predictor):
    """Predictor, all codes, their latencies and parameters."""
    predictor = make_predictor(TINY)
    codes = _all_codes(TINY)
    return predictor, codes, predictor.predict_ms(codes), _params(TINY, codes)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("params=4e6", Limit("params", 4e6)),
        ("macs=300000000", Limit("macs", 3e8)),
        ("size_mb=1.5", Limit("size_mb", 1.5)),
    ],
)
def test_a_limit_is_read_from_the_command_line(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "params",
        "params=",
        "params=x",
        "params=0",
        "params=-1",
        "params=nan",
        "params=inf",
        "latency_ms=3",
        "memory=4",
        "=4",
        "",
    ],
)
def test_any_other_limit_is_told_what_is_allowed(text):
    with pytest.raises(UsageError) as caught:
        parse_limit(text)
    assert f"--limit {text!r}" in str(caught.value)
    assert "params, macs, size_mb" in str(caught.value)
    assert "--limit params=4e6" in str(caught.value)


def test_a_limit_says_what_it_is_to_people_and_files():
    limit = Limit("latency_ms", 20.5, "pixel")
    assert str(limit) == "latency_ms <= 20.5 on pixel"
    assert limit.to_json() == {"metric": "latency_ms", "table": "pixel", "max": 20.5}
    assert str(Limit("params", 4e6)) == "params <= 4e+06"


@pytest.mark.parametrize("metric", ["params", "macs", "size_mb"])
def test_counted_terms_add_up_to_the_layers(metric):
    codes = _all_codes(MACRO)[::311]
    columns = codes.T
    terms = counted_terms(MACRO, metric)
    sums = sum(t.values[tuple(columns[c] for c in t.choices)] for t in terms)
    for arch, total in zip(MACRO.decode(codes.astype(np.int16)), sums, strict=True):
        layers = MACRO.layers(arch)
        expected = {
            "params": sum(op.params for op in layers),
            "macs": sum(op.macs for op in layers),
            "size_mb": sum(op.params for op in layers) * 4 / 1e6,
        }[metric]
        assert total == pytest.approx(expected, rel=1e-12)
        assert sum(counted(op, metric) for op in layers) == pytest.approx(expected, rel=1e-12)


def test_the_size_of_int8_files_is_counted_as_they_are(tiny):
    """About a quarter of the fp32 file's: a limit between lets networks through in int8 only."""
    predictor, codes, _, params = tiny
    for precision, bytes_per_param in (("fp32", 4), ("int8", 1.15)):
        limit = Limit("size_mb", 0.1, precision=precision)
        limited = _limited(predictor, 1e3, limit)
        assert limited.within(codes).tolist() == (params * bytes_per_param / 1e6 <= 0.1).tolist()
        assert limit.to_json()["precision"] == precision
        assert str(limit) == f"size_mb <= 0.1 of {precision} files"
    assert "precision" not in Limit("params", 1.0).to_json()


def test_extremes_and_percentiles_are_those_of_all_codes(tiny):
    predictor, _, ms, params = tiny
    limited = _limited(predictor, 1.0, Limit("params", 1e5))
    assert limited.extremes() == pytest.approx((ms.min(), ms.max()))
    assert limited.extremes(1) == (params.min(), params.max())
    shares = [0.01, 0.1, 0.35, 0.5, 0.99]
    for index, values in ((0, ms), (1, params)):
        expected = np.percentile(values, [100 * s for s in shares], method="inverted_cdf")
        assert limited.percentiles(shares, index) == pytest.approx(expected.tolist())
    assert limited.num_codes == 1024


def test_a_limit_that_the_fastest_network_just_meets_passes(tiny):
    predictor, _, ms, params = tiny
    _limited(predictor, float(ms.min())).check()
    _limited(predictor, float(ms.max()), Limit("params", float(params.min()))).check()
    _limited(predictor, 1e12, Limit("params", 1e30)).check()


def test_an_impossible_budget_names_the_fastest_network_and_its_latency(tiny):
    predictor, codes, ms, _ = tiny
    with pytest.raises(InfeasibleError) as caught:
        _limited(predictor, 0.99 * float(ms.min())).check()
    text = str(caught.value)
    assert "no network of tiny meets latency_ms <= " in text
    assert "on phone" in text
    assert f"the fastest has latency_ms {ms.min():.6g}" in text
    (fastest,) = TINY.decode(codes[[ms.argmin()]].astype(np.int16))
    for name, option in fastest.choices.items():
        assert f"{name}={option}" in text
    assert "Next: raise the limit" in text


def test_an_impossible_size_names_the_smallest_network_and_its_size(tiny):
    predictor, codes, ms, params = tiny
    with pytest.raises(InfeasibleError) as caught:
        _limited(predictor, float(ms.max()), Limit("params", float(params.min() - 1))).check()
    text = str(caught.value)
    assert f"the smallest has params {params.min():.6g}" in text
    (smallest,) = TINY.decode(codes[[params.argmin()]].astype(np.int16))
    assert ", ".join(f"{k}={v}" for k, v in smallest.choices.items()) in text


def test_limits_that_only_together_are_impossible_are_told_so(make_predictor):
    # the more parameters, the faster
    predictor = make_predictor(TINY, ms=lambda op: 50.0 - op.params / 1e3)
    codes = _all_codes(TINY)
    ms, params = predictor.predict_ms(codes), _params(TINY, codes)
    most = float(np.median(params))
    fastest = float(ms[params <= most].min())
    limits = Limit("params", most)
    _limited(predictor, fastest, limits).check()
    assert ms.min() < 0.999 * fastest
    with pytest.raises(InfeasibleError, match="each limit can be met, but no network") as caught:
        _limited(predictor, 0.999 * fastest, limits).check()
    text = str(caught.value)
    assert "latency_ms <= " in text
    assert f"and {limits} together" in text
    assert f"with {limits} the least latency_ms on phone is {fastest:.6g}" in text
    smallest = float(params[ms <= 0.999 * fastest].min())
    assert f"the least params is {smallest:.6g}" in text


def test_of_three_limits_the_two_that_exclude_each_other_are_named(make_predictor):
    predictor = make_predictor(TINY, ms=lambda op: 50.0 - op.params / 1e3)
    codes = _all_codes(TINY)
    ms, params = predictor.predict_ms(codes), _params(TINY, codes)
    most = float(np.median(params))
    fastest = float(ms[params <= most].min())
    with pytest.raises(InfeasibleError) as caught:
        _limited(predictor, 0.999 * fastest, Limit("macs", 1e12), Limit("params", most)).check()
    assert "macs" not in str(caught.value)
    assert f"and {Limit('params', most)} together" in str(caught.value)


def test_within_is_what_the_predictions_and_counts_say(tiny):
    predictor, codes, ms, params = tiny
    for ms_share, params_share in itertools.product((0.1, 0.5, 0.9), repeat=2):
        most_ms, most_params = np.quantile(ms, ms_share), np.quantile(params, params_share)
        limited = _limited(predictor, float(most_ms), Limit("params", float(most_params)))
        expected = (ms <= most_ms) & (params <= most_params)
        assert (limited.within(codes) == expected).all()
        assert 0 < expected.sum() < 1024


def test_a_window_of_the_budget_counts_the_codes_in_it(tiny):
    predictor, _, ms, _ = tiny
    budget = float(np.median(ms))
    window = _limited(predictor, budget).window(0.75 * budget, budget)
    assert window.num_low == window.num_high == ((ms >= 0.75 * budget) & (ms <= budget)).sum()


@pytest.fixture(scope="module")
def restricted(make_predictor):
    """The tiny space with two options that a table does not cover, and all codes it covers."""
    ops = [factor.ops for factor in TINY.factors() if factor.choices]
    predictor = make_predictor(TINY, without=[ops[2][3], ops[4][0]])
    codes = _all_codes(TINY)
    covered = (codes[:, 2] != 3) & (codes[:, 4] != 0)
    return predictor, codes[covered]


def _uses_restricted(arch):
    return arch.choices["layer3"] == "mb6_k3" or arch.choices["layer5"] == "identity"


def test_options_without_a_row_are_listed_and_in_no_answer(restricted):
    predictor, covered = restricted
    values = predictor.predict_ms(covered)
    most = float(values.max())
    score = tuple(Term((i,), np.arange(4.0)) for i in range(5))
    limited = _limited(predictor, most, score=score)
    named = [(r.choice, r.option) for r in limited.restricted]
    assert named == [("layer3", "mb6_k3"), ("layer5", "identity")]
    assert limited.num_codes == len(covered) == 576
    assert limited.extremes() == pytest.approx((values.min(), most))
    answers = {
        "draws": list(limited.draws(0.0, most, stream(0, "restricted"))),
        "best": [arch for arch, _ in limited.best(2000)],
        "ask": TINY.decode(RandomSearch(AdditiveFeasible(limited), 0).ask_codes(2000)),
    }
    everything = {arch.arch_id for arch in TINY.decode(covered.astype(np.int16))}
    for archs in answers.values():
        assert not any(map(_uses_restricted, archs))
        assert {arch.arch_id for arch in archs} == everything
    best, value = limited.best(1)[0]
    assert (tuple(best.choices.values()), value) == (
        ("mb6_k3", "mb6_k3", "mb3_k5", "mb6_k3", "mb6_k3"),
        14.0,
    )


def test_two_targets_leave_out_what_either_does_not_cover(make_predictor, restricted):
    one, _ = restricted
    ops = [factor.ops for factor in TINY.factors() if factor.choices]
    other = make_predictor(TINY, seed=9, without=[ops[0][1], ops[2][3]])
    codes = _all_codes(TINY)
    both = np.stack([one.predict_ms(codes), other.predict_ms(codes)])
    covered = np.isfinite(both).all(axis=0)
    most = np.quantile(both[:, covered], 0.4, axis=1).tolist()
    limited = LimitedSpace(
        TINY,
        (Limit("latency_ms", most[0], "a"), Limit("latency_ms", most[1], "b")),
        {"a": one, "b": other},
    )
    named = [(r.choice, r.option) for r in limited.restricted]
    assert named == [("layer3", "mb6_k3"), ("layer5", "identity"), ("layer1", "mb3_k3")]
    assert limited.num_codes == covered.sum() == 432
    found = {arch.arch_id for arch in limited.draws(0.0, most[0], stream(0, "two"))}
    inside = covered & (both[0] <= most[0]) & (both[1] <= most[1])
    assert found == {arch.arch_id for arch in TINY.decode(codes[inside].astype(np.int16))}
    assert 0 < len(found) < 432


def test_the_best_networks_are_those_of_the_list_of_all(make_predictor):
    predictor, codes = make_predictor(MACRO), _all_codes(MACRO)
    archs = MACRO.decode(codes.astype(np.int16))
    ms, params = predictor.predict_ms(codes), _params(MACRO, codes)
    rng = stream(0, "score")
    score = tuple(Term((i,), rng.integers(0, 5, 3).astype(float)) for i in range(8))
    value = sum(term.values[codes[:, i]] for i, term in enumerate(score))
    most_ms, most_params = float(np.quantile(ms, 0.3)), float(np.quantile(params, 0.3))
    limited = _limited(predictor, most_ms, Limit("params", most_params), score=score)
    inside = np.flatnonzero((ms <= most_ms) & (params <= most_params))
    order = inside[np.argsort(-value[inside], kind="stable")]
    expected, seen = [], set()
    for place in order:
        network_id = MACRO.network_id(archs[place])
        if network_id not in seen:
            seen.add(network_id)
            expected.append((archs[place], value[place]))
    assert len(expected) < len(inside)
    for count in (1, 10, 400):
        assert limited.best(count) == expected[:count]


def test_a_space_without_a_score_has_no_best_network(tiny):
    with pytest.raises(ValueError, match="without a score"):
        _limited(tiny[0], 1.0).best(1)


def _networks(space, codes):
    return {space.network_id(arch) for arch in space.decode(codes.astype(np.int16))}


@pytest.mark.parametrize("is_listed", [True, False])
def test_draws_are_all_the_distinct_networks_of_the_window_within_all_limits(
    make_predictor, monkeypatch, is_listed
):
    if not is_listed:
        monkeypatch.setattr(window_module, "LISTED_CODES", 0)
    predictor, codes = make_predictor(MACRO), _all_codes(MACRO)
    ms, params = predictor.predict_ms(codes), _params(MACRO, codes)
    low, high, most = np.quantile(ms, 0.2), np.quantile(ms, 0.25), np.quantile(params, 0.5)
    limited = _limited(predictor, float(high), Limit("params", float(most)))
    drawn = [
        MACRO.network_id(arch)
        for arch in limited.draws(float(low), float(high), stream(0, "draws"))
    ]
    inside = codes[(ms >= low) & (ms <= high) & (params <= most)]
    assert len(drawn) == len(set(drawn)) > 10
    assert set(drawn) == _networks(MACRO, inside)
    assert len(drawn) < len(inside)


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_draw_is_uniform_over_the_codes_of_the_window(tiny, monkeypatch, is_listed):
    if not is_listed:
        monkeypatch.setattr(window_module, "LISTED_CODES", 0)
    predictor, codes, ms, _ = tiny
    order = np.argsort(ms)
    low, high = float(ms[order[500]]), float(ms[order[519]])  # 20 codes
    limited = _limited(predictor, high)
    place = {
        arch.arch_id: i
        for i, arch in enumerate(TINY.decode(codes[order[500:520]].astype(np.int16)))
    }
    counts = np.zeros((2, 20), dtype=int)
    for seed in range(400):
        draws = limited.draws(low, high, stream(seed, "uniform"))
        for nth, arch in enumerate(itertools.islice(draws, 2)):
            counts[nth, place[arch.arch_id]] += 1
    assert stats.chisquare(counts[0]).pvalue > 1e-4
    assert stats.chisquare(counts[1]).pvalue > 1e-4  # tiny's codes are all distinct networks


def test_draws_depend_on_the_generator_alone_and_end_in_an_empty_window(tiny):
    predictor, _, ms, _ = tiny
    high = float(np.median(ms))
    limited = _limited(predictor, high)
    first = list(limited.draws(0.0, high, stream(1, "draws")))
    assert first == list(limited.draws(0.0, high, stream(1, "draws")))
    assert first != list(limited.draws(0.0, high, stream(2, "draws")))
    assert list(limited.draws(0.0, 0.5 * float(ms.min()), stream(1, "draws"))) == []
    assert list(limited.draws(high, 0.9 * high, stream(1, "draws"))) == []
