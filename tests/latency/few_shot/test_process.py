from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.few_shot.comparison import CEILING, accuracy_of, baselines, compare
from hwnas.latency.few_shot.feature_space import FeatureSpace, Measured, fit_ridge
from hwnas.latency.few_shot.features import MACS, TOTALS, alike, features, of_part
from hwnas.latency.few_shot.process import (
    FewShotProcess,
    draw_weightings,
    timer_tick_ms,
)
from hwnas.latency.few_shot.suggest import suggest
from hwnas.ops import OpSpec
from hwnas.ops.split import split
from hwnas.rng import stream
from hwnas.space.catalogue import SPACES, load_space


def random_codes(space, count, seed):
    sizes = [len(choice.options) for choice in space.choices]
    drawn = stream(seed, "transfer test").integers(0, sizes, (count, len(sizes)))
    return np.unique(space.repair(drawn.astype(np.int16)), axis=0)


def fit_few_shot(basis, codes, latency_ms):
    return FewShotProcess(basis.pool(codes), latency_ms)


class Devices:
    """Devices whose operations have times of their own: one runs the code, one the live graph."""

    def __init__(self, space_name, num_sources=4, *, prunes=True, seed=0):
        self.space = load_space(space_name)
        self.rng = stream(seed, "transfer devices")
        self.block = "network" if prunes else "code"
        width = features(self.space, random_codes(self.space, 2, 0)).blocks[self.block].shape[1]
        base = self.rng.gamma(2.0, 1.0, width)
        self.times = [base * self.rng.gamma(4.0, 0.25, width) for _ in range(num_sources)]

    def ms(self, codes, times):
        return 2.0 + features(self.space, codes).blocks[self.block] @ times

    def sources(self, codes):
        return {
            f"d{i}": Measured(f"d{i}", codes, self.ms(codes, times))
            for i, times in enumerate(self.times)
        }


@pytest.mark.parametrize("space_name", ["fbnet", "nasbench201"])
def test_a_mixture_of_source_devices_is_recovered(space_name):
    devices = Devices(space_name)
    basis = FeatureSpace(devices.space, devices.sources(random_codes(devices.space, 400, 1)))
    times = 0.3 * devices.times[0] + 0.7 * devices.times[2]
    codes = random_codes(devices.space, 220, 2)
    timed, asked = codes[::20], np.delete(codes, slice(None, None, 20), axis=0)
    predictor = fit_few_shot(basis, timed, devices.ms(timed, times))
    predicted = predictor.predict_ms(basis.pool(asked))
    assert accuracy_of(predicted, devices.ms(asked, times)).spearman > 0.99
    np.testing.assert_allclose(predicted, devices.ms(asked, times), rtol=0.03)


def test_without_sources_a_device_in_proportion_to_macs_is_recovered():
    space = load_space("fbnet")
    basis = FeatureSpace(space, {})
    codes = random_codes(space, 100, 3)
    macs = features(space, codes).blocks["totals"][:, MACS]
    ms = 3 + 10 * macs / macs.mean()
    predictor = fit_few_shot(basis, codes[:10], ms[:10])
    np.testing.assert_allclose(predictor.predict_ms(basis.pool(codes[10:])), ms[10:], rtol=0.02)


@pytest.mark.parametrize("prunes", [True, False])
def test_the_average_follows_the_view_the_device_has(prunes):
    devices = Devices("nasbench201", num_sources=0, prunes=prunes)
    times = devices.rng.gamma(2.0, 1.0, 30)
    codes = random_codes(devices.space, 2000, 4)
    basis = FeatureSpace(devices.space, {})
    pool, ms = basis.pool(codes), devices.ms(codes, times)
    rows = suggest(pool, 40)
    ours = accuracy_of(FewShotProcess(pool.take(rows), ms[rows]).predict_ms(pool), ms)
    wrong = "code" if prunes else "network"
    design = pool.components[wrong]
    assert ours.rmspe < accuracy_of(fit_ridge(design[rows], ms[rows])(design), ms).rmspe


