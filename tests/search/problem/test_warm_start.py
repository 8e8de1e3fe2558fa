"""What a search starts from is known or listed, within the limits, and asked for first."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.errors import InputError, UsageError
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import AdditiveFeasible
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.problem.warm_start import seed_archs, start_from
from hwnas.search.strategies.population import History, first_codes, search_codes
from hwnas.search.strategies.rl import PolicySearch, PolicySettings, PriorSettings
from hwnas.space.catalogue import load_space
from hwnas.space.zoo.archs import known_archs

FBNET, TINY = load_space("fbnet"), load_space("tiny")


def under(space, macs: float, params: float = 1e9) -> AdditiveFeasible:
    limits = (Limit("macs", macs), Limit("params", params))
    return AdditiveFeasible(LimitedSpace(space, limits, {}))


def tiny_arch(*options: str):
    return TINY.arch({f"layer{n}": option for n, option in enumerate(options, start=1)})


def test_known_networks_and_those_of_a_file(tmp_path):
    assert seed_archs(FBNET, "known") == known_archs(FBNET)
    archs = [tiny_arch(*["mb3_k3"] * 5), tiny_arch(*["mb6_k3"] * 5)]
    path = tmp_path / "archs.jsonl"
    path.write_text("".join(json.dumps(arch.to_json()) + "\n" for arch in archs))
    assert seed_archs(TINY, str(path)) == {"line 1": archs[0], "line 2": archs[1]}


def test_a_space_without_known_networks_says_what_to_do():
    with pytest.raises(UsageError, match=r"of space tiny.*--seed-archs archs\.jsonl"):
        seed_archs(TINY, "known")


def test_all_bad_lines_of_a_file_are_told(tmp_path):
    path = tmp_path / "archs.jsonl"
    good = json.dumps(tiny_arch(*["mb3_k3"] * 5).to_json())
    path.write_text(f"{good}\nnonsense\n{good.replace('mb3_k3', 'mb9', 1)}\n")
    with pytest.raises(InputError) as caught:
        seed_archs(TINY, str(path))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["line 2", "line 3"]
    with pytest.raises(InputError, match="cannot be read"):
        seed_archs(TINY, str(tmp_path / "none.jsonl"))


def test_what_breaks_a_limit_is_told_with_its_value():
    archs = known_archs(FBNET)
    (macs, params) = (
        sum(getattr(op, metric) for op in FBNET.layers(archs["fbnet_c"]))
        for metric in ("macs", "params")
    )
    kept = under(FBNET, macs + 1, params + 1)
    start = start_from(kept, archs, kept.limited.limits)
    assert (start.names, dict(start.refused)) == (("fbnet_c",), {})
    np.testing.assert_array_equal(start.codes, FBNET.encode(list(archs.values())))
    tight = under(FBNET, 0.9 * macs, 0.8 * params)
    start = start_from(tight, archs, tight.limited.limits)
    assert start.names == ()
    assert start.codes.shape == (0, 22)
    reason = start.refused["fbnet_c"]
    assert f"macs {macs:.4g}, over macs <= {0.9 * macs:g}" in reason
    assert f"params {params:.4g}, over params <= {0.8 * params:g}" in reason


def test_codes_of_one_network_are_one_start():
    space = load_space("macro-cifar")
    base = {choice.name: "mb3_k3" for choice in space.choices}
    archs = {
        "a": space.arch({**base, "layer4": "identity"}),
        "b": space.arch({**base, "layer5": "identity"}),
    }
    feasible = under(space, 1e12)
    start = start_from(feasible, archs, feasible.limited.limits)
    assert start.names == ("a",)
    assert start.refused == {"b": "builds the same network as a"}


@pytest.mark.parametrize("batch", [1, 3, 10])
def test_a_search_evaluates_what_it_starts_from_first_and_once(batch):
    feasible = under(TINY, 4e6)
    start = np.unique(feasible.sample(6, np.random.default_rng(0)), axis=0)
    outside = TINY.encode([tiny_arch(*["mb6_k3"] * 5)])
    assert not feasible.within(outside)[0]
    search = PolicySearch(
        feasible,
        0,
        PolicySettings(hidden=4),
        start=np.concatenate([outside, start]),
        prior=MacsPrior(feasible),
        prior_settings=PriorSettings(warmup_steps=5, warmup_draws=64),
    )
    codes, _ = search_codes(search, lambda codes: codes.sum(axis=1), 40, batch=batch)
    np.testing.assert_array_equal(codes[: len(start)], start)
    assert len(np.unique(TINY.network_keys(codes), axis=0)) == 40


def test_no_start_is_none():
    feasible, history = under(TINY, 4e6), History(TINY)
    for start in (None, np.empty((0, 5), dtype=np.int16)):
        assert first_codes(feasible, history, start, 3).shape == (0, 5)
