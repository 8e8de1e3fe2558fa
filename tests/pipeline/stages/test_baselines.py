"""Known networks at the largest width that a budget allows, found with few measurements."""

from __future__ import annotations

import pytest

from hwnas.device.device import load_device
from hwnas.device.runner import make_target
from hwnas.pipeline.stages import baselines
from hwnas.space.zoo.layers import KNOWN

NAMES = ("mobilenet_v2", "mobilenet_v3_small")


def layers_of(name, width):
    return KNOWN[name](width_mult=width, input_size=32, num_classes=10)


def macs_of(name, width):
    return sum(op.macs for op in layers_of(name, width))


def by_macs(layers):
    return 0.02 + 1e-7 * sum(op.macs for op in layers)


def by_operations(layers):
    """A time that is no line through MACs: calls cost, and so do wide operations."""
    return sum(0.001 + 1e-7 * op.macs**0.9 for op in layers)


@pytest.fixture
def scale(monkeypatch):
    """Scale to a budget with made-up times; also the widths measured in each session."""

    def run(budget_ms, time_ms, names=NAMES):
        sessions = []

        def measure(wanted, target, runner, cache):
            sessions.append(sorted(wanted))
            return {key: time_ms(layers) for key, layers in wanted.items()}

        monkeypatch.setattr(baselines, "_measure", measure)
        target = make_target(load_device("host"), "onnxruntime")
        found = baselines.scale_to_budget(
            names,
            budget_ms,
            input_size=32,
            num_classes=10,
            macs=2_000_000,
            target=target,
            runner=None,
            cache=None,
        )
        return found, sessions

    return run


@pytest.mark.parametrize("budget_ms", [0.12, 0.3, 0.8])
@pytest.mark.parametrize("time_ms", [by_macs, by_operations])
def test_each_model_gets_the_largest_width_within_the_budget(scale, budget_ms, time_ms):
    found, sessions = scale(budget_ms, time_ms)
    assert [model.name for model in found] == list(NAMES)
    assert len(sessions) <= baselines.MAX_STEPS
    for model in found:
        fitting = [
            width
            for width in baselines.WIDTHS
            if time_ms(layers_of(model.name, width)) <= budget_ms
        ]
        assert model.fits == bool(fitting)
        if fitting:
            assert model.layers == layers_of(model.name, max(fitting))
            assert model.measured_ms <= budget_ms


def test_a_width_is_measured_once(scale):
    _, sessions = scale(0.3, by_operations)
    keys = [key for session in sessions for key in session]
    assert len(keys) == len(set(keys))


def test_widths_that_make_one_network_are_one_candidate(scale):
    found, _ = scale(0.3, by_macs)
    for model in found:
        narrower = [w for w in baselines.WIDTHS if w < model.width_mult]
        assert all(layers_of(model.name, width) != model.layers for width in narrower)


def test_a_model_whose_narrowest_width_is_over_the_budget_stands_there_and_says_so(scale):
    found, sessions = scale(0.001, by_macs)
    assert len(sessions) == 1
    for model in found:
        assert not model.fits
        assert model.layers == layers_of(model.name, baselines.WIDTHS[0])
        assert model.measured_ms > 0.001


def test_a_budget_that_all_widths_meet_gives_the_widest(scale):
    found, _ = scale(1e6, by_macs)
    assert [model.layers for model in found] == [
        layers_of(name, baselines.WIDTHS[-1]) for name in NAMES
    ]
    assert all(model.fits for model in found)


def test_no_names_need_no_measurement(scale):
    assert scale(0.3, by_macs, names=()) == ([], [])
