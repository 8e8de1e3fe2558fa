"""The one shape walk of chain spaces against networks that were really built and run."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.arch import Arch
from hwnas.nn.build import ChannelShuffle, Head, MBConv, build
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.chain import Block, ChainSpace, Conv, Identity, Stage, network_id
from hwnas.space.chain import Head as HeadWidths

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "my_space.yaml")
FULL = ("tiny", "macro-cifar", "proxyless:input_size=64", "fbnet:input_size=64", EXAMPLE)
# the same structures at a width at which 200 networks are built and run in seconds
NARROW = ("tiny", "macro-cifar:stem_channels=8", "proxyless:input_size=64,width_mult=0.35", EXAMPLE)

ACT_OF_MODULE = {nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Hardswish: "hswish"}
GATE_OF_MODULE = {nn.Hardsigmoid: "hsigmoid", nn.Sigmoid: "sigmoid"}


def random_archs(space: SearchSpace, count: int) -> list[Arch]:
    generator = stream(0, "test-chain")
    columns = [generator.integers(len(choice.options), size=count) for choice in space.choices]
    return space.decode(np.stack(columns, axis=1).astype(np.int16))


def constant_archs(space: SearchSpace) -> list[Arch]:
    """One architecture per option number, so that every option occurs at every layer."""
    most = max(len(choice.options) for choice in space.choices)
    rows = [[min(i, len(c.options) - 1) for c in space.choices] for i in range(most)]
    return space.decode(np.array(rows, dtype=np.int16))


def act_of(module: nn.Module) -> str:
    found = {ACT_OF_MODULE[type(m)] for m in module.modules() if type(m) in ACT_OF_MODULE}
    assert len(found) <= 1
    return found.pop() if found else "none"


def traced_conv(module: nn.Sequential, in_shape: tuple[int, int, int]) -> OpSpec:
    conv = module[0]
    assert isinstance(module[1], nn.BatchNorm2d)
    assert conv.bias is None
    return OpSpec.make(
        "conv",
        in_shape,
        conv.out_channels,
        kernel=conv.kernel_size[0],
        stride=conv.stride[0],
        groups=conv.groups,
        act=act_of(module),
    )


def traced_mbconv(module: MBConv, in_shape: tuple[int, int, int]) -> OpSpec:
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    main = [conv for conv in convs if conv.bias is None]  # squeeze-and-excite's have biases
    squeeze = [conv for conv in convs if conv.bias is not None]
    expand, depthwise, project = main if len(main) == 3 else [None, *main]
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels
    assert project.kernel_size == (1, 1)
    assert expand is None or expand.out_channels == depthwise.in_channels
    shuffles = [m.groups for m in module.modules() if isinstance(m, ChannelShuffle)]
    assert shuffles in ([], [project.groups])
    assert expand is None or expand.groups == project.groups
    gates = [GATE_OF_MODULE[type(m)] for m in module.modules() if type(m) in GATE_OF_MODULE]
    return OpSpec.make(
        "mbconv",
        in_shape,
        project.out_channels,
        kernel=depthwise.kernel_size[0],
        stride=depthwise.stride[0],
        hidden=depthwise.out_channels,
        expand=expand is not None,
        act=act_of(module.body[0]),
        residual=module.residual,
        se_width=squeeze[0].out_channels if squeeze else 0,
        groups=project.groups,
        shuffle=bool(shuffles),
        **({"se_gate": gates[0]} if gates else {}),
    )


def traced_head(module: Head, in_shape: tuple[int, int, int]) -> OpSpec:
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    linears = [m for m in module.modules() if isinstance(m, nn.Linear)]
    return OpSpec.make(
        "head",
        in_shape,
        linears[-1].out_features,
        hidden=convs[0].out_channels if convs else 0,
        features=linears[0].out_features if len(linears) == 2 else 0,
        act=act_of(module),
    )


@torch.no_grad()
def traced_layers(space: SearchSpace, arch: Arch) -> list[OpSpec]:
    """Run the built network and read every operation from its modules and tensors."""
    network = build(space, arch).eval()
    seen: list[OpSpec] = []

    def record(module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> None:
        in_shape = tuple(args[0].shape[1:])
        if isinstance(module, MBConv):
            spec = traced_mbconv(module, in_shape)
        elif isinstance(module, Head):
            spec = traced_head(module, in_shape)
        else:
            spec = traced_conv(module, in_shape)
        assert spec.out_shape == (*out.shape[1:], 1, 1)[:3]
        seen.append(spec)

    for child in network.children():
        child.register_forward_hook(record)
    network(torch.zeros(1, *space.input_shape))
    return seen


@pytest.mark.parametrize("name", NARROW)
def test_layers_are_those_of_200_built_and_run_networks(name):
    space = load_space(name)
    for arch in random_archs(space, 200):
        assert list(space.layers(arch)) == traced_layers(space, arch)


@pytest.mark.parametrize("name", FULL)
def test_layers_are_those_of_the_built_networks_at_full_width_for_every_option(name, count_macs):
    space = load_space(name)
    for arch in constant_archs(space):
        layers = space.layers(arch)
        assert list(layers) == traced_layers(space, arch)
        macs = count_macs(build(space, arch), space.input_shape)
        assert sum(op.macs for op in layers) == macs


@pytest.mark.parametrize("name", FULL)
def test_each_operation_takes_what_the_one_before_it_gives(name):
    space = load_space(name)
    for arch in random_archs(space, 50):
        layers = space.layers(arch)
        assert layers[0].in_shape == space.input_shape
        for before, after in itertools.pairwise(layers):
            assert after.in_shape == before.out_shape
        assert layers[-1].out_shape == (space.num_classes, 1, 1)


@pytest.mark.parametrize("name", FULL)
def test_factors_hold_the_operations_of_every_network(name):
    space = load_space(name)
    archs = random_archs(space, 200)
    for arch, row in zip(archs, space.encode(archs), strict=True):
        picked = [factor.ops[tuple(row[list(factor.choices)])] for factor in space.factors()]
        assert Counter(op for op in picked if op is not None) == Counter(space.layers(arch))


def test_every_code_of_tiny_survives_encoding():
    space = load_space("tiny")
    codes = np.array(list(itertools.product(range(4), repeat=5)), dtype=np.int16)
    archs = space.decode(codes)
    assert len({arch.arch_id for arch in archs}) == 4**5
    assert np.array_equal(space.encode(archs), codes)


def outline(name: str, option: str) -> list[tuple[int, int, int]]:
    """Width, stride and output size of each searched layer when all have ``option``."""
    space = load_space(name)
    arch = space.arch({choice.name: option for choice in space.choices})
    layers = space.layers(arch)[-1 - len(space.choices) : -1]
    return [(op.out_channels, op["stride"], op.out_shape[1]) for op in layers]


def test_tiny_is_as_documented():
    space = load_space("tiny")
    assert [c.name for c in space.choices] == [f"layer{i}" for i in range(1, 6)]
    assert {c.options for c in space.choices} == {("identity", "mb3_k3", "mb3_k5", "mb6_k3")}
    assert outline("tiny", "mb6_k3") == [
        (16, 2, 16),
        (16, 1, 16),
        (32, 2, 8),
        (32, 1, 8),
        (64, 2, 4),
    ]
    stem = space.layers(constant_archs(space)[1])[0]
    assert (stem.out_shape, stem["kernel"], stem["act"]) == ((8, 32, 32), 3, "relu")


def test_macro_cifar_is_as_documented():
    space = load_space("macro-cifar")
    assert [c.name for c in space.choices] == [f"layer{i}" for i in range(1, 9)]
    assert {c.options for c in space.choices} == {("identity", "mb3_k3", "mb6_k5")}
    assert outline("macro-cifar", "mb6_k5") == [
        (64, 2, 16),
        (64, 1, 16),
        (128, 2, 8),
        (128, 1, 8),
        (128, 1, 8),
        (256, 2, 4),
        (256, 1, 4),
        (256, 1, 4),
    ]
    block = space.layers(constant_archs(space)[2])[1]
    assert (block["kernel"], block["hidden"], block["act"]) == (5, 192, "relu")
    only_identities = space.layers(constant_archs(space)[0])
    assert [str(op) for op in only_identities] == [
        "conv 3x32x32->32 act=relu kernel=3",
        "conv 32x32x32->64 act=none kernel=1 stride=2",
        "conv 64x16x16->128 act=none kernel=1 stride=2",
        "conv 128x8x8->256 act=none kernel=1 stride=2",
        "head 256x4x4->10 act=relu hidden=1280",
    ]


def test_proxyless_is_as_documented():
    space = load_space("proxyless")
    assert [c.name for c in space.choices] == [f"block{i}" for i in range(1, 22)]
    blocks = ("k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e3", "k7_e6")
    changing = {1, 5, 9, 13, 17, 21}
    for number, choice in enumerate(space.choices, start=1):
        assert choice.options == (blocks if number in changing else (*blocks, "skip"))
    # the published latency table of this space has 66 rows for searched blocks:
    # 11 places (a first and a later block in five stages, one in the last), 6 kinds each
    searched = {op for f in space.factors() if f.choices for op in f.ops.tolist() if op}
    assert len(searched) == 66
    stem, first, *_, head = space.layers(constant_archs(space)[0])
    assert str(stem) == "conv 3x224x224->32 kernel=3 stride=2"
    assert (first.out_shape, first["expand"], first["hidden"]) == ((16, 112, 112), False, 32)
    assert (head.in_shape, head["hidden"], head["act"]) == ((320, 7, 7), 1280, "relu6")


def test_proxyless_with_all_k3_e6_at_mobilenet_v2s_widths_is_mobilenet_v2():
    from hwnas.space.zoo.layers import mobilenet_v2

    plan = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
    space = ChainSpace(
        name="v2",
        input_size=224,
        num_classes=1000,
        stem_width=32,
        stem_stride=2,
        stages=(
            Stage(16, 1, 1, fixed=Block(3, 1)),
            *(Stage(width, layers, stride, ("k3_e6",)) for width, layers, stride in plan),
        ),
        options={"k3_e6": Block(3, 6)},
        head=HeadWidths(1280),
    )
    arch = space.arch({choice.name: "k3_e6" for choice in space.choices})
    assert space.layers(arch) == mobilenet_v2()


def test_moving_identities_does_not_change_the_network_and_changing_an_operation_does():
    space = load_space("macro-cifar")
    base = {choice.name: "mb3_k3" for choice in space.choices}

    def ids(**changes: str) -> str:
        return space.network_id(space.arch({**base, **changes}))

    moved = ids(layer4="identity", layer5="mb6_k5")
    assert moved == ids(layer4="mb6_k5", layer5="identity")
    assert moved != ids(layer4="identity", layer5="mb3_k3")
    assert moved != ids(layer4="mb6_k5", layer5="mb6_k5")
    assert moved != ids(layer7="identity", layer8="mb6_k5")


def test_macro_cifar_has_exactly_as_many_networks_as_there_are():
    space = load_space("macro-cifar:stem_channels=8")
    codes = np.array(list(itertools.product(range(3), repeat=8)), dtype=np.int16)
    # the first layer of each stage changes the shape: 3 networks each. One more layer: 3.
    # Two more layers: 9 codes, but identities move: 1 + 2 + 4 networks.
    expected = 3**3 * 3 * 7 * 7
    assert len({space.network_id(arch) for arch in space.decode(codes)}) == expected


def test_a_network_has_one_id_in_every_space_it_belongs_to():
    tiny = load_space("tiny")
    arch = tiny.arch({choice.name: "mb3_k3" for choice in tiny.choices})
    assert tiny.network_id(arch) == network_id(tiny.layers(arch))
    assert len(tiny.network_id(arch)) == 16


def test_a_block_at_a_place_is_the_operation_its_fields_say():
    block = Block(kernel=5, expand=4, act="hswish", se=0.25, se_gate="sigmoid")
    op = block.op((24, 14, 14), 24, 1)
    assert (op["hidden"], op["se_width"], op["se_gate"], op["expand"]) == (96, 24, "sigmoid", True)
    assert op["residual"]
    assert not block.op((24, 14, 14), 24, 2)["residual"]
    assert not block.op((24, 14, 14), 32, 1)["residual"]
    assert Block(3, 1).op((24, 14, 14), 24, 1)["expand"] is False
    assert Block(3, 1, expand_conv=True).op((24, 14, 14), 24, 1)["expand"] is True
    grouped = Block(3, 1, expand_conv=True, groups=2).op((24, 14, 14), 32, 2)
    assert (grouped["groups"], grouped["shuffle"]) == (2, True)
    # without a first 1x1 convolution there is nothing to shuffle
    assert Block(3, 1, groups=2).op((24, 14, 14), 32, 2)["shuffle"] is False
    assert Block(3, 2.2).op((24, 14, 14), 24, 1)["hidden"] == 56  # 52.8 to a multiple of 8
    # without expansion the hidden width is the input's, whatever it is a multiple of
    assert Block(3, 1).op((12, 14, 14), 24, 1)["hidden"] == 12


def test_convolutions_and_identities_at_a_place():
    conv = Conv(3, act="relu", groups=4).op((8, 7, 7), 12, 2)
    assert str(conv) == "conv 8x7x7->12 act=relu groups=4 kernel=3 stride=2"
    assert Identity().op((8, 7, 7), 8, 1) is None
    assert str(Identity().op((8, 7, 7), 8, 2)) == "conv 8x7x7->8 act=none kernel=1 stride=2"
    assert str(Identity().op((8, 7, 7), 16, 1)) == "conv 8x7x7->16 act=none kernel=1"
    assert str(Identity("relu").op((8, 7, 7), 16, 1)) == "conv 8x7x7->16 act=relu kernel=1"


def test_a_fixed_layer_between_searched_ones_tells_on_what_side_an_operation_stands():
    options = {"a": Block(3, 3), "skip": Identity()}
    one = Stage(16, 1, 1, ("a", "skip"))
    space = ChainSpace(
        "mid",
        16,
        10,
        16,
        1,
        (one, Stage(16, 1, 1, fixed=Block(5, 3)), one),
        options,
        HeadWidths(32),
    )
    archs = [
        space.arch({"layer1": left, "layer2": right})
        for left, right in itertools.product(options, options)
    ]
    ids = [space.network_id(arch) for arch in archs]
    keys = [tuple(key) for key in space.network_keys(space.encode(archs)).tolist()]
    assert len(set(ids)) == len(set(keys)) == 4
