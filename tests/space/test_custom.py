"""A user's own space in YAML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hwnas.errors import InputError
from hwnas.space.catalogue import load_space
from hwnas.space.custom import load_chain_space

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_space.yaml"

TINY = """
schema: 1
name: my-tiny
input_size: 32
num_classes: 10
stem: {width: 8, stride: 1, act: relu}
options:
  identity: {kind: identity}
  mb3_k3: {kind: mbconv, kernel: 3, expand: 3, act: relu}
  mb3_k5: {kind: mbconv, kernel: 5, expand: 3, act: relu}
  mb6_k3: {kind: mbconv, kernel: 3, expand: 6, act: relu}
stages:
  - {width: 16, layers: 1, stride: 2, options: &all [identity, mb3_k3, mb3_k5, mb6_k3]}
  - {width: 16, layers: 1, stride: 1, options: *all}
  - {width: 32, layers: 1, stride: 2, options: *all}
  - {width: 32, layers: 1, stride: 1, options: *all}
  - {width: 64, layers: 1, stride: 2, options: *all}
head: {hidden: 128, act: relu}
"""


@pytest.fixture
def write(tmp_path):
    """Write TINY with some of its keys replaced, and return the path."""

    def write(text: str = TINY, **changes: object) -> Path:
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(text), **changes}))
        return path

    return write


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        load_chain_space(path)
    assert caught.value.what == str(path)
    return caught.value.problems


def test_the_description_of_tiny_gives_tinys_operations(write):
    mine, built_in = load_chain_space(write()), load_space("tiny")
    assert mine.choices == built_in.choices
    assert mine.input_shape == built_in.input_shape
    for own, other in zip(mine.factors(), built_in.factors(), strict=True):
        assert own.choices == other.choices
        assert own.ops.tolist() == other.ops.tolist()


def test_the_example_says_what_its_comments_say():
    space = load_chain_space(EXAMPLE)
    arch = space.arch(
        {
            "layer1": "conv3",
            "layer2": "skip",
            "layer3": "mb4_k3_se",
            "layer4": "mb6_k5",
            "layer5": "skip",
            "layer6": "mb3_k3",
            "layer7": "skip",
        }
    )
    assert [str(op) for op in space.layers(arch)] == [
        "conv 3x64x64->16 act=hswish kernel=3 stride=2",
        "mbconv 16x32x32->16 expand=False hidden=16 kernel=3 residual=True",
        "conv 16x32x32->24 act=relu kernel=3 stride=2",
        "mbconv 24x16x16->40 act=hswish hidden=96 kernel=3 se_width=24 stride=2",
        "mbconv 40x8x8->40 act=relu hidden=240 kernel=5 residual=True",
        "mbconv 40x8x8->80 act=relu hidden=120 kernel=3 stride=2",
        "head 80x4x4->10 act=hswish features=320 hidden=240",
    ]
    assert "skip" not in space.choices[0].options
    assert "skip" in space.choices[1].options


def test_names_differ_exactly_when_descriptions_do(write, tmp_path):
    name = load_chain_space(write()).name
    assert re.fullmatch(r"my-tiny@[0-9a-f]{8}", name)
    other_text = tmp_path / "commented.yaml"
    other_text.write_text("# a comment\n" + TINY.replace("num_classes: 10", "num_classes:   10"))
    assert load_chain_space(other_text).name == name
    assert load_chain_space(write(), num_classes=10, input_size=32).name == name
    others = [
        load_chain_space(write(), num_classes=5).name,
        load_chain_space(write(), input_size=64).name,
        load_chain_space(write(head={"hidden": 64, "act": "relu"})).name,
        load_chain_space(write(stem={"width": 8, "stride": 1, "act": "relu6"})).name,
    ]
    assert len({name, *others}) == 5


def test_replaced_sizes_reach_the_network(write):
    space = load_chain_space(write(), num_classes=3, input_size=48)
    layers = space.layers(space.arch({c.name: "mb3_k3" for c in space.choices}))
    assert layers[0].in_shape == space.input_shape == (3, 48, 48)
    assert layers[-1].out_channels == space.num_classes == 3


def test_layers_are_called_what_the_file_says(write):
    assert [c.name for c in load_chain_space(write(layer_name="block")).choices][:2] == [
        "block1",
        "block2",
    ]


def test_all_problems_of_a_file_are_told_at_once(write):
    found = problems(
        write(
            name="My Space",
            input_size="32",
            stem={"widht": 8},
            options={"a": {"kind": "mbconv", "kernel": 4, "expand": 3}, "b": {"kind": "pool"}},
        )
    )
    assert len(found) == 6
    text = "\n".join(found)
    for place in (
        "name: ",
        "input_size: ",
        "stem.width: is required and missing",
        "stem.widht: unknown key; did you mean 'width'?",
        "options.a",
        "options.b",
    ):
        assert place in text


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (
            {"width": 8, "options": ["mb3_k3", "mb9"]},
            "stages.0: option 'mb9' is not under options; those are identity, mb3_k3",
        ),
        ({"width": 8, "fixed": "mb9"}, "stages.0: option 'mb9' is not under options"),
        ({"width": 8}, "stages.0: needs either options (a choice) or fixed (none)"),
        ({"width": 8, "options": ["mb3_k3"], "fixed": "mb3_k3"}, "stages.0: needs either options"),
        ({"width": 8, "options": ["mb3_k3", "mb3_k3"]}, "stages.0: an option is named twice"),
        (
            {"width": 8, "options": ["mb3_k3"], "same_shape_options": ["mb3_k3"]},
            "stages.0: an option is named twice",
        ),
        ({"width": 8, "fixed": "mb3_k3"}, "stages: no stage offers a choice"),
    ],
)
def test_a_stage_that_means_nothing_is_refused(write, stage, told):
    assert any(problem.startswith(told) for problem in problems(write(stages=[stage])))


def test_an_operation_that_cannot_exist_is_refused_when_the_file_is_read(write):
    options = {"grouped": {"kind": "conv", "kernel": 3, "groups": 3}}
    found = problems(write(options=options, stages=[{"width": 16, "options": ["grouped"]}]))
    assert found == (
        "describes an impossible operation: groups=3 must divide 8 input and 16 output channels",
    )


def test_a_space_needs_stages(write):
    assert problems(write(stages=[]))[0].startswith("stages: ")
