"""Parts of blocks: their work is the block's, one after the other they compute the same."""

from __future__ import annotations

import itertools

import pytest
import torch

from hwnas.nn.build import make_module
from hwnas.ops import OpSpec
from hwnas.ops.split import part_class, split
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops


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
@pytest.mark.parametrize(
    "op",
    [
        OpSpec.make(
            "mbconv", (8, 9, 7), 12, kernel=5, stride=2, hidden=24, se_width=4, act="hswish"
        ),
        OpSpec.make("fused_mbconv", (8, 9, 7), 12, kernel=3, stride=2, hidden=24, project_act=True),
        OpSpec.make(
            "uib", (8, 9, 7), 12, kernel_start=3, kernel=5, stride=2, hidden=24, act="relu"
        ),
        OpSpec.make("uib", (8, 9, 7), 12, kernel_start=3, stride=2, hidden=24),
    ],
    ids=str,
)
def test_the_parts_one_after_the_other_compute_what_the_block_does(op):
    torch.manual_seed(0)
    block = make_module(op).eval()
    parts = torch.nn.Sequential(*(make_module(part) for part in split(op))).eval()
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
