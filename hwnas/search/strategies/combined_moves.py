"""Local search by combined moves: many searches side by side, each step several changes at once.

Where scores come at array speed and limits are sums, all single changes of a network can be scored
and their gains added up: combinations of changes that fit under the limits are ranked by the sum of
their gains, the best of them are scored truly, and the best of those is the step. That is a step of
sequential linear programming (Griffith and Stewart, Management Science 7(4), 1961) on differences
instead of derivatives, with the exchange of a change that gains for one that pays for it, which a
search by single changes under a tight limit lacks (White et al., "Exploring the Loss Landscape in
Neural Architecture Search", UAI 2021, §3, whose local search stops where no single change gains).
A search that stands still goes on from a child of two of the best networks found, mutated (iterated
local search; Lourenço, Martin and Stützle, 2003).

Departures: gains of combined changes are added although the score is not a sum; how wrong that is
shows in the true scores, on which every step is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwnas.protocols import CodeEvaluator, Codes, SearchSpace
from hwnas.rng import stream
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import Floats, crossover, mutate, neighbours, num_options
from hwnas.search.strategies.registry import SearchProblem

Ints = NDArray[np.int64]

SHAPES = 4  # different sets of existing choices that an elite has room for, at least


@dataclass(frozen=True)
class MoveSettings:
    """How much is tried; the defaults are for predictors that score 20,000 networks a second.

    ``searches`` run side by side from the best of ``starts`` random networks. A step ranks
    combinations of up to ``changes`` changes, ``beam`` of them at a time, and scores the best
    ``scored``. ``elite`` networks are parents of new starts, which have up to ``mutations`` further
    changes.
    """

    searches: int = 6
    starts: int = 600
    changes: int = 4
    beam: int = 128
    scored: int = 48
    elite: int = 32
    mutations: int = 8


@dataclass
class EliteArchive:
    """The best networks so far, best first: ``codes`` (n, num_choices), ``scores`` (n,).

    Of the codes of one network one is kept, and of those with the same existing choices (stages as
    deep) no more than a SHAPES-th of a niche, so that an elite is not soon of one depth.
    ``niche`` is the column whose options have elites of their own, None: there is one elite.
    """

    space: SearchSpace
    codes: Codes
    scores: Floats
    niche: int | None = None
    num_evaluations: int = 0

    @property
    def niches(self) -> NDArray[np.int64]:
        """Return ``(n,)`` the niche of each network, numbered by their best, the best one 0."""
        if self.niche is None:
            return np.zeros(len(self.codes), dtype=np.int64)
        options = self.codes[:, self.niche]
        _, first, inverse = np.unique(options, return_index=True, return_inverse=True)
        return np.asarray(first.argsort().argsort()[inverse])

    def add(self, codes: Codes, scores: Floats, keep: int) -> None:
        """Take further networks; the best ``keep`` distinct ones of each niche stay."""
        every = np.concatenate([self.codes, codes])
        values = np.concatenate([self.scores, scores])
        good = np.isfinite(values)
        every, values = every[good], values[good]
        first = np.unique(self.space.network_keys(every), axis=0, return_index=True)[1]
        order = first[np.argsort(-values[first], kind="stable")]
        self.codes, self.scores = every[order], values[order]
        _, shapes = np.unique(self.codes < 0, axis=0, return_inverse=True)
        if shapes.any():  # else all have all choices
            both = self.niches * (int(shapes.max()) + 1) + shapes.ravel()
            self._keep(_ranks(both) < max(keep // SHAPES, 1))
        self._keep(_ranks(self.niches) < keep)

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self.codes, self.scores = self.codes[which], self.scores[which]


def _ranks(groups: Ints) -> Ints:
    """Return the place of each within its group, in order."""
    place = np.argsort(groups, kind="stable")
    rank = np.empty(len(place), dtype=np.int64)
    rank[place] = np.arange(len(place)) - np.searchsorted(groups[place], groups[place])
    return rank


def hub(space: SearchSpace) -> int | None:
    """Return the choice that decides more than half of a space's parts (a resolution), or None.

    A change of it changes nearly every cost, which no few further changes pay for: each of its
    options is a search of its own.
    """
    factors = [factor.choices for factor in space.factors()]
    counts = np.bincount(
        [choice for choices in factors for choice in choices], minlength=len(space.choices)
    )
    return int(counts.argmax()) if 2 * counts.max() > len(factors) else None


@dataclass
class Searches:
    """Where the searches are: ``codes`` (n, num_choices), ``values`` (n,), and what is known there.

    ``table`` (n, num_choices, options) holds the score of each single change of the code at which
    a search last scored them all, less that code's; ``fresh``: it is the code where the search is
    now. After a step the differences of two entries are still gains, if the score is nearly a sum:
    a search scores all changes again only where a step by old gains finds nothing better.
    ``current``: the gains need not be scored in the next step.
    """

    space: SearchSpace
    codes: Codes
    values: Floats
    table: Floats
    fresh: NDArray[np.bool_]
    current: NDArray[np.bool_]

    @staticmethod
    def begin(space: SearchSpace, codes: Codes, values: Floats) -> Searches:
        """Return searches at these codes that know nothing yet."""
        shape = (*codes.shape, int(num_options(space).max()))
        none = np.zeros(len(codes), dtype=bool)
        table = np.full(shape, np.nan)
        return Searches(space, codes.copy(), values.copy(), table, none, none.copy())

    def gains(self, scores: Floats) -> Floats:
        """Return the gain of each single change, in the order of ``population.neighbours``.

        ``scores`` are those of the changes, NaN where a search goes by what it knows. NaN comes
        back where nothing is known.
        """
        sizes = num_options(self.space)
        choices = np.repeat(np.arange(len(sizes)), sizes)
        options = np.concatenate([np.arange(size) for size in sizes])
        now = self.codes[:, choices]
        rows, moves = np.nonzero((now >= 0) & (now != options))
        columns, targets = choices[moves], options[moves]
        scored = ~self.current
        every = np.arange(self.codes.shape[1])
        for row in np.flatnonzero(scored):
            self.table[row] = np.nan
            there = every[self.codes[row] >= 0]
            self.table[row, there, self.codes[row, there]] = 0.0
        new = scored[rows]
        self.table[rows[new], columns[new], targets[new]] = scores[new] - self.values[rows[new]]
        self.fresh = scored
        before = self.table[rows, columns, self.codes[rows, columns]]
        return np.asarray(self.table[rows, columns, targets] - before)

    def move(self, rows: Ints, codes: Codes, values: Floats) -> NDArray[np.bool_]:
        """Move the searches ``rows``; return which of the others have nothing more to try."""
        moved = np.zeros(len(self.codes), dtype=bool)
        moved[rows] = True
        self.codes[rows], self.values[rows] = codes, values
        self.current = moved.copy()
        return self.fresh & ~moved

    def restart(self, which: NDArray[np.bool_], codes: Codes, values: Floats) -> None:
        """Put the searches ``which`` (mask) to other codes."""
        self.codes[which], self.values[which] = codes, values


@dataclass
class CombinedMoves:
    """A search for the best scored network within the limits, deterministic in ``seed``."""

    feasible: Feasible
    evaluator: CodeEvaluator
    seed: int
    settings: MoveSettings = field(default_factory=MoveSettings)

    def run(self, num_evaluations: int, known: Codes | None = None) -> EliteArchive:
        """Return the best networks of about ``num_evaluations`` scored ones (one step more).

        ``known`` (n, num_choices) are networks to begin with, such as those found under other
        limits; those beyond these limits are left out, and random ones are drawn where few remain.

        Raises:
            InfeasibleError: no network meets the limits.
        """
        space, settings = self.feasible.space, self.settings
        archive = EliteArchive(
            space, np.empty((0, len(space.choices)), dtype=np.int16), np.empty(0), hub(space)
        )
        starts = np.empty((0, len(space.choices)), dtype=np.int16)
        if known is not None:
            starts = known[self.feasible.within(known)]
        if len(starts) < settings.searches:
            drawn = self.feasible.sample(settings.starts, stream(self.seed, "starts"), 0.75)
            starts = np.concatenate([starts, drawn])
        scores = self._score(starts, archive)
        archive.add(starts, scores, settings.elite)
        if len(archive.codes) == 0:
            return archive  # the evaluator scores none
        best = _spread(archive.niches, settings.searches)
        codes, values = archive.codes[best], archive.scores[best]
        searches = Searches.begin(space, codes, values)
        step = 0
        while archive.num_evaluations < num_evaluations:
            stuck = self._step(searches, archive)
            if stuck.any():
                fresh = self._children(int(stuck.sum()), archive, stream(self.seed, "child", step))
                searches.restart(stuck, fresh, self._score(fresh, archive))
            step += 1
        return archive

    def _score(self, codes: Codes, archive: EliteArchive) -> Floats:
        archive.num_evaluations += len(codes)
        return self.evaluator.score(codes)

    def _children(self, count: int, archive: EliteArchive, rng: np.random.Generator) -> Codes:
        """Return ``count`` starts within the limits: of the elite, random where it has none."""
        space, parents = self.feasible.space, archive.codes
        mothers, fathers = _couples(archive.niches, 64 * count, rng)
        children = crossover(space, parents[mothers], parents[fathers], rng)
        changes = rng.integers(1, self.settings.mutations + 1, size=len(children))
        children = mutate(space, children, rng, changes)
        children = children[self.feasible.within(children)][:count]
        missing = count - len(children)
        if missing == 0:
            return children
        return np.concatenate([children, self.feasible.sample(missing, rng, 0.75)])

    def _step(self, searches: Searches, archive: EliteArchive) -> NDArray[np.bool_]:
        """Move every search to the best of its combinations; return which ones stand still."""
        space, codes, values = self.feasible.space, searches.codes, searches.values
        single, owner = neighbours(space, codes)
        stale = ~searches.current[owner]
        scores = np.full(len(single), np.nan)
        scores[stale] = self._score(single[stale], archive)
        gains = searches.gains(scores)
        both = self.feasible.metrics(np.concatenate([codes, single])) / self.feasible.maxima
        here, there = both[: len(codes)], both[len(codes) :]
        costs = there - here[owner]
        proposals, rows = [], []
        for row in range(len(codes)):
            mine = np.flatnonzero((owner == row) & np.isfinite(gains) & np.isfinite(costs).all(1))
            chosen = combinations(
                codes[row], single[mine], gains[mine], costs[mine], 1.0 - here[row], self.settings
            )
            proposals.append(_combined(codes[row], single[mine], chosen))
            rows.append(np.full(len(chosen), row))
        candidates, rows_of = space.repair(np.concatenate(proposals)), np.concatenate(rows)
        inside = self.feasible.within(candidates)
        candidates, rows_of = candidates[inside], rows_of[inside]
        scores = self._score(candidates, archive)
        archive.add(candidates, scores, self.settings.elite)
        scores = np.where(np.isfinite(scores), scores, -np.inf)
        order = np.lexsort((-scores, rows_of))
        first = order[np.unique(rows_of[order], return_index=True)[1]]
        first = first[scores[first] > values[rows_of[first]]]
        return searches.move(rows_of[first], candidates[first], scores[first])


def _spread(niches: Ints, count: int) -> Ints:
    """Return up to ``count`` places of networks, turn by turn the next best of each niche."""
    rank = np.array([int((niches[:place] == niche).sum()) for place, niche in enumerate(niches)])
    return np.lexsort((niches, rank))[:count]


def _couples(niches: Ints, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Return ``count`` pairs of parents of one niche, the k-th best niche with weight 1 / k."""
    sizes = np.bincount(niches)
    first = np.argsort(niches, kind="stable")
    starts = np.concatenate([[0], sizes.cumsum()[:-1]])
    weights = 1.0 / np.arange(1, len(sizes) + 1)
    chosen = rng.choice(len(sizes), size=count, p=weights / weights.sum())
    mothers, fathers = (first[starts[chosen] + rng.integers(sizes[chosen])] for _ in range(2))
    return mothers, fathers


