"""Reinforcement learning: a recurrent controller that learns which networks score well.

REINFORCE (Williams, Machine Learning 1992) on an LSTM controller, as in Zoph and Le (ICLR 2017,
§3.2): with rewards R_k of m networks and a baseline b, an exponential
moving average of rewards::

    gradient = 1/m sum_k (R_k - b) grad log P(network_k)

or proximal policy optimisation (Schulman et al., 2017, eq. 7) as MnasNet uses it (Tan et al., CVPR
2019, §4.2). An entropy bonus as in ENAS (Pham et al., ICML 2018). The reward is MnasNet's
``accuracy * (T / latency)^w`` (eq. 2); with ``w`` = 0, within a hard limit, it is the accuracy.

Departures:

- Limits are hard. What breaks them is not asked for, and nothing is asked for twice: the controller
  draws until it has enough networks that are neither. The draws then follow its distribution given
  that; subtracting the baseline takes away what this changes in the gradient, but for the
  baseline's own error. Where draws bring nothing new, random networks take over.
- The learning rate suits hundreds of evaluations instead of the papers' tens of thousands.

``prior`` is a part of its own for few evaluations (``predictors/macs_prior.py``,
:class:`PriorSettings`). With it

- the controller first learns, by maximum likelihood, the distribution of those networks of the
  window below the budget that have the most MACs, one of POOL drawn uniformly; every tenth network
  has the most MACs of those not evaluated;
- a reward counts by its rank among all rewards so far (as in natural evolution strategies, Wierstra
  et al., JMLR 2014, §3.1), so that a few networks that do not train at all do not hide the rest;
- each update also raises the likelihood of the best networks so far (priority queue training,
  Abolafia et al., 2018, §2.2);
- a share of the networks is drawn uniformly from the window all along.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from hwnas.search.strategies.rl_controller import Controller, one_thread
from hwnas.space.codes import symbol_counts

Floats = NDArray[np.float64]

MAX_NORM = 5.0  # of a step's gradient
WARMUP_BATCH = 128


@dataclass(frozen=True)
class PolicySettings:
    """How the controller learns.

    ``ppo`` chooses the clipped objective, which is climbed ``epochs`` times per update; REINFORCE
    takes one step. ``reward_weight`` is MnasNet's w. An update takes ``batch`` networks.
    ``entropy`` is the weight of the entropy bonus, ENAS' by default.
    """

    ppo: bool = False
    reward_weight: float = 0.0
    batch: int = 20
    lr: float = 0.01
    hidden: int = 32
    epochs: int = 4
    clip: float = 0.2
    baseline_decay: float = 0.9
    entropy: float = 1e-4


@dataclass(frozen=True)
class PriorSettings:
    """How the prior guides the controller; tuned on nasbench201, 500 evaluations.

    ``imitation`` is the weight of the log-likelihood of the ``imitated`` best networks,
    ``uniform_share`` the share of networks drawn from the window. Before the first evaluation
    ``warmup_steps`` steps fit the controller to ``warmup_draws`` networks with many MACs.
    ``entropy``, for rewards that are ranks, falls as ``1 / (1 + n / entropy_decay)`` with the
    number of evaluations n.
    """

    imitation: float = 0.5
    imitated: int = 10
    uniform_share: float = 0.1
    warmup_draws: int = 1024
    warmup_steps: int = 150
    entropy: float = 0.02
    entropy_decay: float = 100.0


def clipped_objective(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """Return PPO's objective (Schulman et al., 2017, eq. 7) of ``(num_archs,)`` networks.

    The mean of ``min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A)``: where the clipped term is
    the smaller one a network has no gradient.
    """
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    return torch.minimum(ratio * advantage, clipped * advantage).mean()


@dataclass
class PolicySearch:
    """Implements ``protocols.CodeSearcher`` for one objective; more is better.

    What of ``start`` is within the limits is asked for first. Random networks come from the window
    above ``low_share`` of the budget. Deterministic in ``seed`` and in the numbers asked for.
    """

    feasible: Feasible
    seed: int
    settings: PolicySettings = PolicySettings()
    low_share: float = LOW_SHARE
    start: Codes | None = None
    prior: MacsPrior | None = None
    prior_settings: PriorSettings = PriorSettings()
    history: History = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.history = History(self.feasible.space)
        self._pending: list[tuple[Codes, Floats]] = []
        self._rewards = np.empty(0)
        self._baseline = None if self.prior is None else 0.5  # of ranks it is known

    @cached_property
    def controller(self) -> Controller:
        """The controller; made, and with a prior warmed up, at first use."""
        controller = Controller(
            num_options(self.feasible.space).tolist(),
            stream(self.seed, "rl weights"),
            hidden=self.settings.hidden,
        )
        if self.prior is not None:
            self._warm_up(controller, self.prior)
        return controller

    def _warm_up(self, controller: Controller, prior: MacsPrior) -> None:
        """Fit the controller to networks with many MACs, the learning rate falling to 0."""
        settings, rng = self.prior_settings, stream(self.seed, "rl warmup")
        drawn = self.feasible.sample(POOL * settings.warmup_draws, rng, self.low_share)
        drawn = prior.most(drawn, settings.warmup_draws)
        optimiser = torch.optim.Adam(controller.parameters(), lr=self.settings.lr)
        schedule = torch.optim.lr_scheduler.LinearLR(
            optimiser, 1.0, 0.0, total_iters=settings.warmup_steps
        )
        for _ in range(settings.warmup_steps):
            log_probs, _ = controller.evaluate(drawn[rng.integers(len(drawn), size=WARMUP_BATCH)])
            _ascend(optimiser, log_probs.mean())
            schedule.step()

    @cached_property
    def _optimiser(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.controller.parameters(), lr=self.settings.lr)

    @cached_property
    def _has_absent(self) -> bool:
        counts = symbol_counts(self.feasible.space)
        return bool((np.array(counts) > num_options(self.feasible.space)).any())

    def _draw(self, count: int, rng: np.random.Generator) -> Codes:
        """Return ``count`` codes of the controller's distribution."""
        space = self.feasible.space
        existing = (lambda codes: space.repair(codes) >= 0) if self._has_absent else None
        return space.repair(self.controller.sample(count, rng, existing))

    def ask_codes(self, count: int) -> Codes:
        """Return up to ``count`` new codes within the limits."""
        rng = stream(self.seed, "rl ask", self.history.num_asked)
        history = self.history
        given = self._given(count)
        missing, uniform = count - len(given), 0
        if self.prior is not None:
            uniform = int(rng.binomial(missing, self.prior_settings.uniform_share))
        with one_thread():
            drawn = collect(
                lambda number: self._draw(number, rng), self.feasible, history, missing - uniform
            )
        drawn = history.ask(drawn)
        rest = draw_new(self.feasible, history, missing - len(drawn), rng, self.low_share)
        return np.concatenate([given, drawn, history.ask(rest)])

    def _given(self, count: int) -> Codes:
        """Return what does not depend on the controller: ``start``, what is due by the prior."""
        start = first_codes(self.feasible, self.history, self.start, count)
        if self.prior is None:
            return self.history.ask(start)
        due = self.prior.due(self.history, count, count - len(start))
        start = self.history.ask(start)
        return np.concatenate([start, self.history.ask(due[self.history.fresh(due)])])

    def tell_codes(self, codes: Codes, scores: Floats) -> None:
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
            with one_thread():
                self._update(np.concatenate(parts[0]), np.concatenate(parts[1]))

    def _reward(self, codes: Codes, accuracy: Floats) -> Floats:
        """Return ``accuracy * (T / latency)^w``, ``(num_archs,)``."""
        if not self.settings.reward_weight:
            return accuracy
        target_over = self.feasible.maxima[0] / self.feasible.metrics(codes)[:, 0]
        return np.asarray(accuracy * target_over**self.settings.reward_weight)

    def _advantage(self, rewards: Floats) -> Floats:
        """Return R - b, ``(num_archs,)``, and move the baseline b.

        With a prior R is the rank (0..1) among all rewards so far, scaled to unit spread.
        """
        scale = 1.0
        if self.prior is not None:
            rewards, scale = mid_ranks(self._rewards, rewards), 12.0**0.5
        mean = float(rewards.mean())
        baseline = mean if self._baseline is None else self._baseline
        self._baseline = baseline + (1.0 - self.settings.baseline_decay) * (mean - baseline)
        return np.asarray((rewards - baseline) * scale)

    def _entropy_weight(self) -> float:
        if self.prior is None:
            return self.settings.entropy
        settings = self.prior_settings
        return settings.entropy / (1.0 + len(self._rewards) / settings.entropy_decay)

    def _update(self, codes: Codes, rewards: Floats) -> None:
        """Climb the objective of ``(num_archs, num_choices)`` networks and their rewards."""
        settings, entropy_weight = self.settings, self._entropy_weight()
        advantage = torch.from_numpy(self._advantage(rewards)).float()
        before: Tensor | None = None
        for _ in range(settings.epochs if settings.ppo else 1):
            log_probs, entropies = self.controller.evaluate(codes)
            if settings.ppo:
                before = log_probs.detach() if before is None else before
                ratio = torch.exp(log_probs - before)
                objective = clipped_objective(ratio, advantage, settings.clip)
            else:
                objective = (advantage * log_probs).mean()
            objective = objective + entropy_weight * entropies.mean()
            if self.prior is not None:
                objective = objective + self.prior_settings.imitation * self._imitation()
            _ascend(self._optimiser, objective)

    def _imitation(self) -> Tensor:
        """Return the mean log-likelihood of the best networks so far."""
        best = np.argsort(-self._rewards, kind="stable")[: self.prior_settings.imitated]
        log_probs, _ = self.controller.evaluate(self.history.codes[best])
        return log_probs.mean()


def mid_ranks(known: Floats, values: Floats) -> Floats:
    """Return the share (0..1) of ``known`` that is below each of ``values``; equals count half."""
    ordered = np.sort(known)
    below = np.searchsorted(ordered, values, "left")
    equal = np.searchsorted(ordered, values, "right") - below
    return np.asarray((below + 0.5 * equal) / len(ordered))


def _ascend(optimiser: torch.optim.Adam, objective: Tensor) -> None:
    """Take one step up the gradient of ``objective``, its norm clipped."""
    optimiser.zero_grad()
    (-objective).backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
    optimiser.step()


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
        prior=problem.prior,
    )
