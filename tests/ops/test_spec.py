"""Operations against two oracles: fvcore's counts, and the modules that execute them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from hwnas.nn.build import make_module
from hwnas.ops import ACTIVATIONS, OPS, SE_GATES, OpSpec, make_divisible
from hwnas.ops.cells import POOLS

SIZES = st.integers(1, 15)  # odd and even, smaller and larger than the kernels
ACTS = st.sampled_from(ACTIVATIONS)


@st.composite
def convs(draw: st.DrawFn) -> OpSpec:
    groups = draw(st.integers(1, 4))
    in_shape = groups * draw(st.integers(1, 4)), draw(SIZES), draw(SIZES)
    return OpSpec.make(
        "conv",
        in_shape,
        groups * draw(st.integers(1, 4)),
        groups=groups,
        kernel=draw(st.sampled_from((1, 3, 5, 7))),
        stride=draw(st.sampled_from((1, 2))),
        act=draw(ACTS),
    )


@st.composite
def mbconvs(draw: st.DrawFn) -> OpSpec:
    groups = draw(st.integers(1, 3))
    in_shape = groups * draw(st.integers(1, 8)), draw(SIZES), draw(SIZES)
    expand, residual = draw(st.booleans()), draw(st.booleans())
    out_channels = in_shape[0] if residual else groups * draw(st.integers(1, 8))
    return OpSpec.make(
        "mbconv",
        in_shape,
        out_channels,
        kernel=draw(st.sampled_from((3, 5, 7))),
        stride=1 if residual else draw(st.sampled_from((1, 2))),
        hidden=groups * draw(st.integers(1, 24)) if expand else in_shape[0],
        groups=groups,
        shuffle=expand and groups > 1 and draw(st.booleans()),
        expand=expand,
        residual=residual,
        act=draw(ACTS),
        se_width=draw(st.integers(0, 4)),
        se_gate=draw(st.sampled_from(SE_GATES)),
        se_act=draw(st.sampled_from(ACTIVATIONS[1:])),
    )


@st.composite
def heads(draw: st.DrawFn) -> OpSpec:
    in_shape = draw(st.integers(1, 8)), draw(SIZES), draw(SIZES)
    features = draw(st.integers(0, 12))
    bias = not features or draw(st.booleans())
    return OpSpec.make(
        "head",
        in_shape,
        draw(st.integers(1, 12)),
        hidden=draw(st.integers(0, 12)),
        features=features,
        features_bias=bias,
        act=draw(ACTS),
        features_norm=bool(features and bias and draw(st.booleans())),
    )


@st.composite
def fused_mbconvs(draw: st.DrawFn) -> OpSpec:
    in_shape, residual = (draw(st.integers(1, 8)), draw(SIZES), draw(SIZES)), draw(st.booleans())
    return OpSpec.make(
        "fused_mbconv",
        in_shape,
        in_shape[0] if residual else draw(st.integers(1, 8)),
        kernel=draw(st.sampled_from((3, 5, 7))),
        stride=1 if residual else draw(st.sampled_from((1, 2))),
        hidden=draw(st.integers(1, 24)),
        residual=residual,
        act=draw(ACTS),
        project_act=draw(st.booleans()),
    )


@st.composite
def uibs(draw: st.DrawFn) -> OpSpec:
    in_shape, residual = (draw(st.integers(1, 8)), draw(SIZES), draw(SIZES)), draw(st.booleans())
    start, middle = (draw(st.sampled_from((0, 3, 5, 7))) for _ in range(2))
    can_stride = (start or middle) and not residual
    must_scale = bool(middle and not start)  # without a layer scale this is an mbconv
    return OpSpec.make(
        "uib",
        in_shape,
        in_shape[0] if residual else draw(st.integers(1, 8)),
        kernel_start=start,
        kernel=middle,
        stride=draw(st.sampled_from((1, 2))) if can_stride else 1,
        hidden=draw(st.integers(1, 24)),
        residual=residual,
        act=draw(ACTS),
        layer_scale=must_scale or draw(st.booleans()),
    )


@st.composite
def mqas(draw: st.DrawFn) -> OpSpec:
    in_shape = draw(st.integers(1, 8)), draw(SIZES), draw(SIZES)
    return OpSpec.make(
        "mqa",
        in_shape,
        in_shape[0],
        heads=draw(st.integers(1, 4)),
        key_dim=draw(st.integers(1, 8)),
        kv_stride=draw(st.sampled_from((1, 2))),
        layer_scale=draw(st.booleans()),
    )


@st.composite
def cell_shapes(draw: st.DrawFn) -> tuple[int, int, int]:
    return draw(st.integers(1, 6)), draw(SIZES), draw(SIZES)


@st.composite
def cell_convs(draw: st.DrawFn, kind: str) -> OpSpec:
    kernels = (1, 3, 5, 7) if kind == "preact_conv" else (3, 5, 7)
    attrs = {"dilation": draw(st.integers(2, 3))} if kind == "dil_conv" else {}
    return OpSpec.make(
        kind,
        draw(cell_shapes()),
        draw(st.integers(1, 8)),
        **attrs,
        kernel=draw(st.sampled_from(kernels)),
        stride=draw(st.sampled_from((1, 2))),
    )


@st.composite
def same_widths(draw: st.DrawFn, kind: str) -> OpSpec:
    in_shape = draw(cell_shapes())
    attrs: dict[str, Any] = {}
    if kind == "pool":
        attrs = {"pool": draw(st.sampled_from(POOLS)), "stride": draw(st.sampled_from((1, 2)))}
    if kind in ("add", "concat"):
        attrs = {"summands": draw(st.integers(2, 5))}
    times = attrs["summands"] if kind == "concat" else 1
    return OpSpec.make(kind, in_shape, times * in_shape[0], **attrs)


@st.composite
def reductions(draw: st.DrawFn, kind: str) -> OpSpec:
    attrs = {"stride": 2} if kind == "preact_residual" else {}
    return OpSpec.make(kind, draw(cell_shapes()), 2 * draw(st.integers(1, 4)), **attrs)


@st.composite
def squeezes(draw: st.DrawFn) -> OpSpec:
    in_shape = draw(st.integers(1, 8)), draw(SIZES), draw(SIZES)
    return OpSpec.make(
        "squeeze_excite",
        in_shape,
        in_shape[0],
        width=draw(st.integers(1, 4)),
        gate=draw(st.sampled_from(SE_GATES)),
        act=draw(st.sampled_from(ACTIVATIONS[1:])),
    )


SPECS: Mapping[str, st.SearchStrategy[OpSpec]] = {
    "conv": convs(),
    "mbconv": mbconvs(),
    "head": heads(),
    "fused_mbconv": fused_mbconvs(),
    "uib": uibs(),
    "mqa": mqas(),
    "squeeze_excite": squeezes(),
    **{kind: cell_convs(kind) for kind in ("preact_conv", "sep_conv", "dil_conv")},
    **{kind: reductions(kind) for kind in ("preact_residual", "factorized_reduce", "preact_head")},
    **{kind: same_widths(kind) for kind in ("pool", "add", "concat", "zero")},
}
ANY_SPEC = st.one_of(*SPECS.values())

GOOD: Mapping[str, dict[str, Any]] = {
    "conv": {"kernel": 3},
    "mbconv": {"kernel": 3, "hidden": 24},
    "head": {},
    "fused_mbconv": {"kernel": 3, "hidden": 24},
    "uib": {"hidden": 24},
    "mqa": {"heads": 2},
    "squeeze_excite": {"width": 4},
    "preact_conv": {"kernel": 3},
    "preact_residual": {"stride": 2},
    "preact_head": {},
    "sep_conv": {"kernel": 3},
    "dil_conv": {"kernel": 3},
    "factorized_reduce": {},
    "pool": {"pool": "avg"},
    "add": {"summands": 2},
    "concat": {"summands": 2},
    "zero": {},
}
"""The attributes of each kind that have no default."""

SHAPES: Mapping[str, tuple[tuple[int, int, int], int]] = {
    "mqa": ((16, 8, 8), 16),
    "pool": ((16, 8, 8), 16),
    "add": ((16, 8, 8), 16),
    "zero": ((16, 8, 8), 16),
    "concat": ((16, 8, 8), 32),
    "squeeze_excite": ((16, 8, 8), 16),
}
"""Input shape and output channels to make a kind with, where (16, 8, 8) and 24 do not do."""


def make(kind: str, **attrs: Any) -> OpSpec:
    shape, out_channels = SHAPES.get(kind, ((16, 8, 8), 24))
    return OpSpec.make(kind, shape, out_channels, **attrs)


WRONG: Mapping[str, dict[str, tuple[Any, ...]]] = {
    "conv": {
        "kernel": (0, 2, 9, "3", True, 3.0, None),
        "stride": (0, 3, True, 2.0),
        "groups": (0, -1, 3, True, 1.0, "1"),
        "act": ("tanh", "", 0, None),
    },
    "mbconv": {
        "kernel": (1, 2, 9, None),
        "stride": (0, 3),
        "hidden": (0, -8, 24.0, True, None),
        "expand": (False, 1, 0, "yes"),  # without expansion hidden must be the input's width
        "act": ("silu", 1),
        "residual": (True, 1, 0),  # the shapes differ
        "se_width": (-1, 0.25, False),
        "se_gate": ("relu", "none"),
        "groups": (0, -1, 3, True, 1.0),
        "shuffle": (True, 1, 0),  # there are no groups to shuffle
        "se_act": ("none", "sigmoid", 1),
    },
    "head": {
        "hidden": (-1, 1.0, False),
        "features": (-1, "8", True),
        "features_bias": (False, 0, "no"),  # there is no features layer
        "features_norm": (True, 1, "no"),  # there are no features to normalise
        "act": ("softmax", 1),
    },
    "fused_mbconv": {
        "kernel": (1, 2, 9, None),
        "stride": (0, 3),
        "hidden": (0, 24.0, None),
        "act": ("silu", 1),
        "project_act": (1, "relu"),
        "residual": (True, 1, 0),
    },
    "uib": {
        "kernel_start": (1, 2, 9, False),
        "kernel": (1, 2, 3, 9, False),  # 3: an mbconv
        "stride": (0, 2, 3),  # 2: nothing that strides
        "hidden": (0, 24.0, None),
        "act": ("silu", 1),
        "residual": (True, 1, 0),
        "layer_scale": (1, 1e-5, "yes"),
    },
    "squeeze_excite": {
        "width": (0, 2.0, None),
        "gate": ("relu", 1),
        "act": ("none", 1),
    },
    "mqa": {
        "heads": (0, -1, 2.0, None),
        "key_dim": (0, "64"),
        "kv_stride": (0, 3, 2.0),
        "layer_scale": (1, 1e-5, "yes"),
    },
    "preact_conv": {"kernel": (2, 9, None), "stride": (0, 3)},
    "preact_residual": {"stride": (1, 3, None)},
    "preact_head": {},
    "sep_conv": {"kernel": (1, 2, 9), "stride": (0, 3)},
    "dil_conv": {"kernel": (1, 2, 9), "stride": (0, 3), "dilation": (1, 0, "2")},
    "factorized_reduce": {},
    "pool": {"pool": ("mean", 0, None), "stride": (0, 3)},
    "add": {"summands": (1, 0, 2.0, None)},
    "concat": {"summands": (1, 3, None)},  # 3 x 16 channels are not 32
    "zero": {},
}


def test_every_kind_is_tested_here_and_has_a_module():
    assert set(SPECS) == set(GOOD) == set(WRONG) == set(OPS)
    assert {kind: set(attrs) for kind, attrs in WRONG.items()} == {
        kind: set(op.attrs) for kind, op in OPS.items()
    }


@given(ANY_SPEC)
def test_a_spec_comes_back_from_its_key(spec):
    back = OpSpec.from_json(json.loads(spec.key))
    assert back == spec
    assert hash(back) == hash(spec)
    assert back.key == spec.key
    assert "\n" not in spec.key


def test_an_attribute_added_later_changes_no_key_of_an_older_operation():
    # as tables written before groups and shuffle hold it
    key = (
        '{"attrs":{"act":"relu6","expand":true,"hidden":24,"kernel":3,"residual":false,'
        '"se_gate":"hsigmoid","se_width":0,"stride":1},"in_shape":[16,8,8],"kind":"mbconv",'
        '"out_channels":24}'
    )
    old = OpSpec.from_json(json.loads(key))
    assert old.key == key
    assert (old["groups"], old["shuffle"]) == (1, False)
    new = OpSpec.make("mbconv", (16, 8, 8), 24, kernel=3, hidden=24, groups=2, shuffle=True)
    assert json.loads(new.key)["attrs"] == {
        **json.loads(key)["attrs"],
        "groups": 2,
        "shuffle": True,
    }
    assert OpSpec.from_json(json.loads(new.key)) == new


@given(ANY_SPEC, ANY_SPEC)
def test_specs_are_equal_exactly_when_their_keys_are(left, right):
    assert (left == right) == (left.key == right.key)


@pytest.mark.parametrize("kind", OPS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_shape_and_params_are_the_modules(kind, data):
    spec = data.draw(SPECS[kind])
    module = make_module(spec).eval()
    assert spec.params == sum(p.numel() for p in module.parameters())
    with torch.no_grad():
        out = module(*[torch.zeros(2, *spec.in_shape)] * spec.num_inputs)
    shape = spec.out_shape[:1] if kind.endswith("head") else spec.out_shape
    assert tuple(out.shape) == (2, *shape)


@pytest.mark.parametrize("kind", OPS)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture  # the counter has no state
    ],
)
@given(data=st.data())
def test_macs_are_fvcores(kind, count_macs, data):
    spec = data.draw(SPECS[kind])
    assert spec.macs == count_macs(make_module(spec), spec.in_shape, spec.num_inputs)


def test_macs_of_one_block_by_hand():
    spec = OpSpec.make("mbconv", (16, 9, 7), 24, kernel=5, stride=2, hidden=48, se_width=8)
    # expand 16*48 at 9x7, depthwise 48*25 and project 48*24 at 5x4, squeeze-excite 2*48*8
    assert spec.out_shape == (24, 5, 4)
    assert spec.macs == 16 * 48 * 63 + (48 * 25 + 48 * 24) * 20 + 768
    # BN has 2 per channel; squeeze-excite has biases
    assert spec.params == 48 * 18 + 48 * 27 + (768 + 8 + 48) + 24 * 50


def test_macs_of_attention_by_hand():
    spec = OpSpec.make("mqa", (16, 5, 5), 16, heads=2, key_dim=8, kv_stride=2)
    # queries and output 16*16 at 25 pixels; keys, values: 9*16 and 16*8 each at 9 pixels;
    # 2 heads * 25 queries see 9 keys, 8 numbers each, twice
    assert spec.macs == 2 * 256 * 25 + 2 * (144 + 128) * 9 + 2 * (50 * 9 * 8)
    assert spec.params == 2 * 16 + 2 * 256 + 2 * (11 * 16 + 128)


@given(ANY_SPEC)
def test_attributes_are_complete_sorted_and_readable(spec):
    assert [name for name, _ in spec.attrs] == sorted(OPS[spec.kind].attrs)
    assert all(spec[name] == value for name, value in spec.attrs)


@pytest.mark.parametrize("kind", OPS)
def test_left_out_attributes_are_filled_in_with_the_defaults(kind):
    short = make(kind, **GOOD[kind])
    defaults = {name: rule.default for name, rule in OPS[kind].attrs.items()}
    assert dict(short.attrs) == {**defaults, **GOOD[kind]}
    assert make(kind, **dict(short.attrs)) == short


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(k, n, v) for k, attrs in WRONG.items() for n, values in attrs.items() for v in values],
)
def test_a_wrong_attribute_is_refused_by_name(kind, name, value):
    with pytest.raises(ValueError, match=name if name != "expand" else "expan"):
        make(kind, **{**GOOD[kind], name: value})


@pytest.mark.parametrize("kind", OPS)
def test_unknown_attributes_are_refused_with_the_known_ones(kind):
    known = ".*".join(sorted(OPS[kind].attrs))
    known = rf"it has .*{known}"
    with pytest.raises(ValueError, match=rf"{kind} has no attribute \['strides'\]; {known}"):
        make(kind, **GOOD[kind], strides=2)


def test_missing_attributes_unknown_kinds_and_empty_shapes_are_refused():
    with pytest.raises(ValueError, match="mbconv needs attribute 'hidden'"):
        OpSpec.make("mbconv", (16, 8, 8), 24, kernel=3)
    with pytest.raises(ValueError, match="unknown operation kind 'fold'; known: conv, "):
        OpSpec.make("fold", (16, 8, 8), 24)
    for shape, out_channels in (((0, 8, 8), 24), ((16, 0, 8), 24), ((16, 8, 8), 0)):
        with pytest.raises(ValueError, match="conv: empty shape"):
            OpSpec.make("conv", shape, out_channels, kernel=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "exactly the keys"),
        ({"kind": "fold"}, "unknown operation kind"),
        ({"in_shape": [3, 8]}, "three integers"),
        ({"in_shape": [3, 8, 8.0]}, "three integers"),
        ({"in_shape": [3, 8, True]}, "three integers"),
        ({"in_shape": "388"}, "three integers"),
        ({"out_channels": 8.0}, "out_channels an integer"),
        ({"attrs": [["kernel", 3]]}, "attrs must be an object"),
        ({"attrs": {"kernel": 3, "bias": 1}}, "no attribute"),
        ({"attrs": {"kernel": True}}, "conv.kernel must be one of"),
        ({"attrs": {"kernel": 3, "kind": "conv"}}, "no attribute may be called"),
        ({"kind": ["conv"]}, "kind must be text"),
    ],
)
def test_an_object_that_is_not_an_operation_is_refused(change, message):
    good = OpSpec.make("conv", (3, 8, 8), 8, kernel=3).to_json()
    with pytest.raises(ValueError, match=message):
        OpSpec.from_json({**good, **change})


def test_text_shows_what_differs_from_the_defaults():
    assert str(OpSpec.make("conv", (3, 32, 32), 8, kernel=3, act="relu")) == (
        "conv 3x32x32->8 act=relu kernel=3"
    )
    assert str(OpSpec.make("head", (8, 4, 4), 10)) == "head 8x4x4->10"


@given(st.floats(0.01, 5000), st.sampled_from((1, 4, 8, 16)))
def test_rounded_channels_are_multiples_near_the_value(value, divisor):
    rounded = make_divisible(value, divisor)
    assert rounded % divisor == 0
    assert rounded >= divisor
    assert rounded >= 0.9 * value
    assert rounded <= max(divisor, value + divisor)


def test_rounding_is_torchvisions():
    from torchvision.models._utils import _make_divisible

    for tenths in range(1, 20_000, 37):
        assert make_divisible(tenths / 10) == _make_divisible(tenths / 10, 8)


@pytest.mark.parametrize("kind", ["pool", "add", "concat", "zero"])
def test_kinds_that_cannot_change_the_width_say_so(kind):
    with pytest.raises(ValueError, match=r"16.*channels"):
        OpSpec.make(kind, (16, 8, 8), 24, **GOOD[kind])


def test_factorized_reductions_have_an_even_width():
    with pytest.raises(ValueError, match="even number of output channels, got 7"):
        OpSpec.make("factorized_reduce", (4, 8, 8), 7)


def test_modules_are_plain_torch():
    for kind in OPS:
        module = make_module(make(kind, **GOOD[kind]))
        kinds = {
            type(child)
            for child in module.modules()
            if not list(child.children()) and list(child.parameters())
        }
        assert all(k.__module__.startswith("torch.nn") for k in kinds), kinds
        assert isinstance(module, nn.Module)


def test_an_attribute_added_later_leaves_old_keys_as_they_were():
    old = OpSpec.make("head", (16, 7, 7), 10, hidden=32, features=24)
    assert old.key == (
        '{"attrs":{"act":"relu6","features":24,"hidden":32},"in_shape":[16,7,7],"kind":"head",'
        '"out_channels":10}'
    )
    new = OpSpec.make("head", (16, 7, 7), 10, hidden=32, features=24, features_bias=False)
    assert '"features_bias":false' in new.key
    assert new.params == old.params - 24
