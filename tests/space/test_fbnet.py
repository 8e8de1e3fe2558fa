"""FBNet's space against its paper and against published latencies of 5,000 of its networks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space

OPTIONS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
LATENCIES = (
    Path(os.environ.get("HWNAS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "device-latency"
    / "fbnet.npz"
)


def layers(space: SearchSpace, option: str) -> tuple[OpSpec, ...]:
    return space.layers(space.arch({choice.name: option for choice in space.choices}))


def test_the_choices_and_the_plan_are_those_of_the_papers_tables_1_and_2():
    space = load_space("fbnet")
    assert [c.name for c in space.choices] == [f"layer{i}" for i in range(1, 23)]
    assert {c.options for c in space.choices} == {OPTIONS}
    stem, *blocks, head = layers(space, "k5_e3")
    assert str(stem) == "conv 3x224x224->16 act=relu kernel=3 stride=2"
    assert [(op.out_channels, op["stride"], op.out_shape[1]) for op in blocks] == [
        (16, 1, 112),
        (24, 2, 56),
        *[(24, 1, 56)] * 3,
        (32, 2, 28),
        *[(32, 1, 28)] * 3,
        (64, 2, 14),
        *[(64, 1, 14)] * 3,
        *[(112, 1, 14)] * 4,
        (184, 2, 7),
        *[(184, 1, 7)] * 3,
        (352, 1, 7),
    ]
    assert str(head) == "head 352x7x7->1000 act=relu hidden=1984"


@pytest.mark.parametrize("option", OPTIONS[:-1])
def test_an_option_is_the_block_its_name_says(option):
    kernel, expand, *grouped = option.split("_")
    groups = 2 if grouped else 1
    for op in layers(load_space("fbnet"), option)[1:-1]:
        assert op.kind == "mbconv"
        assert op["kernel"] == int(kernel[1:])
        assert op["hidden"] == op.in_shape[0] * int(expand[1:])
        assert op["expand"]  # the first 1x1 convolution is there at expansion 1, too
        assert (op["groups"], op["shuffle"]) == (groups, groups == 2)
        assert op["residual"] == (op.in_shape == op.out_shape)
        assert (op["act"], op["se_width"]) == ("relu", 0)


def test_skips_are_nothing_but_projections_where_the_shape_changes():
    assert [str(op) for op in layers(load_space("fbnet"), "skip")[1:-1]] == [
        f"conv {shape}->{width} act=relu kernel=1{stride}"
        for shape, width, stride in (
            ("16x112x112", 24, " stride=2"),
            ("24x56x56", 32, " stride=2"),
            ("32x28x28", 64, " stride=2"),
            ("64x14x14", 112, ""),
            ("112x14x14", 184, " stride=2"),
            ("184x7x7", 352, ""),
        )
    ]


def test_the_variant_for_small_images_keeps_their_size_longer_and_has_the_same_choices():
    small, large = load_space("fbnet-cifar"), load_space("fbnet")
    assert small.choices == large.choices
    stem, *blocks, head = layers(small, "k3_e6")
    assert str(stem) == "conv 3x32x32->16 act=relu kernel=3"
    assert [op.out_shape for op in blocks] == [
        (16, 32, 32),
        *[(24, 32, 32)] * 4,
        *[(32, 16, 16)] * 4,
        *[(64, 8, 8)] * 4,
        *[(112, 8, 8)] * 4,
        *[(184, 4, 4)] * 4,
        (352, 4, 4),
    ]
    assert str(head) == "head 352x4x4->100 act=relu hidden=1504"


def test_parameters_reach_the_network():
    stem, *_, head = layers(load_space("fbnet:input_size=96,num_classes=7,width_mult=1.5"), "skip")
    assert (stem.in_shape, stem.out_channels) == ((3, 96, 96), 24)
    assert (head.in_shape, head["hidden"], head.out_channels) == ((528, 3, 3), 2976, 7)
    narrow = layers(load_space("fbnet:width_mult=0.5"), "skip")
    assert narrow[0].out_channels == 8
    assert narrow[-1]["hidden"] == 1984  # as in MobileNetV2, the head does not shrink


@pytest.mark.skipif(not LATENCIES.exists(), reason=f"no published latencies at {LATENCIES}")
@pytest.mark.parametrize("device", ["pixel3", "raspi4"])
def test_equal_operations_explain_the_published_latencies_and_in_the_order_of_the_options(device):
    """Both devices' are sums of a table, so times per operation explain them without a rest.

    The networks there are of CIFAR-100's size.
    """
    data = np.load(LATENCIES)
    space = load_space("fbnet-cifar")
    codes = data["arch"].astype(np.int64)
    latency_ms = data["latency_ms"][data["device"].tolist().index(device)].astype(np.float64)
    columns: dict[OpSpec, np.ndarray] = {}
    for factor in space.factors():
        for option, op in enumerate(factor.ops.tolist() if factor.choices else []):
            if op is not None:
                columns[op] = columns.get(op, 0.0) + (codes[:, factor.choices[0]] == option)
    design = np.stack([np.ones(len(codes)), *columns.values()], axis=1)
    times, *_ = np.linalg.lstsq(design, latency_ms, rcond=None)
    assert np.abs(design @ times - latency_ms).max() < 1e-3 * latency_ms.mean()
    time_of = dict(zip(columns, times[1:].tolist(), strict=True))
    wide = [op for op in columns if op.kind == "mbconv" and op["groups"] == 1]
    work = np.array([op.macs for op in wide])
    rho = np.corrcoef(work, [time_of[op] for op in wide])[0, 1]
    assert rho > 0.8
