"""The verdict on a table from its sentinels, measured again by a runner that makes times up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwnas.device.device import TimingProtocol
from hwnas.errors import InputError
from hwnas.latency.drift.check import (
    TableCheck,
    anchor_networks,
    anchors_of,
    arch_of,
    check_table,
)
from hwnas.latency.drift.model import Anchor
from hwnas.latency.drift.recalibrate import recalibrated, write_beside
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.networks import macs_terms, spread_networks
from hwnas.latency.profile.plan import network_model_id
from hwnas.latency.table.files import load_table, save_table
from hwnas.latency.table.schemas import Calibration, MeasurementSchema, NetworkRecord

PROTOCOL = TimingProtocol(rounds=4, min_runs=2, min_visit_ms=0.5)


@pytest.fixture(scope="module")
def table(tiny, random_table, measurement):
    archs = spread_networks(tiny, macs_terms(tiny), 6, seed=0, purpose="check")
    networks = tuple(
        NetworkRecord(
            space="tiny",
            role="calibrate",
            is_sentinel=place < 5,
            arch=arch.to_json(),
            measurement=MeasurementSchema(**measurement(1.0 + place).to_json()),
        )
        for place, arch in enumerate(archs)
    )
    return random_table(tiny, networks=networks)


@pytest.fixture
def check(table, tiny, target, cache, fake_runner):
    """Checks the table on a device that takes ``ratios`` times as long."""
    recorded = {
        network_model_id(tiny, arch_of(n)): n.measurement.latency_ms for n in table.networks
    }

    def make(ratios, version="onnxruntime 1.0", anchors=5):
        now = {
            name: ms * ratio
            for (name, ms), ratio in zip(recorded.items(), [*ratios, 9.9], strict=True)
        }
        runner = fake_runner(lambda name, call: [now[name], now[name]])
        runner.info = {"runtime_version": version}
        found = check_table(table, tiny, target, runner, num_anchors=anchors, cache=cache)
        # few anchors are timed as long as twelve
        times = -(-12 // anchors)
        assert len(runner.calls) == anchors * times * table.header.protocol.rounds
        assert len(runner.ever_loaded) == anchors  # the sixth network is no sentinel
        assert all(path.suffix == ".onnx" for path in runner.ever_loaded.values())
        return found

    return make


def test_a_device_as_it_was_means_the_table_holds(check):
    found = check([1.0] * 5)
    assert found.holds
    assert (found.drift, found.spread) == (pytest.approx(1.0), pytest.approx(0.0))
    assert "the table holds: 5 of 5 anchors within 5% (drift x1.000 (± " in found.verdict()


def test_three_anchors_from_the_fastest_to_the_slowest_are_timed_by_default(check, table):
    found = check([1.02] * 5, anchors=3)
    assert [s.recorded_ms for s in found.anchors] == [1.0, 3.0, 5.0]
    assert found.model.scale == pytest.approx(1.02)
    assert 0 < found.model.uncertainty < 0.02
    assert set(found.now) == {s.arch_id for s in found.anchors}


def test_more_anchors_than_sentinels_are_those_and_others_calibrated_on(check, table, tiny):
    found = check([1.1] * 5, anchors=6)
    assert [round(s.ratio, 3) for s in found.anchors] == [1.1] * 5 + [9.9]
    assert found.model.scale == pytest.approx(1.1, abs=0.01)  # one of six may be disturbed
    assert not found.holds
    many = replace(table, networks=(*table.networks[:5], *[table.networks[5]] * 10))
    chosen = anchors_of(many, tiny, 8)
    assert sum(n.is_sentinel for n in chosen) == 5
    assert len(chosen) == 8
    assert len(anchors_of(many, tiny, 100)) == 15


def test_of_eight_anchors_one_may_have_been_disturbed():
    def verdict(*ratios):
        return TableCheck(
            tuple(Anchor(str(n), 1.0, ratio) for n, ratio in enumerate(ratios)), "v", "v"
        )

    assert verdict(*[1.01] * 7, 1.5).holds
    assert "7 of 8 anchors within 5%" in verdict(*[1.01] * 7, 1.5).verdict()
    assert not verdict(*[1.01] * 6, 1.5, 1.5).holds
    assert not verdict(*[1.01] * 6, 1.5).holds
    assert verdict(*[1.2] * 7, 1.5).spread < 0.01


def test_a_table_of_today_predicts_what_the_device_takes_now(check, table, tiny, tmp_path):
    found = check([1.1] * 5, anchors=3)
    fit = Calibration(
        scale=0.9,
        per_op_ms=0.01,
        constant_ms=0.2,
        per_mparam_ms=0.3,
        corrections={"se": 0.02},
        num_networks=8,
        mean_abs_rel_error=0.0,
        max_abs_rel_error=0.0,
    )
    old = replace(table, calibration={"tiny": fit})
    new = recalibrated(old, tiny, found.model, found.now, "2026-01-01")
    archs = [arch_of(n) for n in table.networks]
    codes = tiny.encode(archs)
    np.testing.assert_allclose(
        LutPredictor(tiny, new).predict_ms(codes),
        found.model.applied * LutPredictor(tiny, old).predict_ms(codes),
    )
    assert found.model.applied == pytest.approx(1.1, abs=0.005)
    assert new.entries == old.entries
    # the anchors as timed, the others as they would be
    assert [n.measurement.latency_ms for n in new.networks] == pytest.approx(
        [1.1 * (1.0 + place) for place in range(6)], rel=0.005
    )
    file = tmp_path / "t.json"
    save_table(old, file)
    before = file.read_bytes()
    out = write_beside(new, file)
    assert file.read_bytes() == before
    assert out.parent == tmp_path
    assert load_table(out).calibration["tiny"].scale == pytest.approx(0.9 * found.model.applied)
    assert "drift x1.100" in load_table(out).header.provenance["recalibrated"]


def test_a_table_without_a_calibration_gets_the_drift_as_one(check, table, tiny):
    found = check([1.1] * 5, anchors=3)
    new = recalibrated(table, tiny, found.model, found.now, "2026-01-01")
    assert new.calibration["tiny"].scale == pytest.approx(found.model.applied)


def test_small_deviations_of_either_sign_are_within_the_tolerance(check):
    assert check([1.04, 0.96, 1.0, 1.01, 0.99]).holds
    assert not check([1.04, 0.96, 1.0, 1.01, 1.06]).holds


@pytest.mark.parametrize("ratio", [1.2, 0.8])
def test_a_device_that_is_slower_or_faster_as_a_whole_is_told_from_a_wrong_table(check, ratio):
    found = check([ratio] * 5)
    assert not found.holds
    assert found.drift == pytest.approx(ratio)
    assert found.verdict().startswith(f"the device as a whole is at x{ratio:.3f} (± ")
    assert "runtime changed" not in found.verdict()


def test_sentinels_that_moved_differently_mean_profile_again(check):
    found = check([1.0, 1.3, 0.9, 1.0, 1.1])
    assert not found.holds
    assert found.drift == pytest.approx(1.0)
    assert found.spread == pytest.approx(0.3)
    assert found.verdict().startswith(
        "the table does not hold: the anchors moved differently (x0.900 to x1.300)"
    )


@pytest.mark.parametrize("ratios", [[1.2] * 5, [1.0, 1.3, 0.9, 1.0, 1.1]])
def test_another_runtime_version_is_named_as_a_reason(check, ratios):
    verdict = check(ratios, "onnxruntime 2.0").verdict()
    assert "The runtime changed from onnxruntime 1.0 to onnxruntime 2.0." in verdict


def test_anchors_that_other_work_slowed_are_a_warning(table, tiny, target, cache, fake_runner):
    recorded = {
        network_model_id(tiny, arch_of(n)): n.measurement.latency_ms for n in table.networks
    }
    # every third round takes twice as long: the latency is as it was, its tail is not
    slowed = fake_runner(lambda name, call: [recorded[name] * (1 + (call // 3 % 3 == 0))] * 2)
    found = check_table(table, tiny, target, slowed, num_anchors=3, cache=cache)
    assert found.holds
    assert "took 2.00 times the latency" in found.disturbance
    assert found.to_json()["disturbance"] == found.disturbance
    quiet = fake_runner(lambda name, call: [recorded[name]] * 2)
    assert check_table(table, tiny, target, quiet, num_anchors=3, cache=cache).disturbance is None


def test_the_json_form_holds_the_numbers_behind_the_verdict(check, table):
    value = check([1.2] * 5).to_json()
    assert (value["holds"], value["drift"], value["spread"]) == (False, 1.2, 0.0)
    assert value["runtime_version"] == {"then": "onnxruntime 1.0", "now": "onnxruntime 1.0"}
    assert [s["recorded_ms"] for s in value["anchors"]] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [s["arch_id"] for s in value["anchors"]] == [
        arch_of(n).arch_id for n in table.networks[:5]
    ]
    assert {s["ratio"] for s in value["anchors"]} == {1.2}


def test_drift_is_the_median_ratio():
    sentinels = tuple(Anchor(str(n), 2.0, 2.0 * r) for n, r in enumerate((1.0, 1.1, 3.0)))
    found = TableCheck(sentinels, "a", "a")
    assert found.drift == pytest.approx(1.1)
    assert found.spread == pytest.approx(3.0 / 1.1 - 1)


def test_a_table_without_sentinels_of_the_space_cannot_be_checked(table, tiny):
    with pytest.raises(InputError, match="holds no sentinel networks of tiny"):
        anchor_networks(replace(table, networks=()), tiny)
    with pytest.raises(InputError, match="holds no sentinel networks"):
        anchor_networks(replace(table, networks=table.networks[5:]), tiny)
