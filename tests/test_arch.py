"""Architectures are values: one id everywhere, whatever the order they were written in."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import pytest

from hwnas.arch import Arch, Choice, short_hash

# sha256sum of {"choices":{"layer1":"identity","width":8},"schema":1,"space":"toy"}
TOY_ID = "55f158fd1778b82a"


def test_arch_id_is_the_hash_the_design_gives():
    arch = Arch.make("toy", {"width": 8, "layer1": "identity"})
    assert arch.arch_id == TOY_ID
    spelt = json.dumps(
        {"schema": 1, "space": "toy", "choices": arch.choices},
        sort_keys=True,
        separators=(",", ":"),
    )
    assert short_hash(spelt) == TOY_ID


def test_the_order_of_the_choices_does_not_matter():
    pairs = [("b", 1), ("a", "x"), ("c.d", 3)]
    archs = {Arch.make("toy", dict(order)) for order in itertools.permutations(pairs)}
    assert len(archs) == 1
    assert archs.pop().items == (("a", "x"), ("b", 1), ("c.d", 3))


def test_archs_are_equal_exactly_when_space_and_choices_are():
    arch = Arch.make("toy", {"a": 1})
    others = [
        Arch.make("toy", {"a": 2}),
        Arch.make("toy", {"a": "1"}),
        Arch.make("toy", {"a": 1, "b": 1}),
        Arch.make("toy2", {"a": 1}),
        Arch.make("toy", {}),
    ]
    assert arch == Arch.make("toy", {"a": 1})
    assert hash(arch) == hash(Arch.make("toy", {"a": 1}))
    assert all(arch != other for other in others)
    assert len({a.arch_id for a in [arch, *others]}) == 6


def test_an_arch_cannot_be_changed():
    source = {"a": 1}
    arch = Arch.make("toy", source)
    source["a"] = 2
    arch.choices["a"] = 3
    assert arch.choices == {"a": 1}
    with pytest.raises(AttributeError):
        arch.space = "other"


def test_to_json_is_the_object_of_an_arch_file():
    arch = Arch.make("toy", {"width": 8, "layer1": "identity"})
    assert arch.to_json() == {
        "schema": 1,
        "space": "toy",
        "choices": {"layer1": "identity", "width": 8},
    }


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_arch_id_is_the_same_in_every_process(hash_seed):
    code = (
        "from hwnas.arch import Arch\n"
        "print(Arch.make('toy', {'width': 8, 'layer1': 'identity'}).arch_id, end='')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": hash_seed},
    )
    assert run.stdout == TOY_ID


@pytest.mark.parametrize("options", [(), ("a", "b", "a")])
def test_a_choice_needs_distinct_options(options):
    with pytest.raises(ValueError, match="choice 'layer1' needs distinct options"):
        Choice("layer1", options)
