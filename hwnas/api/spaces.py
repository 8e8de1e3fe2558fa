"""Search spaces as users see them: their choices, architectures, sizes and uniform samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term, sum_of_terms
from hwnas.arch import Arch, Choice, Option
from hwnas.errors import InputError, UsageError
from hwnas.io.html import facts_html
from hwnas.ops import OpSpec, Shape
from hwnas.protocols import Codes, SearchSpace
from hwnas.rng import stream
from hwnas.search.problem.limits import counted_terms
from hwnas.space import catalogue
from hwnas.space.zoo.archs import known_archs

if TYPE_CHECKING:
    from hwnas.api.latency import LatencyModel
    from hwnas.api.problem import Limits

SpaceLike: TypeAlias = "Space | SearchSpace | str | Path"
"""A space, an object that implements the Protocol ``SearchSpace``, a name, or a YAML file."""


class Space:
    """A search space; made by :func:`load_space`.

    It wraps any object that implements the Protocol ``SearchSpace``, which is its ``definition``,
    so spaces of plugins have the same methods. Spaces are equal where their names are.

    Example:
        >>> import hwnas
        >>> space = hwnas.load_space("tiny")
        >>> space
        Space('tiny', 5 choices, 1,024 architectures, input 3x32x32, 10 classes)
        >>> space.choices[0].options
        ('identity', 'mb3_k3', 'mb3_k5', 'mb6_k3')
    """

    def __init__(self, definition: SearchSpace) -> None:
        self.definition = definition

    @property
    def name(self) -> str:
        """The canonical name, as architecture files and tables carry it."""
        return self.definition.name

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The decisions, each with its options, in the order of the columns of :meth:`encode`."""
        return self.definition.choices

    @property
    def input_shape(self) -> Shape:
        """The largest input image, ``(channels, height, width)``."""
        return self.definition.input_shape

    @property
    def num_classes(self) -> int:
        """The width of the classifier."""
        return self.definition.num_classes

    @cached_property
    def num_archs(self) -> int:
        """The exact number of architectures; several of them can build the same network."""
        from hwnas.api.problem import make_problem

        return make_problem(self, {}).limited.num_codes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Space({self.name!r}, {self._sizes()})"

    def _sizes(self) -> str:
        number = f"{self.num_archs:,}" if self.num_archs < 10**9 else f"{self.num_archs:.3g}"
        size = "x".join(map(str, self.input_shape))
        return (
            f"{len(self.choices)} choices, {number} architectures, input {size}, "
            f"{self.num_classes} classes"
        )

    def _repr_html_(self) -> str:
        options = {choice.name: " ".join(map(str, choice.options)) for choice in self.choices}
        return facts_html(f"{self.name}: {self._sizes()}", options)

    def arch(self, choices: Mapping[str, Option]) -> Arch:
        """Return the architecture with these options, one for every choice that exists in it.

        Raises:
            InputError: lists every unknown, missing or impossible choice.

        Example:
            >>> import hwnas
            >>> space = hwnas.load_space("tiny")
            >>> arch = space.arch({choice.name: "mb3_k3" for choice in space.choices})
            >>> arch.choices["layer1"]
            'mb3_k3'
        """
        return self.definition.arch(choices)

    def known_archs(self) -> dict[str, Arch]:
        """Return published networks that are architectures of this space, by name.

        Example:
            >>> import hwnas
            >>> sorted(hwnas.load_space("proxyless").known_archs())[0]
            'proxyless_mobile_24'
        """
        return known_archs(self.definition)

    def layers(self, arch: Arch) -> tuple[OpSpec, ...]:
        """Return the operations of a network in order of execution, with shapes and MACs.

        Example:
            >>> import hwnas
            >>> space = hwnas.load_space("tiny")
            >>> [arch] = space.sample(1, seed=0)
            >>> space.layers(arch)[0].kind
            'conv'
        """
        self.check([arch])
        return self.definition.layers(arch)

    def network_id(self, arch: Arch) -> str:
        """Return the id of the network that ``arch`` builds: 16 hex digits."""
        return self.definition.network_id(arch)

    def macs(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` multiply-accumulates of one image."""
        return sum_of_terms(self._counted("macs"), self.encode(archs))

    def params(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` numbers of parameters.

        Example:
            >>> import hwnas
            >>> space = hwnas.load_space("tiny")
            >>> space.params(space.sample(3, seed=0)).shape
            (3,)
        """
        return sum_of_terms(self._counted("params"), self.encode(archs))

    @cached_property
    def _terms(self) -> dict[str, tuple[Term, ...]]:
        return {}

    def _counted(self, metric: str) -> tuple[Term, ...]:
        if metric not in self._terms:
            self._terms[metric] = counted_terms(self.definition, metric)
        return self._terms[metric]

    def encode(self, archs: Sequence[Arch]) -> Codes:
        """Return ``(num_archs, num_choices)`` option indices, int16; -1 where a choice is absent.

        Raises:
            InputError: an architecture is of another space.
        """
        self.check(archs)
        return self.definition.encode(archs)

    def decode(self, codes: Codes) -> list[Arch]:
        """Return the architectures of ``(num_archs, num_choices)`` option indices."""
        return self.definition.decode(codes)

    def check(self, archs: Sequence[Arch]) -> None:
        """Raise InputError unless every architecture is of this space."""
        others = sorted({arch.space for arch in archs} - {self.name})
        if others:
            raise InputError(
                f"architectures of {self.name}",
                [f"got architectures of space {name!r}" for name in others],
                "load the space they are of, or build them with space.arch(arch.choices)",
            )

    def sample(
        self,
        count: int,
        *,
        latency: LatencyModel | None = None,
        max_ms: float | None = None,
        limits: Limits | None = None,
        distinct: bool = False,
        seed: int = 0,
    ) -> list[Arch]:
        """Return ``count`` architectures, exactly uniform over those within the limits.

        Draws are independent, so an architecture can come twice. ``latency`` and ``max_ms`` are
        short for a ``limits`` of one latency. With ``distinct`` no network comes twice, and fewer
        come back where there are fewer.

        Raises:
            UsageError: one of ``latency`` and ``max_ms`` is given without the other.
            InfeasibleError: no network meets the limits; names the fastest.

        Example:
            >>> import hwnas
            >>> space = hwnas.load_space("tiny")
            >>> latency = hwnas.latency_model(space, "table.json")
            >>> archs = space.sample(100, latency=latency, max_ms=0.08, seed=0)
            >>> len(archs), bool(latency.predict(archs).max() <= 0.08)
            (100, True)
        """
        from hwnas.api.problem import Limits, make_problem

        if (latency is None) != (max_ms is None):
            raise UsageError("latency and max_ms belong together. Next: give both, or neither")
        if count < 0:
            raise UsageError(f"count must be 0 or more, got {count}")
        asked = Limits()
        if latency is not None and max_ms is not None:
            asked["latency_ms"] = (latency, max_ms)
            if limits and "latency_ms" in limits:
                raise UsageError(
                    "a latency is limited twice: by latency and max_ms, and by limits. "
                    "Next: put all latency limits into limits, as a list"
                )
        asked.update(limits or {})
        problem = make_problem(self, asked)
        problem.check()
        if distinct:
            from hwnas.search.strategies.random_search import RandomSearch  # scipy takes a while

            return self.decode(RandomSearch(problem.feasible, seed, low_share=0.0).ask_codes(count))
        return self.decode(problem.feasible.sample(count, stream(seed, "sample")))


def as_space(space: SpaceLike) -> Space:
    """Return ``space`` as a :class:`Space`; names and files are loaded."""
    if isinstance(space, Space):
        return space
    if isinstance(space, str | Path):
        return load_space(space)
    return Space(space)


def load_space(name: str | Path) -> Space:
    """Return a space by name with parameters (``proxyless:num_classes=5``), or of a YAML file.

    Raises:
        InputError: unknown space or parameter, a value out of range, or all problems of the file.

    Example:
        >>> import hwnas
        >>> hwnas.load_space("proxyless:num_classes=5").num_classes
        5
    """
    return Space(catalogue.load_space(str(name)))
