"""Fixtures of the whole test tree: fvcore as the oracle of MACs; public data beside the project."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

CountMacs = Callable[[nn.Module, tuple[int, ...]], int]


@pytest.fixture(scope="session")
def count_macs() -> CountMacs:
    """fvcore's count of convolutions, linear layers, matrix products; not of BN and pooling."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore uses torch.jit at import
        from fvcore.nn import FlopCountAnalysis

    def count(module: nn.Module, in_shape: tuple[int, ...]) -> int:
        analysis = FlopCountAnalysis(module.eval(), torch.zeros(1, *in_shape))
        analysis.unsupported_ops_warnings(False)
        by_operator = analysis.by_operator()
        return int(by_operator["conv"] + by_operator["linear"] + by_operator["matmul"])

    return count


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
