"""The gate searches on planted problems, whose best network is known, and their state."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from torch import nn

from hwnas.nn.supernet import Path
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.search.gates.binary_gates import probabilities
from hwnas.search.gates.gate_search import WINDOW, GateRule, GateSearch, GateSettings
from hwnas.search.gates.proxyless import FullGradient, TwoPaths
from hwnas.search.gates.proxyless_rl import Reinforce, leave_one_out, reinforce_gradient
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.space.catalogue import load_space

STEPS = 300
SHARES = (0.2, 0.5, 0.8)
SEEDS = range(5)
RULES: dict[str, Callable[[], GateRule]] = {
    "full": FullGradient,
    "two": TwoPaths,
    "rl": Reinforce,
}


@dataclass
class Planted:
    """Utilities of every option and of neighbouring pairs, growing with work, plus noise.

    The loss is minus their sum, so dL/dg is known and the best network can be found by listing.
    """

    space: SearchSpace
    seed: int
    noise: float = 0.5
    single: list[np.ndarray] = field(init=False)
    pair: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        rng = stream(self.seed, "planted")
        factors = [f for f in self.space.factors() if f.choices]
        self.single = []
        for factor in factors:
            macs = np.array([0.0 if op is None else op.macs for op in factor.ops])
            self.single.append(np.log1p(macs / macs.max()) + rng.normal(0, 0.35, len(macs)))
        sizes = [len(values) for values in self.single]
        self.pair = [rng.normal(0, 0.1, two) for two in itertools.pairwise(sizes)]

    def utility(self, codes: np.ndarray) -> np.ndarray:
        total = sum(values[codes[:, i]] for i, values in enumerate(self.single))
        for i, values in enumerate(self.pair):
            total = total + values[codes[:, i], codes[:, i + 1]]
        return np.asarray(total)

    def gate_gradients(self, path: Path, wanted, step: int) -> list[list[float]]:
        rng, found = stream(self.seed, "noise", step), []
        for i, options in enumerate(wanted):
            row = []
            for option in options:
                value = self.single[i][option] + self.noise * rng.normal()
                value += self.pair[i - 1][path[i - 1], option] if i else 0.0
                value += self.pair[i][option, path[i + 1]] if i < len(self.pair) else 0.0
                row.append(-float(value))
            found.append(row)
        return found

    def accuracies(self, paths, step: int) -> list[float]:
        noise = stream(self.seed, "accuracy", step).normal(0, 0.01, len(paths))
        return list(0.5 + 0.05 * self.utility(np.array(paths)) + noise)

    def network(self, path: Path) -> nn.Module:
        return nn.Identity()

    def macs(self, path: Path) -> int:
        return 1


@dataclass
class Case:
    search: GateSearch
    planted: Planted
    utilities: np.ndarray
    latencies: np.ndarray

    @property
    def regret(self) -> float:
        """Of the best candidate, as a share of the range of all networks' utilities."""
        space = self.search.limited.space
        found = self.planted.utility(space.encode(self.search.candidates(16)))
        best = self.utilities[self.latencies <= self.search.target_ms].max()
        return float((best - found.max()) / np.ptp(self.utilities))


@pytest.fixture(scope="module")
def make_case(make_predictor):
    def make(name: str, seed: int, share: float, rule: GateRule, steps: int = STEPS) -> Case:
        space = load_space(name)
        predictor, planted = make_predictor(space, seed=seed), Planted(space, seed)
        free = LimitedSpace(space, (Limit("latency_ms", 1e9, "t"),), {"t": predictor})
        low, high = free.extremes()
        limits = (Limit("latency_ms", low + share * (high - low), "t"),)
        limited = LimitedSpace(space, limits, {"t": predictor})
        settings = GateSettings(seed=seed, epochs=steps, warmup_epochs=0, steps_per_epoch=1)
        sizes = [len(choice.options) for choice in space.choices]
        codes = np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int16)
        return Case(
            GateSearch(limited, planted, settings, rule),
            planted,
            planted.utility(codes),
            predictor.predict_ms(codes),
        )

    return make


