"""Space ``mobile``: published networks as its codes, what exists when, additivity, its graph."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.additive.graph import build_graph
from hwnas.additive.optimum import cheapest, dearest
from hwnas.errors import InputError
from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.problem.limits import counted_terms
from hwnas.space.catalogue import load_space
from hwnas.space.codes import symbol_counts, to_codes
from hwnas.space.mobile.blocks import EXISTING, BlockOptions
from hwnas.space.mobile.space import MobileSpace
from hwnas.space.zoo.archs import known_archs
from hwnas.space.zoo.layers import KNOWN


@pytest.fixture(scope="module")
def space() -> MobileSpace:
    return load_space("mobile:num_classes=10")


def random_codes(space: MobileSpace, count: int) -> Codes:
    sizes = [len(choice.options) for choice in space.choices]
    wild = stream(5, "mobile").integers(sizes, size=(count, len(sizes))).astype(np.int16)
    return space.repair(wild)


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_network_is_a_code(space, name):
    assert space.layers(known_archs(space)[name]) == KNOWN[name](num_classes=10)


def test_a_choice_exists_just_where_its_stage_block_and_family_do(space):
    for arch in space.decode(random_codes(space, 50)):
        chosen = arch.choices
        for number, stage in enumerate(space.stages, start=1):
            depth = chosen[f"stage{number}.depth"]
            assert (f"stage{number}.width" in chosen) == (depth > 0)
            assert chosen.get(f"stage{number}.stride", stage.stride) == stage.stride
            for block in range(1, max(stage.depths) + 1):
                prefix = f"stage{number}.block{block}."
                names = {name.removeprefix(prefix) for name in chosen if name.startswith(prefix)}
                if block > depth:
                    assert not names
                    continue
                has = EXISTING[chosen[f"{prefix}family"]]
                wanted = [
                    name
                    for name, there in zip(
                        ("kernel_start", "kernel_size", "hidden", "se", "act"), has, strict=True
                    )
                    if there
                ]
                assert names == {"family", *wanted}


def test_layers_are_the_options_by_hand(space):
    # MobileNetV3-Small's third stage: 40 channels, the first block strides and squeezes 96 to 24
    arch = known_archs(space)["mobilenet_v3_small"]
    op = space.layers(arch)[4]
    assert (op.kind, op.in_shape, op.out_channels) == ("mbconv", (24, 28, 28), 40)
    assert {name: op[name] for name in ("kernel", "stride", "hidden", "se_width", "act")} == {
        "kernel": 5,
        "stride": 2,
        "hidden": 96,
        "se_width": 24,
        "act": "hswish",
    }


def test_stages_of_one_width_that_share_their_blocks_in_two_ways_are_one_network(space):
    arch = known_archs(space)["mobilenet_v2"]
    chosen = dict(arch.choices)
    chosen["stage5.width"] = chosen["stage4.width"] = 96
    for name in ("hidden", "act", "kernel_size", "se"):
        for place in (
            "stage4.block3",
            "stage4.block4",
            "stage5.block1",
            "stage5.block2",
            "stage5.block3",
        ):
            chosen[f"{place}.{name}"] = {
                "hidden": "6",
                "act": "relu6",
                "kernel_size": 3,
                "se": "none",
            }[name]
    first = space.arch(chosen)
    moved = {**chosen, "stage4.depth": 6, "stage5.depth": 0}  # 4 + 3 blocks against 6: not the same
    moved |= {
        name.replace("block3", block): value
        for name, value in chosen.items()
        for block in ("block5", "block6")
        if name.startswith("stage4.block3")
    }
    moved = {
        name: value
        for name, value in moved.items()
        if not name.startswith("stage5.") or name == "stage5.depth"
    }
    shorter = {
        name: value for name, value in chosen.items() if not name.startswith("stage5.block3")
    } | {"stage5.depth": 2}
    other, same = space.arch(moved), space.arch(shorter)
    assert other.arch_id != same.arch_id
    assert space.network_id(other) == space.network_id(same) != space.network_id(first)
    keys = space.network_keys(space.encode([other, same, first]))
    assert (keys[0] == keys[1]).all()
    assert (keys[0] != keys[2]).any()


def test_wrong_families_and_choices_that_do_not_exist_are_all_told(space):
    chosen = dict(known_archs(space)["mobilenet_v3_large"].choices)
    chosen["stage4.block2.kernel_start"] = 3  # an mbconv has none
    chosen["stage2.block1.family"] = "mqa"  # a first block strides
    chosen["stage7.width"] = 320  # stage 7 is absent
    with pytest.raises(InputError) as caught:
        space.arch(chosen)
    assert [problem.split("'")[1] for problem in caught.value.problems] == [
        "stage2.block1.family",
        "stage4.block2.kernel_start",
        "stage7.width",
    ]


def test_a_graph_holds_the_space_and_its_extremes_are_those_of_codes(space):
    terms = counted_terms(space, "params")
    graph = build_graph(symbol_counts(space), [terms])
    assert max(graph.num_states(step) for step in range(len(graph.steps))) <= 150_000
    ends = to_codes(np.array([cheapest(graph, 0).code, dearest(graph, 0).code]), space)
    smallest, largest = (sum(op.params for op in space.layers(arch)) for arch in space.decode(ends))
    sums = [
        sum(op.params for op in space.layers(arch))
        for arch in space.decode(random_codes(space, 30))
    ]
    assert smallest < min(sums) < max(sums) < largest
    for codes in (ends, random_codes(space, 10)):
        np.testing.assert_array_equal(space.repair(codes), codes)


def test_attention_neither_strides_nor_changes_the_width():
    with pytest.raises(ValueError, match="mqa has stride 1"):
        BlockOptions("mqa").op((64, 14, 14), 64, 2, 1)
    with pytest.raises(ValueError, match="mqa keeps its channels"):
        BlockOptions("mqa").op((64, 14, 14), 80, 1, 1)
    with pytest.raises(ValueError, match="ffn needs hidden and act"):
        BlockOptions("ffn").op((64, 14, 14), 64, 1, 1)
