"""Fixtures of the whole test tree: fvcore as the oracle of MACs; public data beside the project."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import nn

from hwnas.plugins import REGISTRIES, loading
from hwnas.plugins.registry import load_object

Published = Callable[[str, float], nn.Module]
CountMacs = Callable[..., int]


@pytest.fixture(scope="session")
def count_macs() -> CountMacs:
    """fvcore's count of convolutions, linear layers and products; BN and pooling left out.

    ``count(module, in_shape, num_inputs=1)`` runs the module on one image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore uses torch.jit at import
        from fvcore.nn import FlopCountAnalysis

    def count(module: nn.Module, in_shape: tuple[int, ...], num_inputs: int = 1) -> int:
        inputs = (torch.zeros(1, *in_shape),) * num_inputs
        analysis = FlopCountAnalysis(module.eval(), inputs)
        analysis.unsupported_ops_warnings(False)
        by_operator = analysis.by_operator()
        return int(by_operator["conv"] + by_operator["linear"] + by_operator["matmul"])

    return count


@pytest.fixture(autouse=True)
def forget_plugins() -> Iterator[None]:
    """What a test loads is forgotten after it: worker processes of later tests load what is known.

    A plugin file of another test may be gone by then, or give a name that a later one gives too.
    """
    before = dict(loading._STATE.files)
    yield
    if loading._STATE.files == before:
        return
    for registry in map(load_object, REGISTRIES.values()):
        for name, origin in list(registry._origins.items()):
            if origin is not None and Path(origin.place) not in before:
                registry._entries.pop(name, None)  # the test may have removed it itself
                del registry._origins[name]
    loading._STATE.files = before


SHARED_DATA = Path(os.environ.get("HWNAS_TEST_DATA", Path(__file__).parents[2] / "shared/data"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return the path of a file or folder of public data; the test is skipped where it is not."""

    def path(name: str) -> Path:
        found = SHARED_DATA / name
        if not found.exists():
            pytest.skip(f"{found} is not there (HWNAS_TEST_DATA names the folder of public data)")
        return found

    return path


@pytest.fixture(scope="session")
def published() -> Published:
    """torchvision's or timm's model of a name and width; making one costs more than testing it."""
    made: dict[tuple[str, float], nn.Module] = {}

    def get(name: str, width: float) -> nn.Module:
        if (name, width) not in made:
            made[name, width] = _published(name, width).eval()
        return made[name, width]

    return get


def _published(name: str, width: float) -> nn.Module:
    import torchvision

    if name == "fbnetc_100":
        return _timm(name)
    if name.startswith("mobilenetv4"):
        return _timm(name if width == 1.0 else f"{name}_{round(100 * width):03}")
    if name == "mnasnet1_0":
        return torchvision.models.MNASNet(width)
    if name == "efficientnet_b0":
        from torchvision.models import efficientnet

        stages, last = efficientnet._efficientnet_conf(name, width_mult=width, depth_mult=1.0)
        return efficientnet.EfficientNet(stages, dropout=0.2, last_channel=last)
    return getattr(torchvision.models, name)(width_mult=width)


def _timm(name: str) -> nn.Module:
    import timm

    model = timm.create_model(name, pretrained=False)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # one kernel, of which fvcore does not know the MACs
    return model


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module, int], None]:
    """Gives every tensor, BN statistics included, random values that keep activations alive."""
    return _randomise


def _randomise(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0.0, 0.1, generator=generator)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0.0, fan_in**-0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0.0, 0.1, generator=generator)
        elif hasattr(module, "gamma"):  # of layer scales, which begin so small that they hide much
            module.gamma.data.uniform_(0.5, 1.5, generator=generator)


@pytest.fixture(scope="session")
def precise_int8() -> Callable[[pytest.MonkeyPatch], None]:
    """Has ONNX Runtime compute int8 products without saturation, also on x86 without VNNI.

    There its fast kernels saturate sums of two products at 16 bits (``session.x64quantprecision``),
    which costs several dB. Tests of what a file holds are to give the same on every processor.
    """

    def switch(patch: pytest.MonkeyPatch) -> None:
        make = onnxruntime.InferenceSession

        def session(path: Any, sess_options: Any = None, **more: Any) -> Any:
            options = sess_options or onnxruntime.SessionOptions()
            options.add_session_config_entry("session.x64quantprecision", "1")
            return make(path, options, **more)

        patch.setattr(onnxruntime, "InferenceSession", session)

    return switch
