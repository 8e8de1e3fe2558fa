"""Published networks of the cell spaces, as choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwnas.arch import Arch, Option
from hwnas.protocols import SearchSpace
from hwnas.space.cells.darts import NODES

Genotype = Mapping[str, Sequence[tuple[str, int]]]

DARTS_V2: Genotype = {
    "normal": (
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1),
        ("skip_connect", 0),
        ("skip_connect", 0),
        ("dil_conv_3x3", 2),
    ),
    "reduce": (
        ("max_pool_3x3", 0),
        ("max_pool_3x3", 1),
        ("skip_connect", 2),
        ("max_pool_3x3", 1),
        ("max_pool_3x3", 0),
        ("skip_connect", 2),
        ("skip_connect", 2),
        ("max_pool_3x3", 1),
    ),
}
"""Operation and source of two edges for each node: ``DARTS_V2`` of the published genotypes.py.

The cells of DARTS' second-order search (Liu et al., ICLR 2019, Fig. 4 and 5).
"""


def darts_arch(space: SearchSpace, genotype: Genotype) -> Arch:
    """Return a genotype as an architecture of a ``darts`` space, the edges of a node sorted.

    Raises:
        InputError: the genotype is none of the space: lists what is wrong.
    """
    return space.arch(genotype_choices(genotype))


def genotype_choices(genotype: Genotype) -> dict[str, Option]:
    """Return a genotype as choices of a ``darts`` space, the edges of a node sorted by source."""
    choices: dict[str, Option] = {}
    for cell, edges in genotype.items():
        for place, node in enumerate(NODES):
            pair = sorted(edges[2 * place : 2 * place + 2], key=lambda edge: edge[1])
            for edge, (op, source) in enumerate(pair, start=1):
                choices[f"{cell}.node{node}.edge{edge}.op"] = op
                choices[f"{cell}.node{node}.edge{edge}.source"] = source
    return choices


CELL_ARCHS: Mapping[str, Mapping[str, Mapping[str, Option]]] = {
    "darts": {"darts_v2": genotype_choices(DARTS_V2)},
}
