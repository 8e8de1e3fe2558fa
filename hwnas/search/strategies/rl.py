"""Reinforcement learning: a recurrent controller that learns which networks score well.

REINFORCE (Williams 1992) on an LSTM controller, as in Zoph and Le (ICLR 2017, §3.2), or proximal
policy optimisation (Schulman et al., 2017, eq. 7) as MnasNet uses it (Tan et al., CVPR 2019, §4.2);
a moving baseline and an entropy bonus as in ENAS (Pham et al., ICML 2018); the reward is MnasNet's
``accuracy * (T / latency)^w`` (eq. 2). With ``w`` = 0 within a hard limit it is the accuracy.

Departures, all for the sake of few evaluations:

- Limits are hard. What breaks them is not asked for, and nothing is asked for twice: the controller
  draws until it has enough that is neither. The draws then follow its distribution given that;
  subtracting the baseline takes away what this changes in the gradient, but for the baseline's own
  error.
- The controller does not begin at random: before the first evaluation it learns, by maximum
  likelihood, the distribution of those networks of the window below the budget that do most work
  (``work.py``), one of POOL drawn uniformly. Every tenth network is the top_by_macs not yet
  evaluated.
- A reward counts by its rank among all rewards so far (as in natural evolution strategies, Wierstra
  et al., JMLR 2014, §3.1), so that a few networks that do not train at all do not hide the rest.
- Each update also raises the likelihood of the best networks so far (priority queue training,
  Abolafia et al., 2018, §2.2).
- A share of the networks is drawn uniformly from the window all along.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.protocols import Codes
from hwnas.rng import stream
from hwnas.search.predictors.macs_prior import POOL, MacsPrior
from hwnas.search.problem.feasible import Feasible
from hwnas.search.strategies.population import (
    LOW_SHARE,
    History,
    collect,
    draw_new,
    first_codes,
    num_options,
    population_size,
)
from hwnas.search.strategies.registry import SearchProblem
from hwnas.search.strategies.rl_controller import Adam, Controller, Floats
from hwnas.space.codes import symbol_counts


@dataclass(frozen=True)
class PolicySettings:
    """How the controller learns.

    ``ppo`` chooses the clipped objective, which is climbed ``epochs`` times per update; REINFORCE
    takes one step. ``reward_weight`` is MnasNet's w. ``entropy`` falls as ``1 / (1 + n /
    entropy_decay)`` with the number of evaluations n.
    """

    ppo: bool = False
    reward_weight: float = 0.0
    batch: int = 20
    lr: float = 0.01
    hidden: int = 32
    epochs: int = 4
    clip: float = 0.2
    baseline_decay: float = 0.9
    entropy: float = 0.02
    entropy_decay: float = 100.0
    imitation: float = 0.5
    imitated: int = 10
    uniform_share: float = 0.1
    warmup_draws: int = 1024
    warmup_steps: int = 150


def clipped_weights(ratio: Floats, advantage: Floats, clip: float) -> Floats:
    """Return d(mean of PPO's clipped objective) / d(log p), ``(num_archs,)``.

    The objective of one network is ``min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A)``
    (Schulman et al., 2017, eq. 7); where the clipped term is the smaller one it has no gradient.
    """
    outside = np.where(advantage > 0, ratio > 1.0 + clip, ratio < 1.0 - clip)
    return np.where(outside, 0.0, ratio * advantage) / max(len(ratio), 1)


@dataclass
class PolicySearch:
    """Implements ``interfaces.CodeSearcher`` for one objective; more is better.

    What of ``start`` is within the limits is asked for first. Random networks come from the window
    above ``low_share`` of the budget. Deterministic in ``seed`` and in the numbers asked for.
    """

    feasible: Feasible
    seed: int
    settings: PolicySettings = PolicySettings()
    low_share: float = LOW_SHARE
    start: Codes | None = None
    history: History = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.history = History(self.feasible.space)
        self._work = MacsPrior(self.feasible, self.seed)
        self._pending: list[tuple[Codes, Floats]] = []
        self._rewards = np.empty(0)
        self._baseline = 0.5

    @cached_property
    def controller(self) -> Controller:
        """The controller; made and warmed up at first use."""
        settings = self.settings
        controller = Controller(
            num_options(self.feasible.space).tolist(),
            stream(self.seed, "rl weights"),
            hidden=settings.hidden,
        )
        rng = stream(self.seed, "rl warmup")
        drawn = self.feasible.sample(POOL * settings.warmup_draws, rng, self.low_share)
        drawn = self._work.most(drawn, settings.warmup_draws)
        optimiser = Adam(controller.params, lr=settings.lr)
        for step in range(settings.warmup_steps):
            codes = drawn[rng.integers(len(drawn), size=128)]
            run = controller.run(codes)
            optimiser.lr = settings.lr * (1.0 - step / settings.warmup_steps)
            optimiser.ascend(controller.gradient(run, np.full(len(codes), 1.0 / len(codes))))
        return controller

    @cached_property
    def _optimiser(self) -> Adam:
        return Adam(self.controller.params, lr=self.settings.lr)

    @cached_property
    def _has_absent(self) -> bool:
        counts = symbol_counts(self.feasible.space)
        return bool((np.array(counts) > num_options(self.feasible.space)).any())

    def _draw(self, count: int, rng: np.random.Generator) -> Codes:
        space = self.feasible.space
        existing = (lambda codes: space.repair(codes) >= 0) if self._has_absent else None
        return space.repair(self.controller.sample(count, rng, existing))

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new codes within the limits."""
        rng = stream(self.seed, "rl ask", self.history.num_asked)
        history = self.history
        start = first_codes(self.feasible, history, self.start, count)
        busy = self._work.due(history, count, count - len(start))
        first = np.concatenate([history.ask(start), history.ask(busy[history.fresh(busy)])])
        missing = count - len(first)
        uniform = int(rng.binomial(missing, self.settings.uniform_share))
        drawn = history.ask(
            collect(
                lambda number: self._draw(number, rng), self.feasible, history, missing - uniform
            )
        )
        rest = history.ask(
            draw_new(self.feasible, history, missing - len(drawn), rng, self.low_share)
        )
        return np.concatenate([first, drawn, rest])

    def tell_codes(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        """Take the scores, ``(num_archs, 1)``; the controller learns a batch at a time."""
        good = self.history.tell(codes, scores)
        known = codes[good]
        if not len(known):
            return
        rewards = self._reward(known, np.asarray(scores).reshape(len(codes), -1)[good, 0])
        self._rewards = np.concatenate([self._rewards, rewards])
        self._pending.append((known, rewards))
        if sum(len(part) for part, _ in self._pending) >= self.settings.batch:
            parts = list(zip(*self._pending, strict=True))
            self._pending = []
            self._update(np.concatenate(parts[0]), np.concatenate(parts[1]))

    def _reward(self, codes: Codes, accuracy: Floats) -> Floats:
        if not self.settings.reward_weight:
            return accuracy
        target_over = self.feasible.maxima[0] / self.feasible.metrics(codes)[:, 0]
        return np.asarray(accuracy * target_over**self.settings.reward_weight)

    def _advantage(self, rewards: Floats) -> Floats:
        """Return the rewards' ranks (0..1) among all so far, less the baseline, at unit spread."""
        ordered = np.sort(self._rewards)
        below = np.searchsorted(ordered, rewards, "left")
        equal = np.searchsorted(ordered, rewards, "right") - below
        ranks = (below + 0.5 * equal) / len(ordered)
        advantage = (ranks - self._baseline) * 12.0**0.5
        self._baseline += (1.0 - self.settings.baseline_decay) * (ranks.mean() - self._baseline)
        return np.asarray(advantage)

    def _update(self, codes: Codes, rewards: Floats) -> None:
        settings = self.settings
        advantage = self._advantage(rewards)
        best = self.history.codes[np.argsort(-self._rewards, kind="stable")[: settings.imitated]]
        entropy = settings.entropy / (1.0 + len(self._rewards) / settings.entropy_decay)
        old = self.controller.run(codes).log_likelihood()
        for _ in range(settings.epochs if settings.ppo else 1):
            run = self.controller.run(codes)
            if settings.ppo:
                ratio = np.exp(run.log_likelihood() - old)
                weights = clipped_weights(ratio, advantage, settings.clip)
            else:
                weights = advantage / len(advantage)
            grads = self.controller.gradient(run, weights, entropy)
            imitated = self.controller.run(best)
            equal = np.full(len(best), settings.imitation / len(best))
            for name, grad in self.controller.gradient(imitated, equal).items():
                grads[name] += grad
            self._optimiser.ascend(grads)


def build(problem: SearchProblem) -> PolicySearch:
    """Return the search of a run; its settings are ``search.controller``."""
    settings = PolicySettings(
        ppo=problem.settings.algorithm == "ppo",
        reward_weight=problem.settings.reward_weight,
        batch=population_size(problem.evaluations),
    )
    return PolicySearch(
        problem.feasible,
        problem.seed,
        settings,
        low_share=problem.low_share,
        start=problem.start,
    )