def test_deviations_say_how_far_off_predictions_are():
    scores = []
    for seed in range(5):
        devices = Devices("fbnet", seed=seed)
        basis = FeatureSpace(devices.space, devices.sources(random_codes(devices.space, 300, 5)))
        times = devices.times[1] * devices.rng.gamma(4.0, 0.25, len(devices.times[1]))
        codes = random_codes(devices.space, 120, 6 + seed)
        ms = devices.ms(codes, times) * (1 + 0.01 * devices.rng.normal(size=len(codes)))
        pool = basis.pool(codes)
        timed = devices.rng.permutation(len(codes))[:12]
        expected, std = FewShotProcess(pool.take(timed), ms[timed]).predict(pool)
        assert (std > 0).all()
        scores.append(np.delete((ms - expected) / std, timed))
    z = np.concatenate(scores)
    assert 0.5 < z.std() < 1.5
    assert 0.85 < (np.abs(z) < 2).mean() <= 1


def test_a_timer_of_whole_milliseconds_widens_the_deviation_and_keeps_the_order():
    devices = Devices("fbnet")
    basis = FeatureSpace(devices.space, devices.sources(random_codes(devices.space, 400, 1)))
    codes = random_codes(devices.space, 200, 7)
    pool = basis.pool(codes)
    exact = 0.1 * devices.ms(codes, 0.5 * devices.times[0] + 0.5 * devices.times[1])
    coarse = np.round(exact)
    assert timer_tick_ms(coarse) == 1
    assert timer_tick_ms(exact) == 0
    assert timer_tick_ms(np.array([3.1, 2.5])) == 0.1
    timed = np.arange(0, 200, 10)
    expected, std = FewShotProcess(pool.take(timed), coarse[timed]).predict(pool)
    assert (std >= 0.25).all()  # a step's own deviation is 0.29
    assert accuracy_of(expected, exact).spearman > 0.9


def test_a_disturbed_timing_spoils_little():
    devices = Devices("fbnet")
    basis = FeatureSpace(devices.space, devices.sources(random_codes(devices.space, 300, 1)))
    codes = random_codes(devices.space, 150, 14)
    pool, ms = basis.pool(codes), devices.ms(codes, devices.times[2])
    timed = np.arange(0, 150, 10)
    disturbed = ms[timed].copy()
    disturbed[4] *= 1.5
    predictor = FewShotProcess(pool.take(timed), disturbed)
    assert np.argmax(predictor.noise_factor) == 4
    ridge = fit_ridge(pool.sources[timed], disturbed)(pool.sources)
    assert accuracy_of(predictor.predict_ms(pool), ms).rmspe < 0.5 * accuracy_of(ridge, ms).rmspe


def test_suggested_networks_are_better_to_time_than_random_ones():
    ours, random = [], []
    for seed in range(3):
        devices = Devices("nasbench201", seed=seed)
        basis = FeatureSpace(devices.space, devices.sources(random_codes(devices.space, 300, 8)))
        times = devices.times[0] * devices.rng.gamma(16.0, 1 / 16, len(devices.times[0]))
        codes = random_codes(devices.space, 250, 9)
        pool, ms = basis.pool(codes), devices.ms(codes, times)

        def error(rows, pool=pool, ms=ms):
            expected = FewShotProcess(pool.take(rows), ms[rows]).predict_ms(pool)
            return accuracy_of(expected, ms).rmspe

        chosen = suggest(pool, 10)
        assert len(set(chosen.tolist())) == 10
        ours.append(error(chosen))
        random += [error(devices.rng.permutation(len(codes))[:10]) for _ in range(4)]
    assert np.mean(ours) < np.mean(random)


