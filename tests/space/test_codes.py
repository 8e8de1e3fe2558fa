"""Codes are architectures as integers: there and back, absent choices included."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.arch import Arch, Choice
from hwnas.errors import InputError
from hwnas.space.catalogue import load_space
from hwnas.space.codes import checked_arch, decode, encode, symbol_counts, to_codes

CHOICES = (Choice("b", ("x", "y")), Choice("a", (3, 5, 7)), Choice("c", ("only",)))
TINY = load_space("tiny")


def test_codes_are_the_options_places_in_the_order_of_the_choices():
    archs = [
        Arch.make("toy", {"a": 7, "b": "x", "c": "only"}),
        Arch.make("toy", {"a": 3}),
        Arch.make("toy", {}),
    ]
    codes = encode(CHOICES, archs)
    assert codes.dtype == np.int16
    assert codes.tolist() == [[0, 2, 0], [-1, 0, -1], [-1, -1, -1]]
    assert decode("toy", CHOICES, codes) == archs


def test_every_code_comes_back_with_absent_choices(depth_space, depth_codes):
    archs = depth_space.decode(depth_codes)
    assert (depth_space.encode(archs) == depth_codes).all()
    assert len(set(archs)) == len(depth_codes)
    assert [len(arch.choices) for arch in archs[:3]] == [2, 2, 3]
    assert all(depth_space.arch(arch.choices) == arch for arch in archs)


def test_no_archs_are_no_rows():
    codes = encode(CHOICES, [])
    assert codes.shape == (0, 3)
    assert decode("toy", CHOICES, codes) == []


@pytest.mark.parametrize("option", ["7", 4, "x"])
def test_an_option_the_choices_do_not_know_is_an_error_of_its_architecture(option):
    arch = Arch.make("toy", {"a": option})
    with pytest.raises(ValueError, match=f"architecture {arch.arch_id} of space toy") as caught:
        encode(CHOICES, [Arch.make("toy", {"a": 3}), arch])
    assert repr(option) in str(caught.value)


def test_symbols_count_the_options_and_absent_where_a_factor_has_room_for_it(depth_space):
    assert symbol_counts(TINY) == [4] * 5
    assert symbol_counts(load_space("proxyless")) == [
        len(choice.options) for choice in load_space("proxyless").choices
    ]
    assert symbol_counts(depth_space) == [3, 2, 3, 4]


def test_the_symbol_after_the_last_option_is_absent(depth_space, depth_codes):
    last = np.array([3, 2, 2, 3])
    symbols = np.where(depth_codes < 0, last, depth_codes).astype(np.int64)
    codes = to_codes(symbols, depth_space)
    assert codes.dtype == np.int16
    assert (codes == depth_codes).all()


def test_a_checked_arch_needs_each_choice_once_with_one_of_its_options():
    good = {f"layer{i}": "identity" for i in range(1, 6)}
    assert checked_arch(TINY, good) == Arch.make("tiny", good)
    bad = {**good, "layer2": "mb9", "layer9": "identity", "depth": 1}
    del bad["layer5"]
    with pytest.raises(InputError) as caught:
        checked_arch(TINY, bad)
    allowed = "identity, mb3_k3, mb3_k5, mb6_k3"
    known = "layer1, layer2, layer3, layer4, layer5"
    assert caught.value.problems == (
        f"unknown choice 'depth'; tiny has {known}",
        f"unknown choice 'layer9'; tiny has {known}",
        f"choice 'layer2' is 'mb9'; allowed: {allowed}",
        f"choice 'layer5' is missing; allowed: {allowed}",
    )
    assert "hwnas spaces show tiny" in caught.value.next_step


@pytest.mark.parametrize("option", [True, 1.0, "1", None, ["identity"], {"a": 1}])
def test_an_option_of_another_type_is_not_the_option_it_equals(option):
    class Toy:
        name, choices = "toy", (Choice("depth", (1, 2)),)

    assert checked_arch(Toy(), {"depth": 1}) == Arch.make("toy", {"depth": 1})
    with pytest.raises(InputError, match=r"choice 'depth' is .*; allowed: 1, 2"):
        checked_arch(Toy(), {"depth": option})
