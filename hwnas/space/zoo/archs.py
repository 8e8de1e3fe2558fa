"""Human-designed and published networks as architectures of the spaces they belong to.

``hwnas search --seed-archs known`` begins with them. A file of networks (``known_chain.py``) adds
its mapping to ``SOURCES``.
"""

from __future__ import annotations

from collections.abc import Mapping

from hwnas.arch import Arch, Option
from hwnas.protocols import SearchSpace
from hwnas.space.zoo.cells import CELL_ARCHS
from hwnas.space.zoo.chain import CHAIN_ARCHS
from hwnas.space.zoo.mobile import MOBILE_ARCHS

KnownArchs = Mapping[str, Mapping[str, Mapping[str, Option]]]
"""Base name of a space (``proxyless``) -> name of a network -> its choices."""

SOURCES: tuple[KnownArchs, ...] = (CHAIN_ARCHS, CELL_ARCHS, MOBILE_ARCHS)


def known_archs(space: SearchSpace) -> dict[str, Arch]:
    """Return the known networks of ``space`` by name; none for a space of a user's own.

    They are codes: in ``fbnet:width_mult=0.5`` FBNet-C is half as wide as published.

    Raises:
        InputError: a network has choices that the space has not (an error of its file).
    """
    base = space.name.partition(":")[0]
    found = {name: choices for source in SOURCES for name, choices in source.get(base, {}).items()}
    return {name: space.arch(choices) for name, choices in found.items()}