def price_of(gains: Floats, costs: Floats) -> float:
    """Return what a unit over the limits costs: the loss of the changes that save it most cheaply.

    ``costs`` (num_moves, num_limits) in shares of the limits.
    """
    saving = -costs.sum(axis=1)
    saves = (saving > 1e-9) & (gains < 0)
    if not saves.any():
        return 0.0
    prices = np.sort(-gains[saves] / saving[saves])
    return float(prices[min(len(prices) - 1, 4)])


def _largest(values: Floats, count: int) -> Ints:
    """Return the places of the ``count`` largest finite values, in no order; fewer if need be."""
    if count < len(values):
        places = np.argpartition(-values, count - 1)[:count]
    else:
        places = np.arange(len(values))
    return places[np.isfinite(values[places])]


def combinations(
    code: NDArray[np.int16],
    moved: Codes,
    gains: Floats,
    costs: Floats,
    room: Floats,
    settings: MoveSettings,
) -> Ints:
    """Return ``(at most scored, changes)`` moves to be combined, -1 for none, best sum first.

    ``moved`` (num_moves, num_choices) is ``code`` after each move. Combined moves change different
    choices, and their summed ``costs`` (num_moves, num_limits) fit into ``room`` (num_limits,).
    """
    price = price_of(gains, costs)
    touches = moved != code
    clash = (touches.astype(np.int32) @ touches.T.astype(np.int32)) > 0
    sets: Ints = np.full((1, settings.changes), -1)
    total, spent = np.zeros(1), np.zeros((1, costs.shape[1]))
    blocked = np.zeros((1, len(gains)), dtype=bool)
    kept: list[Ints] = []
    merits: list[Floats] = []
    for depth in range(settings.changes):
        sums = total[:, None] + gains
        spends = spent[:, None, :] + costs
        over = np.maximum(spends - room, 0.0).sum(axis=2)
        # moves are taken in increasing order, so that a set comes up once
        later = np.arange(len(gains)) > (sets[:, depth - 1][:, None] if depth else -1)
        allowed = ~blocked & later
        fits = allowed & (over <= 1e-12)
        place = _largest(np.where(fits, sums, -np.inf).ravel(), settings.scored)
        parents, moves = np.divmod(place, len(gains))
        chosen = sets[parents].copy()
        chosen[:, depth] = moves
        kept.append(chosen)
        merits.append(sums.ravel()[place])
        merit = np.where(allowed, sums - 1.5 * price * over, -np.inf).ravel()
        best = _largest(merit, settings.beam)
        if len(best) == 0:
            break
        parents, moves = np.divmod(best, len(gains))
        sets = sets[parents].copy()
        sets[:, depth] = moves
        total, spent = sums.ravel()[best], spends.reshape(-1, costs.shape[1])[best]
        blocked = blocked[parents] | clash[moves]
    every, values = np.concatenate(kept), np.concatenate(merits)
    return every[np.argsort(-values, kind="stable")[: settings.scored]]


def _combined(code: NDArray[np.int16], moved: Codes, chosen: Ints) -> Codes:
    """Return ``code`` after each combination of moves."""
    out = np.repeat(code[None], len(chosen), axis=0)
    for column in range(chosen.shape[1]):
        rows = np.flatnonzero(chosen[:, column] >= 0)
        to = moved[chosen[rows, column]]
        out[rows] = np.where(to != code, to, out[rows])
    return out


def build(problem: SearchProblem) -> CombinedMoves:
    """Return the combined moves of a run, whose evaluator works at array speed."""
    assert problem.evaluator is not None  # the entry needs codes
    return CombinedMoves(problem.feasible, problem.evaluator, problem.seed)
