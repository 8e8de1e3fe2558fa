"""DARTS' space: the published network's parameters, sources of nodes, what a cell computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwnas.errors import InputError
from hwnas.nn.build import build
from hwnas.rng import stream
from hwnas.space.catalogue import load_space
from hwnas.space.cells.darts import CELLS, NODES, Darts
from hwnas.space.zoo.archs import known_archs
from hwnas.space.zoo.cells import DARTS_V2, darts_arch

SMALL = "darts:cells=3,channels=4,input_size=12"


@pytest.fixture(scope="module")
def small() -> Darts:
    return load_space(SMALL)  # type: ignore[return-value]


def test_darts_v2_has_the_published_parameters():
    space = load_space("darts")
    # 3,349,342 by the published code at 20 cells and 36 channels, without the auxiliary head
    assert sum(op.params for op in space.layers(darts_arch(space, DARTS_V2))) == 3_349_342


def test_there_are_as_many_codes_as_the_paper_counts(small):
    # C(k, 2) pairs of sources for the k = 2..5 earlier outputs and 7 x 7 operations, two cells
    pairs = 1 * 3 * 6 * 10
    sizes = np.array([len(choice.options) for choice in small.choices])
    wild = stream(0, "darts").integers(sizes, size=(4000, len(sizes))).astype(np.int16)
    sources = small.repair(wild)[:, 1::2]
    assert len(np.unique(sources[:, :8], axis=0)) == pairs
    assert len(np.unique(sources[:, 8:], axis=0)) == pairs


def test_repair_swaps_what_is_out_of_order_and_parts_what_is_equal(small):
    code = small.encode([darts_arch(small, DARTS_V2)])[0]
    column = 4 * NODES.index(4)  # normal.node4: op, source, op, source

    def mended(*four: int) -> list[int]:
        row = code.copy()
        row[column : column + 4] = four
        fixed = small.repair(row[None])[0]
        assert np.array_equal(
            np.delete(fixed, range(column, column + 4)), np.delete(row, range(column, column + 4))
        )
        return fixed[column : column + 4].tolist()

    # indices of edge 2 stand for the source one above
    assert mended(3, 0, 4, 2) == [3, 0, 4, 2]  # sources 0 and 3
    assert mended(3, 2, 4, 0) == [4, 1, 3, 1]  # 2 and 1: swapped with their operations
    assert mended(3, 1, 4, 0) == [3, 1, 4, 1]  # 1 and 1: 1 and 2
    assert mended(3, 3 - 1, 4, 2) == [3, 2, 4, 2]  # 2 and 3
    assert mended(-1, -1, -1, -1) == [0, 0, 0, 0]


def test_equal_or_unsorted_sources_are_refused_all_at_once(small):
    good = dict(darts_arch(small, DARTS_V2).choices)
    bad = {
        **good,
        "normal.node5.edge1.source": 3,
        "normal.node5.edge2.source": 3,
        "reduce.node4.edge1.source": 2,
        "reduce.node4.edge2.source": 1,
    }
    with pytest.raises(InputError) as caught:
        small.arch(bad)
    text = str(caught.value)
    assert len(caught.value.problems) == 2
    assert "normal.node5" in text
    assert "got 3 and 3" in text
    assert "reduce.node4" in text
    assert "got 2 and 1" in text


def reference(network: torch.nn.Module, space: Darts, arch, images: torch.Tensor) -> torch.Tensor:
    """The network as the paper describes it, of the same modules taken one after the other."""
    modules = iter(network.children())
    before = last = next(modules)(images)
    for place in space._row:
        outputs = [next(modules)(before), next(modules)(last)]
        for node in NODES:
            total = 0
            for edge in (1, 2):
                name = f"{place.kind}.node{node}.edge{edge}"
                source = int(arch.choices[f"{name}.source"])
                is_strided = place.kind == "reduce" and source < 2
                is_nothing = arch.choices[f"{name}.op"] == "skip_connect" and not is_strided
                value = outputs[source] if is_nothing else next(modules)(outputs[source])
                total = total + value
            next(modules)  # the sum
            outputs.append(total)
        next(modules)  # the concatenation
        before, last = last, torch.cat(outputs[2:], dim=1)
    logits = next(modules)(last)
    assert next(modules, None) is None
    return logits


@torch.no_grad()
def test_networks_compute_the_papers_cells(small):
    sizes = [len(choice.options) for choice in small.choices]
    codes = small.repair(stream(1, "darts").integers(sizes, size=(6, len(sizes))).astype(np.int16))
    images = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for arch in [darts_arch(small, DARTS_V2), *small.decode(codes)]:
        network = build(small, arch, seed=2).eval()
        torch.testing.assert_close(network(images), reference(network, small, arch, images))


def test_macs_and_parameters_are_those_of_the_network(small, count_macs):
    arch = darts_arch(small, DARTS_V2)
    network = build(small, arch)
    assert sum(op.macs for op in small.layers(arch)) == count_macs(network, (3, 12, 12))
    assert sum(op.params for op in small.layers(arch)) == sum(
        p.numel() for p in network.parameters()
    )


@pytest.mark.parametrize(
    ("cells", "reductions"), [(1, [0]), (2, [0, 1]), (3, [1, 2]), (8, [2, 5]), (20, [6, 13])]
)
def test_reductions_are_at_a_third_and_two_thirds(cells, reductions):
    row = load_space(f"darts:cells={cells},channels=2")._row  # type: ignore[attr-defined]
    assert [n for n, place in enumerate(row) if place.kind == "reduce"] == reductions
    assert row[-1].out_shape[1:] == ((32 >> len(reductions),) * 2)
    assert {place.kind for place in row} <= set(CELLS)


def test_odd_images_are_halved_upwards():
    space = load_space("darts:cells=3,channels=2,input_size=13")
    arch = darts_arch(space, DARTS_V2)
    assert build(space, arch).eval()(torch.zeros(1, 3, 13, 13)).shape == (1, 10)
    assert space.layers(arch)[-1].in_shape == (4 * 8, 4, 4)


def test_the_published_genotype_is_among_the_known_networks():
    space = load_space("darts")
    assert known_archs(space) == {"darts_v2": darts_arch(space, DARTS_V2)}


@pytest.mark.parametrize(("cells", "networks"), [(1, 1), (2, 1), (3, 2)])
def test_a_cell_that_the_row_lacks_makes_no_other_network(cells, networks):
    space = load_space(f"darts:cells={cells},channels=4")
    code = space.repair(np.zeros((1, 32), dtype=np.int16))
    other = code.copy()
    other[
        0, space.choices.index(next(c for c in space.choices if c.name == "normal.node2.edge1.op"))
    ] = 3
    codes = np.concatenate([code, other])
    assert len({space.layers(arch) for arch in space.decode(codes)}) == networks
    assert len({space.network_id(arch) for arch in space.decode(codes)}) == networks
    assert len(np.unique(space.network_keys(codes), axis=0)) == networks
