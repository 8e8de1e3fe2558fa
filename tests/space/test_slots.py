"""A chain space as places in a row, against its own layers."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import UsageError
from hwnas.space.catalogue import load_space
from hwnas.space.slots import slots_of


def test_choosing_at_each_place_gives_the_layers_of_the_network():
    space = load_space("tiny")
    slots = slots_of(space)
    code = np.array([[3, 1, 0, 2, 1]], dtype=np.int16)
    chosen = [slot.ops[0 if slot.choice is None else int(code[0, slot.choice])] for slot in slots]
    expected = space.layers(space.decode(code)[0])
    assert tuple(op for op in chosen if op is not None) == expected


def test_parts_that_several_choices_decide_are_refused():
    with pytest.raises(UsageError, match=r"parts that several choices decide.*Next: "):
        slots_of(load_space("mobile"))
