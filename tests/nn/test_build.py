"""Networks: weights depend on the seed and nothing else, and the parts compute what they say."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hwnas.nn.build import ChannelShuffle, MBConv, build, build_layers, init_weights, make_module
from hwnas.nn.layers import SqueezeExcite, StridedPointwise
from hwnas.ops import OpSpec
from hwnas.rng import stream
from hwnas.space.catalogue import load_space

LAYERS = (
    OpSpec.make("conv", (3, 16, 16), 8, kernel=3, stride=2),
    OpSpec.make("mbconv", (8, 8, 8), 8, kernel=5, hidden=24, residual=True, se_width=8),
    OpSpec.make("conv", (8, 8, 8), 16, kernel=1, groups=4, act="none"),
    OpSpec.make("head", (16, 8, 8), 5, hidden=32, features=12, act="hswish"),
)


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_weights_are_those_of_the_seed_whatever_the_global_generator_holds():
    torch.manual_seed(1)
    first = weights(build_layers(LAYERS, seed=5))
    torch.manual_seed(2)
    torch.rand(100)
    assert same(first, weights(build_layers(LAYERS, seed=5)))


def test_different_seeds_give_different_weights_in_every_drawn_tensor():
    first, second = weights(build_layers(LAYERS, seed=5)), weights(build_layers(LAYERS, seed=6))
    drawn = [name for name in first if first[name].dim() > 1]
    assert len(drawn) == 10
    assert not any(torch.equal(first[name], second[name]) for name in drawn)


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    build_layers(LAYERS, seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_of_equal_shape_do_not_share_their_draw():
    twice = (LAYERS[0], LAYERS[1], LAYERS[1])
    network = build_layers(twice)
    for left, right in zip(network[1].parameters(), network[2].parameters(), strict=True):
        assert left.dim() == 1 or not torch.equal(left, right)


def test_a_layers_draw_does_not_depend_on_the_layers_after_it():
    short, long = build_layers(LAYERS[:2]), build_layers(LAYERS)
    assert same(weights(short), {k: v for k, v in weights(long).items() if k[0] in "01"})


def test_weights_have_the_spread_the_docstring_names():
    network = build_layers(
        (
            OpSpec.make("conv", (64, 8, 8), 128, kernel=3, groups=2),
            OpSpec.make("head", (128, 8, 8), 100, features=256, act="relu"),
        )
    )
    assert network[0][0].weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    for linear in (network[1].classifier[0], network[1].classifier[2]):
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert not linear.bias.any()
    assert network[0][1].weight.eq(1).all()


def test_init_weights_makes_a_used_network_new():
    network = build_layers(LAYERS, seed=3)
    fresh = weights(network)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.add_(1.0)
    init_weights(network, 3)
    assert same(fresh, weights(network))


def test_the_children_are_the_operations_by_position():
    network = build_layers(LAYERS)
    assert [name for name, _ in network.named_children()] == ["0", "1", "2", "3"]
    x = torch.zeros(2, 3, 16, 16)
    network.eval()
    for spec, child in zip(LAYERS, network, strict=True):
        assert tuple(x.shape[1:]) == spec.in_shape
        x = child(x)
    assert x.shape == (2, 5)


@torch.no_grad()
def test_a_residual_block_adds_its_input_and_another_does_not():
    x = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    for residual in (True, False):
        block = MBConv(
            OpSpec.make("mbconv", (8, 8, 8), 8, kernel=3, hidden=16, residual=residual)
        ).eval()
        block.body[-1][1].weight.zero_()
        assert torch.equal(block(x), x if residual else torch.zeros_like(x))


@torch.no_grad()
@pytest.mark.parametrize(("gate", "at_one"), [("hsigmoid", 4 / 6), ("sigmoid", 0.7310586)])
def test_squeeze_and_excite_scales_each_channel_by_the_gate(gate, at_one):
    module = SqueezeExcite(6, 2, gate)
    module.reduce.weight.zero_()
    module.reduce.bias.fill_(-1.0)  # below 0: the inner ReLU must stop it
    module.expand.weight.fill_(9.0)
    module.expand.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 1.0]))
    x = torch.randn(2, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.5, at_one, 0.5, 0.5, 0.5, at_one]).view(1, 6, 1, 1)
    torch.testing.assert_close(module(x), x * scale)


@torch.no_grad()
@pytest.mark.parametrize(
    ("act", "function"),
    [
        ("none", lambda x: x),
        ("relu", F.relu),
        ("relu6", lambda x: x.clamp(0, 6)),
        ("hswish", lambda x: x * (x + 3).clamp(0, 6) / 6),  # MobileNetV3 paper, §5.2
    ],
)
def test_each_activation_is_the_function_of_its_name(act, function):
    spec = OpSpec.make("conv", (4, 8, 8), 6, kernel=3, stride=2, act=act)
    module = make_module(spec).eval()
    x = 8 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    linear = F.conv2d(x, module[0].weight, stride=2, padding=1) / math.sqrt(1 + 1e-5)
    assert linear.min() < -3 < 6 < linear.max()
    torch.testing.assert_close(module(x), function(linear))


def test_a_shuffle_is_torchs_and_gives_each_group_of_the_next_convolution_some_of_all():
    x = torch.randn(2, 12, 3, 5)
    for groups in (2, 3, 4):
        torch.testing.assert_close(ChannelShuffle(groups)(x), nn.ChannelShuffle(groups)(x))
    grouped = OpSpec.make(
        "mbconv", (8, 5, 5), 8, kernel=3, hidden=8, groups=2, shuffle=True, act="none"
    )
    block = build_layers([grouped]).eval()
    image = torch.zeros(1, 8, 5, 5)
    image[:, 0] = 1.0  # the first group only
    assert (block(image).abs().amax((0, 2, 3)) > 0).all()
    unshuffled = OpSpec.make("mbconv", (8, 5, 5), 8, kernel=3, hidden=8, groups=2, act="none")
    reached = build_layers([unshuffled]).eval()(image).abs().amax((0, 2, 3)) > 0
    assert reached.tolist() == [True] * 4 + [False] * 4


def test_build_maps_images_to_logits():
    space = load_space("tiny:num_classes=7")
    arch = space.arch({choice.name: choice.options[1] for choice in space.choices})
    network = build(space, arch)
    logits = network(torch.zeros(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("size", [8, 9])
def test_a_strided_pointwise_convolution_trains_as_the_plain_one(size: int) -> None:
    # in float64, NCHW: where torch's own strided backward is sound
    ours = StridedPointwise(6, 4, 1, 2, bias=False).double()
    plain = torch.nn.Conv2d(6, 4, 1, 2, bias=False).double()
    plain.load_state_dict(ours.state_dict())
    x = torch.from_numpy(stream(0, "test").standard_normal((5, 6, size, size)))
    outputs = [module.train()(x) for module in (ours, plain)]
    assert torch.allclose(*outputs, rtol=1e-12)
    for output in outputs:
        (output**2).sum().backward()
    assert torch.allclose(ours.weight.grad, plain.weight.grad, rtol=1e-12)
    assert torch.equal(ours.eval()(x), plain.eval()(x))
