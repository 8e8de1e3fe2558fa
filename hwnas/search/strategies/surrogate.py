"""A fitted, uncertain predictor chooses which of a search's candidates are evaluated.

White, Neiswanger and Savani, "BANANAS: Bayesian optimization with neural architectures for neural
architecture search", AAAI 2021: candidates are mutations of the best networks; of these the ones
are evaluated that a predictor with uncertainty ranks first by independent Thompson samples
(section 3). Wei et al., "NPENAS", 2020, lets an evolution propose the candidates.

Departures: the predictor is a Gaussian process over codes and network keys
(``gaussian_process.py``) instead of an ensemble of networks over path encodings, which only cells
have; with a ``prior`` its mean is a line through the logarithm of a network's MACs
(``macs_prior.py``), by which networks unlike all evaluated ones are judged; scores far below the
median are clipped, since networks that do not train say nothing about the order of the good ones;
candidates also come from the wrapped search and from the window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwnas.protocols import Codes, CodeSearcher
from hwnas.rng import stream
from hwnas.search.predictors.gaussian_process import GaussianProcess, Kernel
from hwnas.search.predictors.macs_prior import MacsPrior
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import (
    LOW_SHARE,
    Floats,
    History,
    Ints,
    draw_new,
    mutate,
    population_size,
)
from hwnas.search.strategies.registry import SearchProblem

BEST = 20  # networks that are mutated
MUTATIONS = 20  # of each of them
RANDOM = 200  # candidates from the window
REFIT = 1.25  # the kernel is fitted anew when there are this many times more scores
MAX_FITTED = 400  # scores the predictor is fitted to: the last ones and the best


@dataclass
class Surrogate:
    """Spends a search's evaluations where a predictor expects most.

    Implements ``protocols.CodeSearcher``. ``inner`` asks for the first ``initial`` networks and for
    as many candidates as are asked for afterwards; it gets every evaluation, also of networks it
    did not ask for.
    """

    feasible: Feasible
    inner: CodeSearcher
    seed: int
    initial: int = 20
    low_share: float = LOW_SHARE
    prior: MacsPrior | None = None
    history: History = field(init=False, repr=False)
    _offered: Codes = field(init=False, repr=False)
    _kernel: Kernel | None = field(init=False, default=None, repr=False)
    _fitted: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.history = History(self.feasible.space)
        self._offered = np.empty((0, len(self.feasible.space.choices)), dtype=np.int16)

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new networks within the limits; fewer when none are left."""
        rng = stream(self.seed, "surrogate", self.history.num_asked)
        if len(self.history.scores) < self.initial:
            found = self.inner.ask_codes(count)
            found = found[self.history.fresh(found)]
        else:
            candidates = self._candidates(count, rng)
            found = candidates[self._order(candidates, rng)[:count]]
        found = self.history.ask(found)
        rest = draw_new(self.feasible, self.history, count - len(found), rng, self.low_share)
        return np.concatenate([found, self.history.ask(rest)])

    def _candidates(self, count: int, rng: np.random.Generator) -> Codes:
        """Return new networks within the limits: of the inner search, mutations, random ones."""
        space, history = self.feasible.space, self.history
        self._offered = np.concatenate([self._offered, self.inner.ask_codes(count)])
        self._offered = self._offered[history.unknown(self._offered)]
        best = np.argsort(-history.scores[:, 0], kind="stable")[:BEST]
        parents = np.repeat(history.codes[best], MUTATIONS, axis=0)
        mutations = mutate(space, parents, rng, rng.geometric(0.5, size=len(parents)))
        random = self.feasible.sample(RANDOM, rng, self.low_share)
        every = np.concatenate([self._offered, mutations, random])
        every = every[self.feasible.within(every)]
        return np.asarray(every[history.fresh(every)], dtype=np.int16)

    def _order(self, candidates: Codes, rng: np.random.Generator) -> Ints:
        """Return the candidates' places, best Thompson sample first."""
        scores, space = self.history.scores[:, 0], self.feasible.space
        rows = np.arange(len(scores))
        if len(rows) > MAX_FITTED:
            best = np.argsort(-scores, kind="stable")[: MAX_FITTED // 2]
            rows = np.union1d(best, rows[-(MAX_FITTED // 2) :])
        codes = self.history.codes[rows]
        values = clipped(scores[rows])
        known, expected = np.zeros(len(codes)), np.zeros(len(candidates))
        if self.prior is not None:
            known, expected = trend(self.prior.macs(codes), values, self.prior.macs(candidates))
        model = GaussianProcess(
            codes,
            space.network_keys(codes),
            values - known,
            self._kernel if len(scores) < REFIT * self._fitted else None,
        )
        if model.kernel is not self._kernel:
            self._kernel, self._fitted = model.kernel, len(scores)
        mean, deviation = model.predict(candidates, space.network_keys(candidates))
        mean += expected
        return np.argsort(-(mean + deviation * rng.normal(size=len(mean))), kind="stable")

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
        """Take the ``(num_archs, 1)`` scores of what was asked; NaN: failed."""
        self.history.tell(codes, scores)
        self.inner.tell_codes(codes, scores)


def clipped(scores: Floats) -> Floats:
    """Return the scores, none further below the median than the best is above it."""
    median = float(np.median(scores))
    return np.maximum(scores, 2 * median - float(scores.max()))


def trend(macs: Floats, values: Floats, new_macs: Floats) -> tuple[Floats, Floats]:
    """Return the line through ``log(macs)`` and ``values`` at ``macs`` and at ``new_macs``.

    Its slope is shrunk as if one more network, one standard deviation of ``log(macs)`` away, had
    no more than the mean value. Both results lack the mean.
    """
    x = np.log(np.maximum(macs, 1.0))
    spread = float(x.std()) or 1.0
    z, new = (x - x.mean()) / spread, (np.log(np.maximum(new_macs, 1.0)) - x.mean()) / spread
    slope = float(z @ (values - values.mean())) / (float(z @ z) + 1.0)
    return slope * z, slope * new


def guided(problem: SearchProblem, inner: CodeSearcher) -> Surrogate:
    """Return a run's strategy, guided by a surrogate."""
    return Surrogate(
        problem.feasible,
        inner,
        problem.seed,
        initial=population_size(problem.evaluations),
        prior=problem.prior,
    )