def test_suggestions_are_distinct_networks_not_yet_timed_and_end_with_the_pool():
    space = load_space("nasbench201")
    codes = random_codes(space, 60, 10)
    pool = FeatureSpace(space, {}).pool(codes)
    first = suggest(pool, 5)
    more = suggest(pool, 1000, timed=pool.take(first))
    ids = [space.network_id(arch) for arch in space.decode(codes)]
    assert len({ids[row] for row in (*first, *more)}) == len(set(ids)) == len(first) + len(more)


@pytest.mark.parametrize("space_name", sorted(SPACES))
def test_every_space_is_predicted(space_name):
    space = load_space(space_name)
    codes = random_codes(space, 60, 11)
    basis = FeatureSpace(space, {})
    what = basis.pool(codes).structure
    archs = space.decode(codes[:5])
    macs = [sum(op.macs for op in space.layers(arch)) for arch in archs]
    np.testing.assert_allclose(what.blocks["totals"][:5, MACS], macs)
    np.testing.assert_allclose(
        what.blocks["totals"][:5, 3], [len(space.layers(arch)) for arch in archs]
    )
    ms = 1 + what.blocks["totals"][:, MACS] / what.blocks["totals"][:, MACS].mean()
    expected, std = fit_few_shot(basis, codes[:20], ms[:20]).predict(basis.pool(codes))
    assert np.isfinite(expected).all()
    assert (std > 0).all()
    assert accuracy_of(expected, ms).spearman > 0.9


@pytest.mark.parametrize("space_name", ["fbnet", "nasbench201", "ofa-mbv3"])
def test_parts_add_up_to_their_network_and_alike_ones_share_columns(space_name):
    space = load_space(space_name)
    blocks = features(space, random_codes(space, 20, 15)).blocks
    by_class = blocks["classes"].reshape(20, -1, len(TOTALS))
    np.testing.assert_allclose(by_class[:, :, MACS].sum(axis=1), blocks["totals"][:, MACS])
    assert np.linalg.matrix_rank(blocks["alike"]) > 1  # time per MAC is not one number


def test_the_covariance_of_parts_is_that_of_their_features():
    parts = [
        OpSpec.make(
            "conv", (channels, 8, 8), channels, kernel=kernel, stride=1, act="relu", groups=channels
        )
        for channels in (8, 16, 32)
        for kernel in (3, 5, 7)
    ]
    pointwise = OpSpec.make("conv", (8, 8, 8), 16, kernel=1, stride=1, act="relu")
    columns = alike([*parts, pointwise])
    found = columns @ columns.T
    x = np.array([of_part(part) for part in parts])
    x = (x - x.mean(axis=0))[:, x.std(axis=0) > 1e-9]
    x /= x.std(axis=0)
    wanted = np.exp(-((x[:, None] - x[None]) ** 2).mean(axis=2) / 2)
    macs = np.array([part.macs for part in parts])
    np.testing.assert_allclose(found[:9, :9] / np.outer(macs, macs), wanted, atol=0.1)
    np.testing.assert_allclose(found[9, :9], 0, atol=1e-9)  # another class
    assert found[9, 9] == pytest.approx(pointwise.macs**2)


def test_without_sources_costs_of_parts_are_learnt_from_few_networks():
    """A device whose time per MAC falls with channels, with a call a part."""
    space = load_space("fbnet")
    codes = random_codes(space, 300, 16)
    ms = np.array(
        [
            sum(
                2e-3 + part.macs / (1 + part.out_channels / 64) * 1e-8
                for op in space.layers(arch)
                for part in split(op)
            )
            for arch in space.decode(codes)
        ]
    )
    pool = FeatureSpace(space, {}).pool(codes)
    timed = np.arange(0, 300, 15)
    asked = np.setdiff1d(np.arange(300), timed)
    ours = FewShotProcess(pool.take(timed), ms[timed]).predict_ms(pool.take(asked))
    simpler = baselines(pool.take(timed), ms[timed], pool.take(asked))
    errors = {name: accuracy_of(values, ms[asked]).rmspe for name, values in simpler.items()}
    assert accuracy_of(ours, ms[asked]).rmspe < 0.9 * min(errors.values())


