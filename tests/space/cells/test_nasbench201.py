"""NAS-Bench-201's counts, strings and networks, against plain Python and the published files."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.errors import InputError
from hwnas.nn.build import build
from hwnas.ops import OpSpec
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.cells.nasbench201 import (
    EDGES,
    OPERATIONS,
    all_codes,
    from_strings,
    isomorphism_strings,
    to_strings,
    without_dead_edges,
)

DATA = Path(os.environ.get("HWNAS_TEST_DATA", Path(__file__).parents[4] / "shared/data"))
SMALL = "nasbench201:cells=1,channels=4,input_size=8"


def code_of(**edges: str) -> dict[str, str]:
    """Return the choices with ``none`` where nothing is given: ``e01="skip_connect"``."""
    return {f"edge_{start}_{end}": edges.get(f"e{start}{end}", "none") for start, end in EDGES}


def paths_of(code: tuple[int, ...]) -> set[int]:
    """The columns on some path from node 0 to node 3, by listing all eight paths' edges."""
    column = {edge: number for number, edge in enumerate(EDGES)}
    live: set[int] = set()
    for inner in ((), (1,), (2,), (1, 2)):
        edges = [column[pair] for pair in itertools.pairwise((0, *inner, 3))]
        if all(code[edge] for edge in edges):
            live |= set(edges)
    return live


def test_there_are_15625_codes_9445_networks_and_6466_by_the_benchmarks_rule():
    codes = all_codes()
    assert len(np.unique(codes, axis=0)) == len(codes) == 15_625
    assert len(np.unique(load_space("nasbench201").network_keys(codes), axis=0)) == 9_445
    assert len(set(isomorphism_strings(codes))) == 6_466


def test_dead_edges_are_those_on_no_path():
    codes = all_codes()
    canonical = without_dead_edges(codes)
    for code, row in zip(codes.tolist(), canonical.tolist(), strict=True):
        live = paths_of(tuple(code))
        assert row == [option if place in live else 0 for place, option in enumerate(code)]


def test_the_benchmarks_rule_on_cells_by_hand():
    space = load_space("nasbench201")

    def text(**edges: str) -> str:
        return isomorphism_strings(space.encode([space.arch(code_of(**edges))]))[0]

    conv, skip = "nor_conv_3x3", "skip_connect"
    # a skip hands its node on, so a node behind it may do the work, or the one before it
    assert text(e01=conv, e13=skip) == text(e01=skip, e13=conv) == "#+#+(0)@nor_conv_3x3"
    # but zeros stay in a node's sum: the same work by the other node is another text
    assert text(e02=conv, e23=skip) == "#+#+#+(0)@nor_conv_3x3"
    full = {"e01": skip, "e02": conv, "e12": skip, "e03": conv, "e13": conv, "e23": skip}
    assert text(**full) == "(0)@nor_conv_3x3+(0)@nor_conv_3x3+(0)@nor_conv_3x3+0"
    assert text(e03=conv) == text(e03=conv, e12=conv)
    assert text(e03=conv) != text(e03="nor_conv_1x1")
    # node 2 is a sum of two zeros, which the rule does not know as zero
    assert text(e03=conv) != text(e03=conv, e23=conv)


def test_strings_are_the_benchmarks_and_come_back():
    published = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    codes = from_strings([published])
    assert codes.tolist() == [[3, 0, 1, 4, 2, 0]]
    assert to_strings(codes).tolist() == [published]
    everything = all_codes()
    np.testing.assert_array_equal(from_strings(to_strings(everything)), everything)
    assert from_strings([]).shape == (0, 6)


def test_the_published_files_hold_every_cell_once():
    path = DATA / "device-latency" / "nasbench201.npz"
    if not path.exists():
        pytest.skip(f"{path} is not there (HWNAS_TEST_DATA names the folder of public data)")
    strings = np.load(path, allow_pickle=False)["arch"]
    codes = from_strings(strings)
    assert len(np.unique(codes, axis=0)) == 15_625
    np.testing.assert_array_equal(to_strings(codes), strings)


@pytest.mark.parametrize(
    "wrong",
    [
        "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~0|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2",
        "|none~0|none~0|none~1|none~0|none~1|none~2|",
        "none",
        "",
    ],
)
def test_other_strings_are_refused_with_their_place(wrong):
    good = to_strings(all_codes()[:3]).tolist()
    with pytest.raises(InputError, match="1 of 4") as caught:
        from_strings([*good, wrong])
    assert f"string 3: {wrong!r}" in str(caught.value)
    assert all(name in str(caught.value) for name in OPERATIONS)


def test_the_smallest_and_largest_network_have_the_benchmarks_parameters():
    space = load_space("nasbench201")
    sizes = [
        sum(op.params for op in space.layers(space.arch(code_of(**edges))))
        for edges in ({}, {f"e{start}{end}": "nor_conv_3x3" for start, end in EDGES})
    ]
    # as NAS-Bench-201's own code counts them: 0.073306 and 1.531546 million
    assert sizes == [73_306, 1_531_546]


