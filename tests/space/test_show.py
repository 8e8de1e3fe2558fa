"""A space in numbers, against its networks one by one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.errors import InputError
from hwnas.space.catalogue import SPACES, load_space
from hwnas.space.show import describe, sizes_of


@pytest.mark.parametrize("name", ["tiny", "tiny:num_classes=5,stem_channels=3", "macro-cifar"])
def test_sizes_are_those_of_all_networks(name):
    space = load_space(name)
    sizes = [len(choice.options) for choice in space.choices]
    codes = np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int16)
    networks = [space.layers(arch) for arch in space.decode(codes)]
    macs = [sum(op.macs for op in layers) for layers in networks]
    params = [sum(op.params for op in layers) for layers in networks]
    shown = describe(name)
    assert shown["num_codes"] == len(networks)
    assert shown["macs"] == [min(macs), max(macs)]
    assert shown["params"] == [min(params), max(params)]
    assert shown["num_ops"] == len({op for layers in networks for op in layers})


@pytest.mark.parametrize("name", SPACES)
def test_names_choices_and_the_example_are_the_spaces(name):
    space, shown = load_space(name), json.loads(json.dumps(describe(name)))
    assert shown["name"] == name
    assert shown["input_shape"] == list(space.input_shape)
    assert shown["num_classes"] == space.num_classes
    assert shown["num_choices"] == len(space.choices)
    assert list(shown["choices"].items()) == [(c.name, list(c.options)) for c in space.choices]
    assert space.arch(shown["example"]["choices"]).to_json() == shown["example"]


def test_a_space_too_large_to_list_is_counted_all_the_same():
    space, shown = load_space("proxyless"), describe("proxyless")
    assert shown["num_codes"] == 6**6 * 7**15  # the first block of each stage cannot be skipped
    ends = [
        {c.name: "skip" if "skip" in c.options else "k3_e3" for c in space.choices},
        {c.name: "k7_e6" for c in space.choices},
    ]
    layers = [space.layers(space.arch(choices)) for choices in ends]
    assert shown["params"] == [sum(op.params for op in ops) for ops in layers]
    assert shown["macs"] == [sum(op.macs for op in ops) for ops in layers]


def test_an_unknown_space_is_an_error():
    with pytest.raises(InputError, match="there is no space 'tinny'"):
        describe("tinny")


@pytest.mark.parametrize("name", SPACES)
def test_the_sizes_on_file_are_those_of_today(name):
    shown = describe(name)
    assert sizes_of(name) == {key: shown[key] for key in shown if key not in ("choices", "example")}
    # if not: hwnas.space.show.write_sizes(SPACES)


def test_the_sizes_of_another_space_are_worked_out():
    name = "tiny:num_classes=5"
    assert sizes_of(name)["params"] == describe(name)["params"] != sizes_of("tiny")["params"]
