"""Strategy proxyless-rl: ProxylessNAS by REINFORCE on the binary gates.

Cai, Zhu and Han, ICLR 2019, §3.3.2 (Williams, Machine Learning 1992). One architecture step draws M
networks g^i by the gates and scores them on the same images of ``arch``, without gradients::

    dE[R]/dalpha = 1/M sum_i R(g^i) d log p(g^i) / dalpha     (§3.3.2)

Rewards R: ``product`` is accuracy x (T / latency)^w (Tan et al., "MnasNet", CVPR 2019, eq. 2);
``absolute`` is accuracy - w |latency / T - 1| (Bender et al., "TuNAS", CVPR 2020, §3.2), which
prefers networks at the target to faster ones.

Departures, besides those of the loop (``gate_search``):

- The baseline of a network is the mean reward of the others in its step (Kool, van Hoof and
  Welling, ICLR 2019 workshop, "Buy 4 REINFORCE samples, get a baseline for free!"), which were
  scored on the same images, where the paper averages over steps.
- Expectation and argmax are held at the target by the loop, so the reward's latency term is weak by
  default. A strong absolute one punishes the spread of the samples, and so decides gates before
  their accuracy is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hwnas.nn.supernet import Path
from hwnas.rng import stream
from hwnas.search.gates.binary_gates import Floats, draw, probabilities
from hwnas.search.gates.gate_search import GateSearch
from hwnas.search.settings import GatesConfig

RewardForm = Literal["product", "absolute"]
WEIGHT = 0.1


@dataclass(frozen=True)
class Reinforce:
    """REINFORCE over gates: ``samples`` networks (2 or more) a step; ``weight`` w, None: 0.1."""

    samples: int = 8
    reward: RewardForm = "absolute"
    weight: float | None = None

    def update(self, search: GateSearch, step: int) -> None:
        """Move the alphas once."""
        p = probabilities(search.alpha)
        rng = stream(search.settings.seed, "arch", step)
        paths = [draw(p, rng) for _ in range(self.samples)]
        rewards = self.rewards(search, paths, step)
        gradient = reinforce_gradient(p, paths, leave_one_out(rewards))
        scale = search.scale_of_task(gradient, search.usable)
        pulled = gradient + scale * search.latency_gradient()
        search.alpha = search.adam.step(search.alpha, pulled, search.usable)

    def rewards(self, search: GateSearch, paths: list[Path], step: int) -> Floats:
        """Return the reward of each path."""
        accuracy = np.array(search.problem.accuracies(paths, step))
        ratio = search.path_ms(paths) / search.target_ms
        weight = WEIGHT if self.weight is None else self.weight
        if self.reward == "product":
            return np.asarray(accuracy * ratio**-weight)
        return np.asarray(accuracy - weight * np.abs(ratio - 1.0))

    def state(self) -> dict[str, Any]:
        """Return nothing: the rule has no state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back nothing."""


def leave_one_out(rewards: Floats) -> Floats:
    """Return each reward minus the mean of the others."""
    others = (rewards.sum() - rewards) / (len(rewards) - 1)
    return np.asarray(rewards - others)


def reinforce_gradient(p: Floats, paths: list[Path], advantages: Floats) -> Floats:
    """Return the estimate of ``-dE[R]/dalpha`` (num_choices, max_options).

    The mean over paths of ``-advantage * (one-hot - p)``: the score function of a softmax.
    """
    gradient = np.zeros_like(p)
    rows = np.arange(len(p))
    for path, advantage in zip(paths, advantages, strict=True):
        gradient += advantage * p
        gradient[rows, list(path)] -= advantage
    return gradient / len(paths)


def build(settings: GatesConfig) -> Reinforce:
    """Return the rule of strategy proxyless-rl."""
    return Reinforce(settings.samples, settings.reward, settings.reward_weight)
