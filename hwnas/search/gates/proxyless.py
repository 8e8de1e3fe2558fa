"""ProxylessNAS: a search over binarised paths by gradients, with one path in memory.

Cai, Zhu and Han, "ProxylessNAS: direct neural architecture search on target task and hardware",
ICLR 2019, §3. A weight step trains one path drawn by the gates (§3.1). An architecture step runs
one path on images of the ``arch`` split and estimates dL/dg of each gate: ``full`` for all options
(eq. 4), the outputs of those not on the path being computed afterwards and one at a time; ``two``
for two sampled options (§3.2.1), followed by the rescaling that leaves the others' probabilities as
they were. The alphas move by Adam with beta1 = 0.

Departures:

* The latency term is the exact expectation over the full softmax (eq. 5), held at the target by
  dual ascent; the last part of the search commits to networks in the latency window (see
  ``gate_search``). In ``two`` the latency moves all alphas, in an update of its own after the
  rescaling: by the mean over all pairs of what it would be for the pair drawn, in the same step
  sizes as the task's (Adam's, by the task's moments). Only then do both weigh an option alike,
  and the alphas rest where utility and latency balance; by the full softmax's gradient the rarely
  drawn options would be held by the task alone.
* A skip is an option like the others and gets its gradient also when it is on the path.
* The learning rate of the alphas grows where a search has few steps (``gate_search.TRAVEL``).
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
        p = probabilities(search.alpha)
        path = draw(p, stream(search.settings.seed, "arch", step))
        wanted = [np.flatnonzero(row).tolist() for row in search.usable]
        gate = np.zeros_like(p)
        for choice, found in enumerate(search.problem.gate_gradients(path, wanted, step)):
            gate[choice, wanted[choice]] = found
        gradient = alpha_gradient(p, gate)
        scale = search.scale_of_task(gradient, search.usable)
        pulled = gradient + scale * search.latency_gradient()
        search.alpha = search.adam.step(search.alpha, pulled, search.usable)

    def state(self) -> dict[str, Any]:
        """Keep nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


@dataclass(frozen=True)
class TwoPaths:
    """Two sampled alphas of each choice by the loss, rescaled; then all by the latency."""

    def update(self, search: GateSearch, step: int) -> None:
        """Move the alphas once."""
        before = search.alpha
        pairs = draw_pairs(before, stream(search.settings.seed, "arch", step))
        mask = pairs.mask(before.shape)
        wanted = [list(dict.fromkeys(row)) for row in pairs.options.tolist()]
        gate = np.zeros_like(before)
        for choice, found in enumerate(search.problem.gate_gradients(pairs.active, wanted, step)):
            gate[choice, wanted[choice]] = found
        of_pair = probabilities(np.where(mask, before, -np.inf))
        gradient = alpha_gradient(of_pair, gate)
        share = float(mask.sum() / search.usable.sum())  # an alpha is sampled this often
        scale = share * search.scale_of_task(gradient, mask)
        pull = scale * search.latency_gradient(expected_pair_gradient)
        moved = rescaled(before, search.adam.step(before, gradient, mask), mask)
        limit = MAX_PULL * search.settings.lr
        change = np.clip(search.adam.change(pull), -limit, limit)
        search.alpha = np.where(search.usable & (search.adam.steps > 0), moved - change, moved)

    def state(self) -> dict[str, Any]:
        """Keep nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take nothing."""


def build(settings: GatesConfig) -> FullGradient | TwoPaths:
    """Return the rule of strategy proxyless."""
    return FullGradient() if settings.gradient == "full" else TwoPaths()
