"""Parts of blocks: their work is the block's, a model of some predicts the others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hwnas.additive.graph import build_graph
from hwnas.latency.parts import (
    LEAST_PARTS,
    by_class,
    choose,
    fit_parts,
    part_class,
    split,
)
from hwnas.latency.parts_predictor import PartsPredictor, fit_parts_predictor
from hwnas.network import MODULES
from hwnas.ops import OpSpec
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops, symbol_counts


@pytest.fixture(scope="module")
def ops() -> list[OpSpec]:
    """A sample of the operations of ``mobile`` and those of ``proxyless``."""
    mobile = distinct_ops(load_space("mobile"))
    rows = stream(0, "parts").choice(len(mobile), 1500, replace=False)
    return [*distinct_ops(load_space("proxyless")), *(mobile[row] for row in sorted(rows))]


def test_the_work_of_the_parts_is_the_operations(ops):
    for op in ops:
        parts = split(op)
        assert sum(part.macs for part in parts) == op.macs
        assert parts[0].in_shape == op.in_shape
        assert parts[-1].out_shape == op.out_shape
        assert all(a.out_shape == b.in_shape for a, b in itertools.pairwise(parts))
        scale = op.out_channels if op.kind == "uib" and op["layer_scale"] else 0
        assert sum(part.params for part in parts) == op.params - scale


@torch.no_grad()
@pytest.mark.parametrize("op", [
    OpSpec.make("mbconv", (8, 9, 7), 12, kernel=5, stride=2, hidden=24, se_width=4, act="hswish"),
    OpSpec.make("fused_mbconv", (8, 9, 7), 12, kernel=3, stride=2, hidden=24, project_act=True),
    OpSpec.make("uib", (8, 9, 7), 12, kernel_start=3, kernel=5, stride=2, hidden=24, act="relu"),
    OpSpec.make("uib", (8, 9, 7), 12, kernel_start=3, stride=2, hidden=24),
], ids=str)
def test_the_parts_one_after_the_other_compute_what_the_block_does(op):
    torch.manual_seed(0)
    block = MODULES[op.kind](op).eval()
    parts = torch.nn.Sequential(*(MODULES[part.kind](part) for part in split(op))).eval()
    state = dict(zip(parts.state_dict(), block.state_dict().values(), strict=True))
    parts.load_state_dict(state)
    x = torch.randn(2, *op.in_shape)
    torch.testing.assert_close(parts(x), block(x))


def test_what_is_one_part_stays_whole():
    shuffled = OpSpec.make("mbconv", (8, 9, 7), 12, kernel=3, hidden=24, groups=2, shuffle=True)
    attention = OpSpec.make("mqa", (8, 9, 7), 8, heads=2)
    for op in (shuffled, attention, OpSpec.make("head", (8, 7, 7), 10)):
        assert split(op) == (op,)
    conv = OpSpec.make("conv", (8, 9, 7), 8, kernel=3, groups=8)
    assert part_class(conv) == "depthwise"
    assert part_class(OpSpec.make("conv", (8, 9, 7), 8, kernel=1)) == "pointwise"
    assert part_class(OpSpec.make("conv", (8, 9, 7), 8, kernel=3)) == "convolution"


def test_chosen_parts_are_distinct_of_every_class_and_not_more_than_asked(ops):
    parts = [part for op in ops for part in split(op)]
    classes = by_class(parts)
    for most in (90, 400):
        chosen = choose(parts, most)
        assert len(chosen) == len(set(chosen)) == most
        for name, found in by_class(chosen).items():
            assert set(found) <= set(classes[name])
            assert len(found) >= min(LEAST_PARTS, len(classes[name]))
    assert set(choose(parts[:40], 400)) == set(parts[:40])
    with pytest.raises(ValueError, match="5 parts are too few for the classes"):
        choose(parts, 5)


def _roofline_ms(part: OpSpec) -> float:
    """A device that is bound by work or by memory, each part with a call: a known function."""
    traffic = np.prod(part.in_shape) + np.prod(part.out_shape) + part.params
    slow = 1.3 if dict(part.attrs).get("act") in ("hswish", "swish") else 1.0
    return slow * (part.macs / 2e7 + traffic / 4e6) + 0.004


def test_a_model_of_measured_parts_predicts_the_others(ops):
    parts = [part for op in ops for part in split(op)]
    chosen = choose(parts, 300)
    model = fit_parts({part: _roofline_ms(part) for part in chosen})
    expected = np.array([sum(_roofline_ms(part) for part in split(op)) for op in ops])
    errors = np.abs(model.predict_ms(ops) - expected) / expected
    assert errors.mean() < 0.02
    assert np.mean(errors < 0.05) > 0.95
    assert 0 < max(model.cv_errors.values()) < 0.2
    alone = [op for op in ops if set(split(op)) <= set(chosen)]
    np.testing.assert_allclose(model.predict_ms(alone), [
        sum(_roofline_ms(part) for part in split(op)) for op in alone])


def test_a_class_without_a_model_and_impossible_times_are_told():
    first, other = (OpSpec.make("mqa", (size, 8, 8), size, heads=2) for size in (8, 16))
    model = fit_parts({first: 1.0})
    assert model.predict_ms([first]).tolist() == [1.0]
    with pytest.raises(ValueError, match="too few measured parts of class mqa"):
        model.predict_ms([other])
    with pytest.raises(ValueError, match="above 0 ms"):
        fit_parts({first: 0.0})


def test_whole_networks_are_predicted_by_sums_that_calibration_sets_right(ops):
    space = load_space("mobile")
    model = fit_parts({part: _roofline_ms(part) for part in choose(
        [part for op in distinct_ops(space) for part in split(op)], 250)})
    sizes = [len(choice.options) for choice in space.choices]
    codes = space.repair(stream(1, "parts").integers(sizes, size=(40, len(sizes))).astype(np.int16))
    archs = space.decode(codes)
    layers = [space.layers(arch) for arch in archs]
    sums = np.array([model.predict_ms(net).sum() for net in layers])
    parts = [[part for op in net for part in split(op)] for net in layers]
    values = np.array([sum(np.prod(p.in_shape) + np.prod(p.out_shape) for p in net)
                       for net in parts]) / 1e6
    squeezes = np.array([sum(model.predict_ms([p])[0] for p in net if p.kind == "squeeze_excite")
                         for net in parts])
    plain = PartsPredictor(space, model)
    assert plain.source == "predictor"
    np.testing.assert_allclose(plain.predict_ms(codes), sums)
    measured = 0.8 * sums + 0.5 * squeezes - 0.02 * values + 0.2
    fitted = fit_parts_predictor(space, model, archs[:20], measured[:20])
    np.testing.assert_allclose(fitted.predict_ms(codes), measured, rtol=1e-6)
    graph = build_graph(symbol_counts(space), [fitted.terms])  # exact answers take its terms
    assert graph.num_states(0) == 1
    with pytest.raises(ValueError, match="at least 8 networks"):
        fit_parts_predictor(space, model, archs[:7], measured[:7])
