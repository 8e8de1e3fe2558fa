"""Strategy proxyless: the gradient estimators of ProxylessNAS, with one path in memory.

Cai, Zhu and Han, "ProxylessNAS: direct neural architecture search on target task and hardware",
ICLR 2019. One architecture step, with p = softmax(alpha) (eq. 2)::

    draw a path by p, run it on images of ``arch``
    dL/dg_j = <dL/dx, o_j>                                    for the options j of each choice
    dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i)          (eq. 4)
    alpha by Adam with beta1 = 0

``full`` takes all options (eq. 4), computing the outputs of those off the path afterwards and one
at a time. ``two`` (§3.2.1) draws two options of each choice, takes eq. 4 of the softmax over these
two, and shifts both alphas so that the probabilities of the other options stay as they were.

Departures, besides those of the loop (``gate_search``):

- The latency term is the exact expectation over the full softmax (eq. 5). In ``two`` it moves all
  alphas, in an update of its own after the rescaling: by the mean, over all pairs, of what the
  gradient would be for the pair drawn, with the step sizes of the task's (Adam's, by the task's
  moments). Task and latency then weigh each option alike, and the alphas rest where utility and
  latency balance; with the full softmax's gradient, rarely drawn options would be held by the task
  alone.
- A skip is an option like the others and gets its gradient also when it is on the path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.rng import stream
from hwnas.search.gates.binary_gates import (
    alpha_gradient,
    draw,
    draw_pairs,
    expected_pair_gradient,
    probabilities,
    rescaled,
)
from hwnas.search.gates.gate_search import GateSearch
from hwnas.search.settings import GatesConfig

MAX_PULL = 3.0  # times the learning rate: the latency's step where the task's gradient is tiny


@dataclass(frozen=True)
class FullGradient:
    """All alphas of every choice, by the loss and the latency together (eq. 4)."""

    def update(self, search: GateSearch, step: int) -> None:
        """Move the alphas once."""
        p = probabilities(search.alpha)  # (num_choices, max_options), eq. 2
        path = draw(p, stream(search.settings.seed, "arch", step))
        wanted = [np.flatnonzero(row).tolist() for row in search.usable]
        gate = np.zeros_like(p)  # dL/dg
        for choice, found in enumerate(search.problem.gate_gradients(path, wanted, step)):
            gate[choice, wanted[choice]] = found
        gradient = alpha_gradient(p, gate)  # eq. 4
        scale = search.scale_of_task(gradient, search.usable)
        pulled = gradient + scale * search.latency_gradient()
        search.alpha = search.adam.step(search.alpha, pulled, search.usable)

    def state(self) -> dict[str, Any]:
        """Return nothing: the rule has no state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back nothing."""


@dataclass(frozen=True)
class TwoPaths:
    """Two sampled alphas of each choice by the loss, rescaled; then all by the latency."""

    def update(self, search: GateSearch, step: int) -> None:
        """Move the alphas once."""
        # the task, by two sampled options of each choice (§3.2.1)
        before = search.alpha
        pairs = draw_pairs(before, stream(search.settings.seed, "arch", step))
        mask = pairs.mask(before.shape)
        wanted = [list(dict.fromkeys(row)) for row in pairs.options.tolist()]
        gate = np.zeros_like(before)  # dL/dg
        for choice, found in enumerate(search.problem.gate_gradients(pairs.active, wanted, step)):
            gate[choice, wanted[choice]] = found
        of_pair = probabilities(np.where(mask, before, -np.inf))  # softmax over the two
        gradient = alpha_gradient(of_pair, gate)  # eq. 4
        # the latency, by all options: its mean over the pairs that may be drawn
        share = float(mask.sum() / search.usable.sum())  # an alpha is sampled this often
        scale = share * search.scale_of_task(gradient, mask)
        pull = scale * search.latency_gradient(expected_pair_gradient)
        # the others' probabilities stay; then the latency's step
        moved = rescaled(before, search.adam.step(before, gradient, mask), mask)
        limit = MAX_PULL * search.settings.lr
        change = np.clip(search.adam.change(pull), -limit, limit)
        search.alpha = np.where(search.usable & (search.adam.steps > 0), moved - change, moved)

    def state(self) -> dict[str, Any]:
        """Return nothing: the rule has no state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back nothing."""


def build(settings: GatesConfig) -> FullGradient | TwoPaths:
    """Return the rule of strategy proxyless."""
    return FullGradient() if settings.gradient == "full" else TwoPaths()
