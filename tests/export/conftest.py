"""Networks and files of the export tests: batch norms with statistics as training leaves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hwnas.nn.build import build_layers
from hwnas.ops import OpSpec
from hwnas.space.catalogue import load_space

MakeNetwork = Callable[[Sequence[OpSpec]], nn.Sequential]


@pytest.fixture(scope="session")
def trained() -> MakeNetwork:
    """Builds layers whose batch norms are far from their initial (0, 1), where folding is void."""

    def make(layers: Sequence[OpSpec]) -> nn.Sequential:
        generator = torch.Generator().manual_seed(0)
        network = build_layers(layers)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                size = module.num_features
                module.running_mean = torch.randn(size, generator=generator)
                module.running_var = 0.2 + 2.0 * torch.rand(size, generator=generator)
                module.weight.data = 0.5 + torch.rand(size, generator=generator)
                module.bias.data = torch.randn(size, generator=generator)
            elif isinstance(module, nn.Linear):
                module.weight.data = torch.randn(module.weight.shape, generator=generator)
                module.bias.data = torch.randn(module.bias.shape, generator=generator)
        for name, parameter in network.named_parameters():
            if name.endswith("scale"):  # layer scales begin so small that they hide a branch
                parameter.data = 0.5 + torch.rand(parameter.shape, generator=generator)
        return network

    return make


@pytest.fixture(scope="session")
def tiny_layers() -> tuple[OpSpec, ...]:
    """The operations of one network of space ``tiny``."""
    space = load_space("tiny")
    options = ("mb3_k3", "identity", "mb6_k3", "mb3_k5", "mb3_k3")
    chosen = {f"layer{number}": option for number, option in enumerate(options, start=1)}
    return space.layers(space.arch(chosen))


@pytest.fixture(scope="session")
def se_block() -> OpSpec:
    """A block of MobileNetV3: squeeze-and-excite, h-swish, residual; neither square nor even."""
    return OpSpec.make(
        "mbconv", (16, 14, 9), 16, kernel=5, hidden=48, se_width=16, act="hswish", residual=True
    )


@pytest.fixture(scope="session")
def grouped_block() -> OpSpec:
    """A block of FBNet: 1x1 convolutions in two groups, a channel shuffle between; not square."""
    return OpSpec.make(
        "mbconv", (16, 14, 9), 24, kernel=3, stride=2, hidden=16, groups=2, shuffle=True, act="relu"
    )


@pytest.fixture(scope="session")
def save_weights() -> Callable[[nn.Module, Path], Path]:
    """Writes a network's state as the safetensors file a conversion can name."""

    def save(network: nn.Module, path: Path) -> Path:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
        return path

    return save


@pytest.fixture(scope="session")
def mobile_blocks() -> tuple[OpSpec, ...]:
    """A fused block, a universal bottleneck with layer scale, attention on fewer pixels."""
    return (
        OpSpec.make("fused_mbconv", (8, 28, 18), 16, kernel=3, stride=2, hidden=24, act="swish"),
        OpSpec.make(
            "uib",
            (16, 14, 9),
            16,
            kernel_start=3,
            kernel=5,
            hidden=32,
            act="gelu",
            residual=True,
            layer_scale=True,
        ),
        OpSpec.make("mqa", (16, 14, 9), 16, heads=4, key_dim=8, kv_stride=2, layer_scale=True),
    )