def _run(case: Case, steps: int = STEPS) -> Case:
    for step in range(steps):
        case.search.architecture_step(step)
    return case


@pytest.mark.parametrize("rule", ["full", "two", "rl"])
@pytest.mark.parametrize("space", ["tiny", "macro-cifar"])
@pytest.mark.parametrize("share", SHARES)
def test_it_learns_and_ends_at_the_target(make_case, space, rule, share) -> None:
    """Regret within 1 % of the range, expected and argmax latency within 5 % of the target."""
    cases = [_run(make_case(space, seed, share, RULES[rule]())) for seed in SEEDS]
    assert np.mean([case.regret for case in cases]) <= 0.01
    for case in cases:
        record = case.search.after_epoch(1)
        assert abs(record["expected_ms"] / case.search.target_ms - 1) <= 0.05
        assert abs(record["argmax_ms"] / case.search.target_ms - 1) <= 0.05
        assert record["num_arch_steps"] == STEPS


@pytest.mark.parametrize("share", SHARES)
def test_gates_left_uniform_lose_clearly_by_the_same_derivation(make_case, share) -> None:
    frozen = [make_case("macro-cifar", seed, share, FullGradient()).regret for seed in SEEDS]
    assert np.mean(frozen) > 0.03


def test_candidates_are_distinct_within_the_limits_and_mostly_in_the_window(make_case) -> None:
    case = _run(make_case("macro-cifar", 0, 0.5, TwoPaths()))
    archs, space = case.search.candidates(16), case.search.limited.space
    assert len(archs) == 16
    assert len({space.network_id(arch) for arch in archs}) == 16
    ratio = case.search.predictor.predict_ms(space.encode(archs)) / case.search.target_ms
    assert (ratio <= 1 + 1e-9).all()
    assert (ratio[:12] >= WINDOW - 1e-9).all()


def test_a_search_goes_on_from_its_state_as_if_it_had_not_been_broken(make_case) -> None:
    for name, rule in RULES.items():
        whole = _run(make_case("tiny", 1, 0.5, rule(), 60), 60)
        first = make_case("tiny", 1, 0.5, rule(), 60)
        for step in range(25):
            first.search.architecture_step(step)
        second = make_case("tiny", 1, 0.5, rule(), 60)
        second.search.restore(first.search.state())
        for step in range(25, 60):
            second.search.architecture_step(step)
        assert np.array_equal(second.search.alpha, whole.search.alpha), name
        assert second.search.after_epoch(1) == whole.search.after_epoch(1)
        left = [space_arch.arch_id for space_arch in second.search.candidates(8)]
        assert left == [arch.arch_id for arch in whole.search.candidates(8)]


def test_an_epochs_record_holds_the_probability_of_every_option(make_case) -> None:
    case = _run(make_case("tiny", 0, 0.5, TwoPaths()), 20)
    gates = case.search.after_epoch(1)["gates"]
    assert [len(row) for row in gates] == [
        len(c.options) for c in case.search.limited.space.choices
    ]
    for row, expected in zip(gates, probabilities(case.search.alpha), strict=True):
        assert row == pytest.approx(expected[: len(row)], abs=5e-5)
        assert sum(row) == pytest.approx(1, abs=1e-3)


def test_an_option_without_a_row_in_the_table_is_never_drawn(make_predictor) -> None:
    space = load_space("tiny")
    gone = next(f for f in space.factors() if f.choices == (0,)).ops[3]
    predictor = make_predictor(space, without=[gone])
    limited = LimitedSpace(space, (Limit("latency_ms", 1e9, "t"),), {"t": predictor})
    settings = GateSettings(seed=0, epochs=2, warmup_epochs=0, steps_per_epoch=30)
    for rule in RULES.values():
        search = GateSearch(limited, Planted(space, 0), settings, rule())
        for step in range(60):
            search.architecture_step(step)
        assert probabilities(search.alpha)[0, 3] == 0.0
        assert all(arch.choices["layer1"] != "mb6_k3" for arch in search.candidates(12))


