"""What population searches share: moves on arrays of codes, what was asked before, an adapter.

Moves take and give ``(num_archs, num_choices)`` codes and never loop over them. A choice that
begins to exist by a move (a block of a stage that became deeper) gets a random option, or the
first one where no generator is given.

A search counts *networks*: two codes that build one network (``space.network_keys``) are one, so
that no evaluation is spent on what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch
from hwnas.protocols import Codes, CodeSearcher, Evaluation, SearchSpace
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.registry import MIN_BATCHES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LOW_SHARE = 0.75  # random networks are drawn from [0.75, 1] x budget, see random_search.py
PROPOSALS = 48  # children that each pair of parents proposes
ONE_CHANGE = 0.5  # the number of changes of a child is geometric with this parameter
ROUNDS = 20  # rounds of proposals before a search looks for what is left in another way


def population_size(evaluations: int, largest: int = 20) -> int:
    """Return a quarter of the ``evaluations`` as the population's size, from 4 to ``largest``."""
    return min(largest, max(4, evaluations // MIN_BATCHES))


def num_options(space: SearchSpace) -> Ints:
    """Return ``(num_choices,)`` numbers of options."""
    return np.array([len(choice.options) for choice in space.choices])


def random_codes(space: SearchSpace, count: int, rng: np.random.Generator) -> Codes:
    """Return ``(count, num_choices)`` codes, every existing choice uniform over its options."""
    sizes = num_options(space)
    return space.repair(rng.integers(sizes, size=(count, len(sizes))).astype(np.int16))


def _filled(space: SearchSpace, codes: Codes, rng: np.random.Generator) -> Codes:
    """Return the codes with random options for what is absent (to be repaired)."""
    if not (codes < 0).any():
        return codes.copy()
    random = rng.integers(num_options(space), size=codes.shape).astype(np.int16)
    return np.where(codes < 0, random, codes)


def mutate(
    space: SearchSpace, parents: Codes, rng: np.random.Generator, changes: Ints | int = 1
) -> Codes:
    """Return ``parents``, each with other options for ``changes`` of its existing choices.

    The choices are distinct and uniform, the new options uniform among the others. ``changes`` is
    a number, or one per parent; choices of a single option do not count.
    """
    sizes = num_options(space)
    movable = (parents >= 0) & (sizes > 1)  # (num_archs, num_choices)
    # the changed choices are those of the lowest random ranks among the movable ones
    order = np.where(movable, rng.random(parents.shape), 2.0)
    rank = order.argsort(axis=1).argsort(axis=1)
    changed = movable & (rank < np.broadcast_to(np.asarray(changes), len(parents))[:, None])
    # a step of 1 .. size - 1 modulo size reaches each other option with equal chances
    steps = rng.integers(1, np.maximum(sizes, 2), size=parents.shape)
    others = ((parents + steps) % sizes).astype(np.int16)
    return space.repair(np.where(changed, others, _filled(space, parents, rng)))


def crossover(
    space: SearchSpace, mothers: Codes, fathers: Codes, rng: np.random.Generator
) -> Codes:
    """Return a child of each pair: each option from either parent, with equal chances.

    What is absent in one parent comes from the other.
    """
    from_father = rng.random(mothers.shape) < 0.5
    mixed = np.where(from_father, fathers, mothers)
    mixed = np.where(mixed < 0, np.where(from_father, mothers, fathers), mixed)
    return space.repair(_filled(space, mixed, rng))


def neighbours(space: SearchSpace, codes: Codes) -> tuple[Codes, Ints]:
    """Return all codes with one choice changed, and the row of ``codes`` each comes from.

    In the order of rows, choices and options; a choice that begins to exist has its first option.
    """
    sizes = num_options(space)
    choices = np.repeat(np.arange(len(sizes)), sizes)
    options = np.concatenate([np.arange(size) for size in sizes])
    # one row for each code, choice and option: (num_archs * sum(sizes), num_choices)
    moved = np.repeat(codes, len(choices), axis=0)
    rows = np.repeat(np.arange(len(codes)), len(choices))
    columns, values = np.tile(choices, len(codes)), np.tile(options, len(codes))
    before = moved[np.arange(len(moved)), columns]
    moved[np.arange(len(moved)), columns] = values
    kept = (before >= 0) & (before != values)
    return space.repair(moved[kept]), rows[kept]


class History:
    """The networks that a search has asked for, and their scores; none is asked for twice.

    ``codes`` ``(num_told, num_choices)`` and ``scores`` ``(num_told, num_objectives)`` are in the
    order of telling, failed evaluations left out.
    """

    def __init__(self, space: SearchSpace, num_objectives: int = 1) -> None:
        self.space = space
        self.codes: Codes = np.empty((0, len(space.choices)), dtype=np.int16)
        self.scores: Floats = np.empty((0, num_objectives))
        self._asked: set[bytes] = set()

    @property
    def num_asked(self) -> int:
        """How many networks were asked for."""
        return len(self._asked)

    def _names(self, codes: Codes) -> list[bytes]:
        keys = np.ascontiguousarray(self.space.network_keys(codes))
        row = np.dtype((np.void, keys.dtype.itemsize * keys.shape[1]))
        return [bytes(name) for name in keys.view(row).ravel().tolist()]

    def fresh(self, codes: Codes) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: whether a network is new, here and among the codes before it."""
        seen: set[bytes] = set()
        fresh = np.zeros(len(codes), dtype=bool)
        for place, name in enumerate(self._names(codes) if len(codes) else ()):
            fresh[place] = name not in self._asked and name not in seen
            seen.add(name)
        return fresh

    def unknown(self, codes: Codes) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: whether a network was not asked for (it may be here twice)."""
        names = self._names(codes) if len(codes) else []
        return np.array([name not in self._asked for name in names], dtype=bool)

    def ask(self, codes: Codes) -> Codes:
        """Note that ``codes`` are asked for, and return them."""
        if len(codes):
            self._asked.update(self._names(codes))
        return codes

    def tell(self, codes: Codes, scores: Floats) -> NDArray[np.bool_]:
        """Note the ``(num_archs, num_objectives)`` scores; return which did not fail."""
        scores = np.asarray(scores, dtype=np.float64).reshape(len(codes), self.scores.shape[1])
        good = np.asarray(np.isfinite(scores).all(axis=1))
        if len(codes):
            self.ask(codes)
            self.codes = np.concatenate([self.codes, codes[good]])
            self.scores = np.concatenate([self.scores, scores[good]])
        return good


def collect(
    propose: Callable[[int], Codes],
    feasible: Feasible,
    history: History,
    count: int,
    rounds: int = ROUNDS,
) -> Codes:
    """Return up to ``count`` codes of ``propose(number)`` that are within the limits and new.

    Proposals are made in rounds of growing size, at most ``rounds`` of them.
    """
    parts, missing, size = [np.empty((0, len(feasible.space.choices)), dtype=np.int16)], count, 2
    for _ in range(rounds):
        if missing <= 0:
            break
        codes = propose(max(8, size * missing))
        codes = np.concatenate([*parts, codes[feasible.within(codes)]])
        kept = codes[history.fresh(codes)][:count]
        size = min(64, 2 * size)
        parts, missing = [kept], count - len(kept)
    return parts[0]


def draw_new(
    feasible: Feasible,
    history: History,
    count: int,
    rng: np.random.Generator,
    low_share: float = LOW_SHARE,
) -> Codes:
    """Return up to ``count`` new random networks within the limits; fewer where no more are left.

    They are uniform over the codes of the window ``[low_share, 1] x budget``, then over those
    below it. Where draws bring nothing new any more, the remaining codes are listed; a space too
    large for that gives fewer only after ``ROUNDS`` rounds of draws without enough that is new.
    """
    found = collect(
        lambda number: feasible.sample(number, rng, low_share), feasible, history, count, rounds=4
    )
    if len(found) < count:
        everything = feasible.listed()
        if everything is None:
            more = collect(lambda number: feasible.sample(number, rng), feasible, history, count)
        else:
            more = everything[rng.permutation(len(everything))]
            budget = min(feasible.maxima[0], feasible.metrics(more)[:, 0].max(initial=-np.inf))
            near = feasible.metrics(more)[:, 0] >= low_share * budget
            more = more[np.argsort(~near, kind="stable")]
        both = np.concatenate([found, more])
        found = both[history.fresh(both)][:count]
    return found


def offspring(
    feasible: Feasible,
    history: History,
    mothers: Codes,
    fathers: Codes,
    share: float,
    rng: np.random.Generator,
    prior: MacsPrior | None = None,
    guided: float = 0.0,
) -> Codes:
    """Return up to one new child within the limits of each pair; fewer where a pair has none.

    Each pair proposes ``PROPOSALS`` children, a ``share`` of the pairs by crossover of both and
    the others from the mother alone, with a geometric number of changes (from 0 after a crossover,
    else from 1). The child is one with the fewest changes of those within the limits and new: the
    first, or for a share ``guided`` of the pairs the one with the most MACs (``prior``). A parent
    whose close children are known or break a limit has children further away, which trade one
    choice for another.
    """
    space, count = feasible.space, len(mothers)
    # all proposals as rows: (count * PROPOSALS, num_choices)
    first, second = (np.repeat(codes, PROPOSALS, axis=0) for codes in (mothers, fathers))
    has_two = np.repeat(rng.random(count) < share, PROPOSALS)
    base = np.where(has_two[:, None], crossover(space, first, second, rng), first)
    changes = rng.geometric(ONE_CHANGE, size=len(base)) - has_two
    proposed = mutate(space, base, rng, changes)
    good = feasible.within(proposed)
    good[good] = history.unknown(proposed[good])
    # the lowest rank wins: changes, less up to half a change by MACs; infinite: not allowed
    rank = changes.astype(np.float64)
    if prior is not None and len(proposed):
        macs = prior.macs(proposed)
        is_guided = np.repeat(rng.random(count) < guided, PROPOSALS)
        rank -= is_guided * 0.5 * macs / max(float(macs.max()), 1.0)
    rank = np.where(good, rank, np.inf).reshape(count, PROPOSALS)
    chosen = rank.argmin(axis=1) + np.arange(count) * PROPOSALS
    children: Codes = proposed[chosen[good[chosen]]]
    return children[history.fresh(children)]


def first_codes(feasible: Feasible, history: History, start: Codes | None, count: int) -> Codes:
    """Return up to ``count`` of the codes a search starts from that are within and new."""
    if start is None or len(start) == 0:
        return np.empty((0, len(feasible.space.choices)), dtype=np.int16)
    inside = start[feasible.within(start)]
    return np.asarray(inside[history.fresh(inside)][:count], dtype=np.int16)


@dataclass
class ArchSearcher:
    """A :class:`~hwnas.protocols.CodeSearcher` as a searcher of architectures.

    ``objectives`` name the columns of scores it gets. An objective to be minimised comes with
    its sign changed; a failed evaluation as NaN. Implements ``protocols.Searcher``.
    """

    space: SearchSpace
    searcher: CodeSearcher
    objectives: Sequence[str] = ("top1",)

    def ask(self, count: int) -> list[Arch]:
        """Return up to ``count`` architectures to evaluate; fewer when none are left."""
        return self.space.decode(self.searcher.ask_codes(count))

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take the evaluations of what was asked, in order.

        Raises:
            ValueError: an evaluation that did not fail lacks one of the objectives.
        """
        scores = np.full((len(evaluations), len(self.objectives)), np.nan)
        for place, evaluation in enumerate(evaluations):
            if evaluation.error is not None:
                continue
            for column, name in enumerate(self.objectives):
                if name not in evaluation.objectives:
                    raise ValueError(
                        f"the search needs objective {name!r}, but the evaluation "
                        f"holds {sorted(evaluation.objectives)}"
                    )
                objective = evaluation.objectives[name]
                sign = 1.0 if objective.direction == "max" else -1.0
                scores[place, column] = sign * objective.value
        codes = self.space.encode([evaluation.arch for evaluation in evaluations])
        self.searcher.tell_codes(codes, scores)


def search_codes(
    searcher: CodeSearcher, score: Callable[[Codes], Floats], num_evaluations: int, *, batch: int
) -> tuple[Codes, Floats]:
    """Run a searcher without a journal; return codes and ``(num_told, num_objectives)`` scores.

    ``score`` gives ``(num_archs,)`` or ``(num_archs, num_objectives)``, NaN where it fails. Fewer
    than ``num_evaluations`` come back when the searcher has no network left.
    """
    asked = [searcher.ask_codes(0)]
    told: list[Floats] = []
    missing = num_evaluations
    while missing > 0:
        codes = searcher.ask_codes(min(batch, missing))
        if len(codes) == 0:
            break
        scores = np.asarray(score(codes), dtype=np.float64).reshape(len(codes), -1)
        searcher.tell_codes(codes, scores)
        asked.append(codes)
        told.append(scores)
        missing -= len(codes)
    return np.concatenate(asked), np.concatenate(told) if told else np.empty((0, 1))
