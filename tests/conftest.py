"""Fixtures of the whole test tree: fvcore as the oracle of MACs; public data beside the project."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

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
