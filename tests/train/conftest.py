from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from hwnas.data import Dataset, load_dataset
from hwnas.nn.build import build
from hwnas.space.catalogue import load_space

MakeNetwork = Callable[..., nn.Module]


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits", input_size=16)


@pytest.fixture
def make_network() -> MakeNetwork:
    space = load_space("tiny:input_size=16,stem_channels=4")

    def make(code: tuple[int, ...] = (1, 0, 1, 0, 2), seed: int = 0) -> nn.Module:
        return build(space, space.decode(np.array([code], dtype=np.int16))[0], seed=seed)

    return make
