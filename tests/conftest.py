"""Fixtures of the whole test tree: fvcore as the oracle of MACs."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

CountMacs = Callable[[nn.Module, tuple[int, ...]], int]


@pytest.fixture(scope="session")
def count_macs() -> CountMacs:
    """fvcore's count of a module's convolutions and linear layers; BN and pooling left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore uses torch.jit at import
        from fvcore.nn import FlopCountAnalysis

    def count(module: nn.Module, in_shape: tuple[int, ...]) -> int:
        analysis = FlopCountAnalysis(module.eval(), torch.zeros(1, *in_shape))
        analysis.unsupported_ops_warnings(False)
        by_operator = analysis.by_operator()
        return int(by_operator["conv"] + by_operator["linear"])

    return count
