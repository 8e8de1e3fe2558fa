"""Small additive problems with all their codes listed: the oracle of every exact answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

from hwnas.additive.graph import Graph, Term, build_graph
from hwnas.protocols import SearchSpace


@dataclass(frozen=True)
class Problem:
    """Additive functions of codes, evaluated by looking every term up for every code."""

    sizes: tuple[int, ...]
    functions: tuple[tuple[Term, ...], ...]

    @cached_property
    def graph(self) -> Graph:
        return build_graph(self.sizes, self.functions)

    @cached_property
    def _listed(self) -> tuple[np.ndarray, np.ndarray]:
        codes = np.indices(self.sizes).reshape(len(self.sizes), -1).T
        columns = codes.T
        values = np.stack(
            [
                sum(
                    (term.values[tuple(columns[c] for c in term.choices)] for term in terms),
                    np.zeros(len(codes)),
                )
                for terms in self.functions
            ]
        )
        allowed = np.isfinite(values).all(axis=0)
        return codes[allowed], values[:, allowed]

    @property
    def codes(self) -> np.ndarray:
        """The allowed codes (num_codes, num_choices), in lexicographic order."""
        return self._listed[0]

    @property
    def values(self) -> np.ndarray:
        """The functions' values (num_functions, num_codes)."""
        return self._listed[1]


def _random_term(
    rng: np.random.Generator,
    sizes: Sequence[int],
    choices: Sequence[int],
    *,
    integer: bool,
    forbidden: float,
) -> Term:
    shape = tuple(sizes[c] for c in choices)
    values = rng.integers(-3, 7, shape).astype(float) if integer else rng.normal(2.0, 2.0, shape)
    values[rng.random(shape) < forbidden] = np.nan
    return Term(tuple(choices), values)


def _random_problem(seed: int, num_functions: int) -> Problem:
    """Integers (with ties) for even seeds, reals for odd ones; every third forbids combinations.

    Terms are over one, two or three choices and may overlap; a choice may be in no term at all.
    """
    rng = np.random.default_rng(seed)
    sizes = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 6)))
    forbidden = 0.2 if seed % 3 == 0 else 0.0
    functions = []
    for _ in range(num_functions):
        groups = [(c,) for c in range(len(sizes)) if rng.random() < 0.8]
        for width in (2, 3):
            groups += [
                tuple(sorted(rng.choice(len(sizes), width, replace=False).tolist()))
                for _ in range(rng.integers(0, 3))
                if len(sizes) >= width
            ]
        terms = [
            _random_term(
                rng,
                sizes,
                group,
                integer=seed % 2 == 0,
                forbidden=forbidden if len(group) > 1 else forbidden / 4,
            )
            for group in groups
        ]
        constant = float(rng.integers(-2, 3)) if seed % 2 == 0 else float(rng.normal())
        functions.append((*terms, Term((), np.array(constant))))
    return Problem(sizes, tuple(functions))


@pytest.fixture(scope="session")
def random_problem() -> Callable[[int, int], Problem]:
    return _random_problem


@pytest.fixture(scope="session")
def make_problem() -> Callable[..., Problem]:
    def make(sizes: Sequence[int], *functions: Sequence[Term]) -> Problem:
        return Problem(tuple(sizes), tuple(tuple(terms) for terms in functions))

    return make


@pytest.fixture(scope="session")
def space_problem() -> Callable[..., Problem]:
    """The problem of a space with one random, positive cost per operation for each seed."""

    def make(space: SearchSpace, *seeds: int, integer: bool = False) -> Problem:
        functions = []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            terms = []
            for factor in space.factors():
                present = np.vectorize(lambda op: op is not None, otypes=[bool])(factor.ops)
                shape = factor.ops.shape
                drawn = rng.integers(1, 9, shape) if integer else rng.uniform(0.5, 4.0, shape)
                terms.append(Term(factor.choices, np.where(present, drawn, 0.0)))
            functions.append(tuple(terms))
        return Problem(tuple(len(c.options) for c in space.choices), tuple(functions))

    return make


@pytest.fixture(scope="session")
def nested() -> Problem:
    """A resolution all blocks depend on, a depth, and blocks that are absent beyond it.

    Choices: resolution (3), depth (1..3), block1 (3 options), block2 and block3 (3 options and
    absent, the last symbol). A block must be absent exactly when it lies beyond the depth.
    """
    rng = np.random.default_rng(5)
    terms = [Term((0,), rng.uniform(1, 2, 3)), Term((0, 2), rng.uniform(1, 3, (3, 3)))]
    for block in (2, 3):
        values = rng.uniform(1, 3, (3, 3, 4))  # resolution x depth x block
        values[:, :, 3] = 0.0
        is_present = np.arange(1, 4)[:, None] >= block
        wrong = is_present == (np.arange(4) == 3)[None, :]
        values[:, wrong] = np.nan
        terms.append(Term((0, 1, block + 1), values))
    return Problem((3, 3, 3, 4, 4), (tuple(terms),))