def ops_of_cell(**edges: str) -> list[str]:
    """The operations of the first cell of a small space, as text without shapes."""
    space = load_space(SMALL)
    layers = space.layers(space.arch(code_of(**edges)))
    end = layers.index(OpSpec.make("preact_residual", (4, 8, 8), 8, stride=2))
    return [f"{op.kind}{op.attrs[0][1] if op.attrs else ''}" for op in layers[1:end]]


def test_only_live_edges_are_executed_and_nodes_sum_what_enters_them():
    conv, skip = "nor_conv_3x3", "skip_connect"
    assert ops_of_cell() == ["zero"]
    assert ops_of_cell(e01=conv, e02=conv, e12=conv) == ["zero"]
    assert ops_of_cell(e03=skip) == []
    assert ops_of_cell(e01=skip, e03=skip, e13=skip) == ["add2"]
    assert ops_of_cell(e01=conv, e13="avg_pool_3x3", e02=conv) == ["preact_conv3", "poolavg"]
    assert ops_of_cell(e02="nor_conv_1x1", e12=conv, e23=conv, e03=conv) == [
        "preact_conv1",
        "preact_conv3",
        "preact_conv3",
        "add2",
    ]
    assert sorted(ops_of_cell(**{f"e{a}{b}": conv for a, b in EDGES})) == [
        "add2",
        "add3",
        *["preact_conv3"] * 6,
    ]


def reference_cell(
    code: list[int], edges: dict[int, torch.nn.Module], x: torch.Tensor
) -> torch.Tensor:
    """The cell as the paper describes it: node j is the sum over i < j of edge (i, j)'s output."""
    nodes = [x]
    for node in range(1, 4):
        total = torch.zeros_like(x)
        for column, (start, end) in enumerate(EDGES):
            if end == node and code[column] == 1:
                total = total + nodes[start]
            elif end == node and code[column]:
                total = total + edges[column](nodes[start])
        nodes.append(total)
    return nodes[3]


@torch.no_grad()
def test_networks_compute_the_papers_cell():
    """Canonical cells, one a stage, against a plain evaluation with the same modules."""
    space = load_space(SMALL)
    codes = np.unique(
        without_dead_edges(stream(0, "cells").integers(5, size=(40, 6)).astype(np.int16)), axis=0
    )
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for arch, code in zip(space.decode(codes), codes.tolist(), strict=True):
        network = build(space, arch, seed=3).eval()
        modules = iter(network.children())
        x = next(modules)(images)
        for stage in range(3):
            if stage:
                x = next(modules)(x)
            # modules of the cell in their order: node by node its edges, then its sum
            edges, cell_input = {}, x
            for node in range(1, 4):
                entering = [c for c, (_, end) in enumerate(EDGES) if end == node and code[c]]
                edges.update({c: next(modules) for c in entering if code[c] > 1})
                if len(entering) > 1:
                    next(modules)
            if not any(code):
                next(modules)
            x = reference_cell(code, edges, cell_input)
        torch.testing.assert_close(network(images), next(modules)(x))
        assert next(modules, None) is None


def test_macs_are_fvcores(count_macs):
    space = load_space(SMALL)
    codes = stream(1, "cells").integers(5, size=(8, 6)).astype(np.int16)
    for arch in space.decode(codes):
        network = build(space, arch)
        assert sum(op.macs for op in space.layers(arch)) == count_macs(network, (3, 8, 8))
        assert sum(op.params for op in space.layers(arch)) == sum(
            p.numel() for p in network.parameters()
        )


def test_factors_name_just_the_choices_that_decide_them():
    space = load_space(SMALL)
    assert [f.choices for f in space.factors()[1:9]] == [
        (0, 2, 4, 5),  # edge 0 1
        (1, 5),
        (0, 2, 5),
        (0, 1, 2, 5),  # edges 0 2 and 1 2, their sum
        (3,),
        (0, 4),
        (0, 1, 2, 5),
        (0, 1, 2, 3, 4, 5),
    ]  # edges to the output, their sum


def test_factors_are_in_the_order_of_execution():
    space = load_space(SMALL)
    codes = stream(2, "cells").integers(5, size=(50, 6)).astype(np.int16)
    for arch, row in zip(space.decode(codes), codes, strict=True):
        picked = [f.ops[tuple(row[c] for c in f.choices)] for f in space.factors()]
        assert tuple(op for op in picked if op is not None) == space.layers(arch)


def test_parameters_of_the_space_reach_the_network():
    space = load_space("nasbench201:cells=2,channels=6,input_size=21,num_classes=7")
    layers = space.layers(space.arch(code_of(e03="nor_conv_1x1")))
    assert [op.in_shape for op in layers if op.kind == "preact_conv"] == [(6, 21, 21)] * 2 + [
        (12, 11, 11)
    ] * 2 + [(24, 6, 6)] * 2
    assert layers[-1].out_channels == 7