def test_architecture_steps_begin_after_the_warm_up_and_come_as_often_as_asked(make_case) -> None:
    search = make_case("tiny", 0, 0.5, TwoPaths()).search
    search.settings = GateSettings(seed=0, epochs=4, warmup_epochs=2, steps_per_epoch=10, every=3)
    done = []
    for step in range(40):
        search.networks(step)
        search.after_step(step)
        done.append(search.num_arch_steps)
    assert done[:22] == [0] * 22
    assert (done[22], done[25], done[39]) == (1, 2, 6)
    assert search.settings.num_arch_steps == 6
    assert search.macs == 40


def test_the_mean_of_reinforce_is_the_enumerated_gradient(make_case) -> None:
    case = make_case("tiny", 3, 0.5, Reinforce())
    p = probabilities(stream(0, "alpha").normal(0, 0.7, case.search.alpha.shape))
    sizes = [4] * 5
    codes = np.indices(sizes).reshape(5, -1).T
    weights = np.prod([p[i, codes[:, i]] for i in range(5)], axis=0)
    rewards = case.planted.utility(codes)
    exact = np.zeros_like(p)
    for code, weight, reward in zip(codes, weights, rewards, strict=True):
        exact += weight * reinforce_gradient(p, [tuple(code)], np.array([reward]))
    # the enumerated gradient itself: d E[R] / d alpha by finite differences
    alpha, h = np.log(p), 1e-6
    change = alpha.copy()
    change[2, 1] += h
    moved = probabilities(change)
    up = np.prod([moved[i, codes[:, i]] for i in range(5)], axis=0) @ rewards
    assert exact[2, 1] == pytest.approx(-(up - weights @ rewards) / h, rel=1e-4)
    number, rng = 3000, stream(1, "samples")
    drawn = codes[rng.choice(len(codes), size=number, p=weights)]
    baseline = float(weights @ rewards)
    single = np.array(
        [
            reinforce_gradient(p, [tuple(code)], case.planted.utility(code[None]) - baseline)
            for code in drawn
        ]
    )
    error = single.std(0) / np.sqrt(number)
    assert (np.abs(single.mean(0) - exact) <= 4 * error + 1e-12).all()


def test_rewards_have_the_published_forms(make_case) -> None:
    search = make_case("tiny", 0, 0.5, Reinforce()).search
    paths = [(0,) * 5, (3,) * 5]
    accuracy = np.array(search.problem.accuracies(paths, 1))
    ratio = search.path_ms(paths) / search.target_ms
    product = Reinforce(reward="product", weight=0.07).rewards(search, paths, 1)
    np.testing.assert_allclose(product, accuracy * (1 / ratio) ** 0.07)
    absolute = Reinforce(reward="absolute", weight=0.3).rewards(search, paths, 1)
    np.testing.assert_allclose(absolute, accuracy - 0.3 * np.abs(ratio - 1))


def test_the_baseline_of_a_sample_is_the_mean_of_the_others() -> None:
    rewards = np.array([0.5, 0.75, 0.25, 0.9])
    np.testing.assert_allclose(
        leave_one_out(rewards),
        [reward - np.delete(rewards, place).mean() for place, reward in enumerate(rewards)],
    )


def test_reinforce_with_its_baseline_has_the_enumerated_gradient_as_its_mean(make_case) -> None:
    planted = make_case("tiny", 3, 0.5, Reinforce()).planted
    p = probabilities(stream(0, "alpha").normal(0, 0.7, (5, 4)))
    codes = np.indices([4] * 5).reshape(5, -1).T
    weights = np.prod([p[i, codes[:, i]] for i in range(5)], axis=0)
    rewards = planted.utility(codes)
    one_hot = np.stack([(codes == option) for option in range(4)], axis=2)
    exact = -np.einsum("n,n,nco->co", weights, rewards, one_hot - p)
    drawn = stream(2, "samples").choice(len(codes), size=(1500, 4), p=weights)
    estimates = np.array(
        [
            reinforce_gradient(
                p, [tuple(code) for code in codes[four]], leave_one_out(rewards[four])
            )
            for four in drawn
        ]
    )
    error = estimates.std(0) / np.sqrt(len(estimates))
    assert (np.abs(estimates.mean(0) - exact) <= 4 * error + 1e-12).all()
