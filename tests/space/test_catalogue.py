"""Spaces by name: one canonical spelling each, and every wrong name told what would be right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.errors import InputError
from hwnas.space.catalogue import SPACES, load_space, with_params

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "my_space.yaml")


@pytest.mark.parametrize("name", SPACES)
def test_the_bare_name_is_canonical_and_the_defaults_are_left_out(name):
    defaults = SPACES[name].defaults
    assert load_space(name).name == name
    spelt = ",".join(f"{key}={value}" for key, value in reversed(defaults.items()))
    assert load_space(f"{name}:{spelt}").name == name
    assert SPACES[name].help


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("tiny:num_classes=5", "tiny:num_classes=5"),
        ("tiny:num_classes=5,input_size=64", "tiny:input_size=64,num_classes=5"),
        ("tiny:num_classes=05", "tiny:num_classes=5"),
        ("macro-cifar:stem_channels=16,num_classes=10", "macro-cifar:stem_channels=16"),
        ("proxyless:width_mult=1", "proxyless"),
        ("proxyless:width_mult=1.40", "proxyless:width_mult=1.4"),
    ],
)
def test_every_spelling_has_one_canonical_name_that_loads_the_same_space(given, canonical):
    space = load_space(given)
    assert space.name == canonical
    again = load_space(canonical)
    assert again.name == canonical
    assert again.choices == space.choices
    first = {choice.name: choice.options[0] for choice in space.choices}
    assert again.layers(again.arch(first)) == space.layers(space.arch(first))


def test_parameters_reach_the_network():
    space = load_space("proxyless:input_size=96,num_classes=7,width_mult=1.4")
    arch = space.arch({choice.name: "k3_e6" for choice in space.choices})
    stem, *_, head = space.layers(arch)
    assert (space.input_shape, space.num_classes) == ((3, 96, 96), 7)
    assert (stem.in_shape, stem.out_channels) == ((3, 96, 96), 48)  # 44.8 to a multiple of 8
    assert (head.in_shape, head["hidden"], head.out_channels) == ((448, 3, 3), 1792, 7)
    narrow = load_space("proxyless:width_mult=0.5")
    # as in MobileNetV2, the head does not shrink
    assert narrow.layers(arch)[-1]["hidden"] == 1280


@pytest.mark.parametrize(
    ("name", "problems"),
    [
        ("tinny", ["there is no space 'tinny'; known: tiny, macro-cifar, proxyless"]),
        ("tiny:classes=5", ["'classes=5' is not one of its parameters; they are input_size=32"]),
        ("tiny:num_classes=1", ["num_classes must be between 2 and 100000, got 1"]),
        ("tiny:num_classes=x", ["num_classes must be a number, got 'x'"]),
        ("tiny:num_classes=5.5", ["num_classes must be a number, got '5.5'"]),
        ("tiny:num_classes=", ["num_classes must be a number, got ''"]),
        ("proxyless:width_mult=nan", ["width_mult must be between 0.1 and 4, got nan"]),
        ("tiny:num_classes=5,num_classes=6", ["num_classes is given twice"]),
        (
            "tiny:input_size=1,depth=3,num_classes=x",
            ["input_size must be between 8", "'depth=3' is not one", "num_classes must be a num"],
        ),
    ],
)
def test_a_wrong_name_is_told_all_that_is_wrong_with_it(name, problems):
    with pytest.raises(InputError) as caught:
        load_space(name)
    assert len(caught.value.problems) == len(problems)
    for told, expected in zip(caught.value.problems, problems, strict=True):
        assert told.startswith(expected)


def test_with_params_sets_and_replaces():
    assert with_params("tiny", num_classes=5) == "tiny:num_classes=5"
    assert with_params("tiny:num_classes=5", num_classes=10) == "tiny"
    assert with_params("tiny:num_classes=5", input_size=48) == "tiny:input_size=48,num_classes=5"
    assert with_params("my.yaml:num_classes=5", input_size=48) == (
        "my.yaml:input_size=48,num_classes=5"
    )
    assert with_params("my.yaml", num_classes=5) == "my.yaml:num_classes=5"


def test_a_file_is_a_space_and_its_sizes_can_be_replaced():
    space = load_space(EXAMPLE)
    other = load_space(with_params(EXAMPLE, num_classes=3, input_size=32))
    assert (space.input_shape, space.num_classes) == ((3, 64, 64), 10)
    assert (other.input_shape, other.num_classes) == ((3, 32, 32), 3)
    assert space.choices == other.choices
    assert space.name != other.name
    with pytest.raises(InputError, match="'width_mult=1' is not one of its parameters"):
        load_space(f"{EXAMPLE}:width_mult=1")
    with pytest.raises(InputError, match="there is no such file"):
        load_space("absent.yaml")


def test_spaces_work_without_torch():
    code = (
        "import sys\n"
        "from hwnas.space.catalogue import SPACES, load_space\n"
        "from hwnas.space.zoo.layers import KNOWN\n"
        "for name in SPACES: load_space(name).factors()\n"
        "for make in KNOWN.values(): make()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