def test_the_ridge_is_the_solution_of_its_normal_equations_and_its_error_that_of_refits():
    rng = stream(0, "ridge test")
    x, y = rng.normal(size=(12, 4)), rng.normal(size=12)
    fit = fit_ridge(x, y, [0.7])
    centred = x - x.mean(axis=0)
    solved = np.linalg.solve(centred.T @ centred + 0.7 * np.eye(4), centred.T @ (y - y.mean()))
    np.testing.assert_allclose(fit.coefficients, solved)
    centre = x.mean(axis=0)
    np.testing.assert_allclose(fit(centre[None]), y.mean())


def test_the_prediction_is_that_of_the_average_gaussian_process():
    """Written out for the likeliest weightings by hand: covariance, inverse, average."""
    devices = Devices("nasbench201")
    basis = FeatureSpace(devices.space, devices.sources(random_codes(devices.space, 300, 1)))
    codes = random_codes(devices.space, 30, 12)
    ms = devices.ms(codes, devices.times[0])
    predictor = fit_few_shot(basis, codes[:8], ms[:8])
    assert predictor.evidence.sum() == pytest.approx(1)
    pool, weightings = basis.pool(codes), draw_weightings(len(predictor.evidence))
    total = np.zeros(len(codes))
    for m in np.argsort(-predictor.evidence)[:400]:
        names = list(pool.components)
        order = [
            "common",
            "constant",
            "deviations",
            "totals",
            "classes",
            "alike",
            "options",
            "code",
            "network",
        ]
        k = sum(
            weightings.variances[m, order.index(n)] * pool.components[n] @ pool.components[n].T
            for n in names
        )
        for place, symbols in zip((9, 10), pool.structure.symbols, strict=True):
            differ = (symbols[:, None] != symbols[None]).mean(axis=2)
            k = k + weightings.variances[m, place] * np.exp(-differ / 0.5)
        noise = weightings.noise[m] * (pool.size[:8] ** 2 if weightings.proportional[m] else 1.0)
        noise = noise * predictor.noise_factor**2
        gain = k[:, :8] @ np.linalg.inv(k[:8, :8] + np.diag(np.broadcast_to(noise, 8)))
        total += predictor.evidence[m] * (gain @ ms[:8])
    np.testing.assert_allclose(predictor.predict_ms(pool), total, rtol=2e-3)


def test_the_comparison_holds_every_simpler_predictor_and_the_ceiling_where_it_is_known():
    devices = Devices("fbnet")
    basis = FeatureSpace(devices.space, devices.sources(random_codes(devices.space, 300, 1)))
    codes = random_codes(devices.space, 101, 13)
    pool, ms = basis.pool(codes), devices.ms(codes, devices.times[0])
    found = compare(basis, pool, ms)
    assert set(found) == {"transfer", CEILING, *baselines(pool, ms, pool)}
    assert found["source ridge"].spearman > 0.99
    assert CEILING not in compare(basis, pool.take(np.arange(12)), ms[:12])
    assert compare(basis, pool.take(np.arange(5)), ms[:5]) == {}


def test_accuracy_is_that_of_the_definitions():
    found = accuracy_of(np.array([1.0, 2.1, 3.3, 4.0]), np.array([1.0, 2.0, 3.0, 4.4]))
    assert found.spearman == 1
    assert found.within_5_percent == 0.25
    assert found.within_10_percent == 1.0
    assert found.rmspe == pytest.approx(np.sqrt((0.05**2 + 0.1**2 + (0.4 / 4.4) ** 2) / 4))
    assert accuracy_of(np.ones(3), np.array([1.0, 2.0, 3.0])).spearman == 0


def test_too_few_and_too_many_networks_are_refused():
    space = load_space("tiny")
    basis = FeatureSpace(space, {})
    codes = random_codes(space, 500, 1)
    for count in (4, 401):
        with pytest.raises(ValueError, match=f"5 to 400 timed networks, got {count}"):
            fit_few_shot(basis, codes[:count], np.ones(count))
