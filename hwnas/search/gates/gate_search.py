"""The loop of ProxylessNAS: weight steps and architecture steps in turn, ending at the budget.

Cai, Zhu and Han, ICLR 2019, §3.2: the gates' parameters (alphas) are trained in turn with the
weights of a supernet. A weight step trains one path drawn by the gates' probabilities on ``train``;
an architecture step then moves the alphas on ``arch``, by one of the published estimators
(``GateRule``). The search takes part in the supernet's training as a
``train.engine.TrainingStrategy``.

Departures, so that one run ends at the budget:

- *Dual ascent* instead of a fixed weight of the latency term (§3.3.1). The loss gets
  ``weight * (E[latency] / target - 1)`` with ``weight = multiplier + GAIN * error``; the multiplier
  rises while the expectation is above the target and falls while it is below (an augmented
  Lagrangian; Nocedal and Wright, 2nd ed., §17.3). Until the commitment the weight is never
  negative, so that the search finds faster networks that are better; it stays so where no network
  lies in the window below the target. The latency's gradient is measured in units of the task's,
  so that the gains suit any task.
- *Commitment*: over the last ``COMMIT_SHARE`` of the architecture steps each alpha also follows the
  log-likelihood of the likeliest network *inside* the latency window, found exactly. An entropy
  term would sharpen the likeliest network overall, whatever its latency; this one ends where the
  budget is met, in expectation and in the argmax.
- *Derivation*: candidates are the likeliest networks inside the latency window, found exactly,
  instead of the most probable option of each choice.
- *Learning rate*: it grows where a search has few steps (``TRAVEL``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from hwnas.arch import Arch
from hwnas.nn.supernet import Path
from hwnas.rng import stream
from hwnas.search.gates.binary_gates import (
    AlphaAdam,
    Floats,
    Mask,
    alpha_gradient,
    draw,
    entropy,
    initial_alpha,
    log_probabilities,
    probabilities,
)
from hwnas.search.gates.expectation import Expectation, score_terms
from hwnas.search.problem.limits import LimitedSpace
from hwnas.space.codes import symbol_counts

# tuned with benchmarks/gate_search.py, on planted accuracies of macro-cifar under three budgets
GAIN = 10.0  # of the error itself, damps the multiplier
RISE = 5.0  # of the multiplier, per unit of alpha travel (learning rate x steps) and of error
MAX_WEIGHT = 8.0  # of the latency term, in units of the task's gradient
WINDOW = 0.92  # candidates come from [WINDOW, 1] x target
COMMIT_SHARE = 0.3  # of the architecture steps, the last ones
COMMIT_STRENGTH = 6.0  # times the learning rate, reached at the end
WINDOWS = (0.97, 0.95, 0.92, 0.85, 0.75)  # lower ends of the windows to commit to, first to last
TRAVEL = 20.0  # how far an alpha can move over a search by default
MIN_LR = 1e-3  # the paper's


Estimate = Callable[[Floats, Floats], Floats]
"""From probabilities p and dL/dg to dL/dalpha, each ``(num_choices, max_options)``."""


class GateProblem(Protocol):
    """What gives the alphas their gradients: a supernet and a split, or a known function."""

    def gate_gradients(
        self, path: Path, wanted: Sequence[Sequence[int]], step: int
    ) -> list[list[float]]:
        """Return dL/dg of the ``wanted`` options of each choice, at the gates of ``path``."""

    def accuracies(self, paths: Sequence[Path], step: int) -> list[float]:
        """Return the accuracy (0..1) of each path, all on the same images."""

    def network(self, path: Path) -> nn.Module:
        """Return the network that a weight step on ``path`` trains."""

    def macs(self, path: Path) -> int:
        """Return the MACs of one image along ``path``."""


@dataclass(frozen=True)
class GateSettings:
    """How a gate search runs.

    ``warmup_epochs`` train weights only, on uniform paths; then there is an architecture step after
    every ``every`` weight steps. ``alpha_lr`` None lets alphas travel 20 over the search.
    """

    seed: int
    epochs: int
    warmup_epochs: int
    steps_per_epoch: int
    every: int = 1
    alpha_lr: float | None = None

    @property
    def num_arch_steps(self) -> int:
        """How many architecture steps there are."""
        return max(1, (self.epochs - self.warmup_epochs) * self.steps_per_epoch // self.every)

    @property
    def lr(self) -> float:
        """The learning rate of the alphas."""
        return self.alpha_lr or max(MIN_LR, TRAVEL / self.num_arch_steps)


class GateRule(Protocol):
    """How the task's loss moves the alphas: one of the published estimators."""

    def update(self, search: GateSearch, step: int) -> None:
        """Move ``search.alpha`` once, by the task and by ``search.latency_gradient()``."""

    def state(self) -> dict[str, Any]:
        """Return what the rule keeps between steps."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned."""


class GateSearch:
    """The alphas, their optimiser and the pull to the budget; ``rule`` moves the alphas.

    ``limited`` is the space under the limits that the search keeps; its first limit is the target.
    ``alpha`` is ``(num_choices, max_options)``, minus infinity where an option does not exist.
    Implements ``train.engine.TrainingStrategy``.
    """

    def __init__(
        self,
        limited: LimitedSpace,
        problem: GateProblem,
        settings: GateSettings,
        rule: GateRule,
    ) -> None:
        self.limited = limited
        self.rule = rule
        self.problem = problem
        self.settings = settings
        self.target_ms = limited.limits[0].maximum
        self.sizes = symbol_counts(limited.space)
        self.usable = self._usable()
        self.alpha = initial_alpha(self.usable, stream(settings.seed, "alpha"))
        self.explored = self.alpha  # the alphas before the commitment
        self.adam = AlphaAdam(settings.lr, self.alpha.shape)
        self.predictor = limited.predictors[str(limited.limits[0].table)]
        self.expected_ms = Expectation(self.predictor.factor_ms())
        self.pulls_up = False  # whether the weight may be negative, set in each step
        self.multiplier = 0.0
        self.task_scale = 0.0
        self.num_arch_steps = 0
        self.macs = 0

    def _usable(self) -> Mask:
        usable = np.zeros((len(self.sizes), max(self.sizes)), dtype=bool)
        for choice, size in enumerate(self.sizes):
            usable[choice, :size] = True
        for restriction in self.limited.restricted:
            if restriction.beside:
                continue  # the option is used in other combinations
            names = [choice.name for choice in self.limited.space.choices]
            choice = names.index(restriction.choice)
            options = self.limited.space.choices[choice].options
            usable[choice, options.index(restriction.option)] = False
        return usable

    # --- what the training engine calls

    def identity(self) -> dict[str, Any]:
        """Return the kind of search, its target and its settings."""
        return {
            "kind": type(self.rule).__name__,
            "target_ms": self.target_ms,
            "settings": asdict(self.settings),
        }

    def networks(self, step: int) -> Sequence[nn.Module]:
        """Return the network of a weight step: a path drawn by the gates' probabilities."""
        path = draw(probabilities(self.alpha), stream(self.settings.seed, "gates", step))
        self.macs += self.problem.macs(path)
        return (self.problem.network(path),)

    def after_step(self, step: int) -> None:
        """Take an architecture step where one is due."""
        since = step + 1 - self.settings.warmup_epochs * self.settings.steps_per_epoch
        if since > 0 and since % self.settings.every == 0:
            self.architecture_step(self.num_arch_steps)

    def after_epoch(self, epoch: int) -> dict[str, Any]:
        """Return entropy (nats per choice), latencies, dual weight, each option's probability."""
        p = probabilities(self.alpha)
        return {
            "entropy": entropy(self.alpha),
            "expected_ms": self.expected_ms.value(p),
            "argmax_ms": self.argmax_ms(),
            "target_ms": self.target_ms,
            "multiplier": self.multiplier,
            "num_arch_steps": self.num_arch_steps,
            "gates": [
                [round(float(value), 4) for value in row[:size]]
                for row, size in zip(p, self.sizes, strict=True)
            ],
        }

    def state(self) -> dict[str, Any]:
        """Return alphas, the optimiser's moments, the multiplier and the counts."""
        return {
            "alpha": torch.from_numpy(self.alpha.copy()),
            "explored": torch.from_numpy(self.explored.copy()),
            "second": torch.from_numpy(self.adam.second.copy()),
            "steps": torch.from_numpy(self.adam.steps.copy()),
            "multiplier": self.multiplier,
            "task_scale": self.task_scale,
            "num_arch_steps": self.num_arch_steps,
            "macs": self.macs,
            "rule": self.rule.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        self.alpha = state["alpha"].numpy().copy()
        self.explored = state["explored"].numpy().copy()
        self.adam.second = state["second"].numpy().copy()
        self.adam.steps = state["steps"].numpy().copy()
        self.multiplier = float(state["multiplier"])
        self.task_scale = float(state["task_scale"])
        self.num_arch_steps = int(state["num_arch_steps"])
        self.macs = int(state["macs"])
        self.rule.restore(state["rule"])

    # --- the architecture step

    def architecture_step(self, step: int) -> None:
        """Move the alphas once; ``step`` (from 0) names the random draws and the images."""
        chosen = self.likeliest() if self.is_committing else None
        self.pulls_up = chosen is not None
        self.rule.update(self, step)
        if not self.is_committing:
            self.explored = self.alpha
        if chosen is not None:
            done = self.num_arch_steps / self.settings.num_arch_steps
            self._commit(chosen, COMMIT_STRENGTH * (done - 1 + COMMIT_SHARE) / COMMIT_SHARE)
        self.num_arch_steps += 1

    @property
    def is_committing(self) -> bool:
        """Whether the search is in its last part, in which it settles in the latency window."""
        return self.num_arch_steps >= (1 - COMMIT_SHARE) * self.settings.num_arch_steps

    def scale_of_task(self, gradient: Floats, mask: Mask) -> float:
        """Return the running root mean square of the task's gradient over ``mask``."""
        # an average over all steps so far, then an exponential one of 50 steps
        now = float(np.sqrt(np.mean(gradient[mask & self.usable] ** 2)))
        kept = min(0.98, self.num_arch_steps / (1 + self.num_arch_steps))
        self.task_scale = kept * self.task_scale + (1 - kept) * now
        return self.task_scale

    def latency_gradient(self, estimate: Estimate = alpha_gradient) -> Floats:
        """Return the pull on all alphas, in units of the task's gradient; updates the multiplier.

        It is the weight times the gradient of ``E[latency]``, scaled to root mean square 1.
        ``estimate`` makes it of ``dE/dp`` as the task's is made, of the same probabilities.
        """
        p = probabilities(self.alpha)
        gradient = estimate(p, self.expected_ms.slope(p))
        # dual ascent on E[latency] / target <= 1, the error damped by GAIN
        error = self.expected_ms.value(p) / self.target_ms - 1.0
        self.multiplier += RISE * self.settings.lr * error
        least = -MAX_WEIGHT if self.pulls_up else 0.0
        self.multiplier = float(np.clip(self.multiplier, least, MAX_WEIGHT))
        weight = float(np.clip(self.multiplier + GAIN * error, least, MAX_WEIGHT))
        scale = float(np.sqrt(np.mean(gradient[self.usable] ** 2)))
        return weight * gradient / scale if scale > 0 else np.zeros_like(gradient)

    def _commit(self, chosen: Path, strength: float) -> None:
        """Follow the gradient of the log-likelihood of ``chosen``: one-hot - p."""
        towards = np.zeros_like(self.alpha)
        towards[np.arange(len(chosen)), list(chosen)] = 1.0
        rate = self.settings.lr * min(strength, COMMIT_STRENGTH)
        change = rate * (towards - probabilities(self.alpha))
        self.alpha = np.where(self.usable, self.alpha + change, self.alpha)

    # --- what the alphas say

    def path_ms(self, paths: Sequence[Path]) -> Floats:
        """Return the predicted latency of each path."""
        return self.predictor.predict_ms(np.array(paths, dtype=np.int16))

    def argmax_path(self) -> Path:
        """Return the most probable option of each choice, limits aside."""
        return tuple(int(i) for i in self.alpha.argmax(axis=1))

    def argmax_ms(self) -> float:
        """Return the predicted latency of :meth:`argmax_path`."""
        return float(self.path_ms([self.argmax_path()])[0])

    def likeliest(self) -> Path | None:
        """Return the likeliest network in the narrowest latency window that holds one."""
        scored = self.scored(self.alpha)
        for share in WINDOWS:
            best = replace(scored, at_least=share * self.target_ms).best(1)
            if best:
                code = self.limited.space.encode([best[0][0]])[0]
                return tuple(int(index) for index in code)
        return None

    def scored(self, alpha: Floats) -> LimitedSpace:
        """Return the limited space with the log-probability of a network as its score."""
        return replace(self.limited, score=score_terms(log_probabilities(alpha), self.sizes))

    def candidates(self, count: int) -> list[Arch]:
        """Return up to ``count`` networks to choose from, distinct, most of them in the window.

        Half are the likeliest in the window [0.92, 1] x target of the final alphas, a quarter those
        of the alphas before the commitment, a quarter the likeliest of these under the limits
        alone: where a faster network is better, it is among them.
        """
        explored, low = self.scored(self.explored), WINDOW * self.target_ms
        lists = (
            replace(self.scored(self.alpha), at_least=low).best(count),
            replace(explored, at_least=low).best(count),
            explored.best(count),
        )
        shares = (count - 2 * (count // 4), count // 4, count // 4)
        found: dict[str, Arch] = {}
        for ranked, share in zip(lists, shares, strict=True):
            new = [arch for arch, _ in ranked if self.limited.space.network_id(arch) not in found][
                :share
            ]
            found.update({self.limited.space.network_id(arch): arch for arch in new})
        for arch in (arch for ranked in lists for arch, _ in ranked):
            if len(found) < count:  # a window that holds too few
                found.setdefault(self.limited.space.network_id(arch), arch)
        return list(found.values())
