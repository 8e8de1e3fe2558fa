"""Binary gates over the options of each choice: the arithmetic of ProxylessNAS, without a network.

Cai, Zhu and Han, "ProxylessNAS", ICLR 2019. Architecture parameters ``alpha`` are an array
``(num_choices, max_options)``; an option that does not exist, or that may not be used, has alpha
minus infinity and probability 0. All functions return new arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

INITIAL_STD = 1e-3
BETA2 = 0.999
EPSILON = 1e-8


def initial_alpha(usable: Mask, rng: np.random.Generator) -> Floats:
    """Return alphas drawn from N(0, 1e-3) where ``usable``, minus infinity elsewhere."""
    return np.where(usable, rng.normal(0.0, INITIAL_STD, usable.shape), -np.inf)


def probabilities(alpha: Floats) -> Floats:
    """Return the softmax over the options of each choice (eq. 2), rows summing to 1."""
    shifted = np.exp(alpha - alpha.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def log_probabilities(alpha: Floats) -> Floats:
    """Return the logarithm of :func:`probabilities`, minus infinity where it is 0."""
    shifted = alpha - alpha.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def entropy(alpha: Floats) -> float:
    """Return the mean entropy of the choices, nats; 0 when every choice is decided."""
    logs = log_probabilities(alpha)
    finite = np.where(np.isfinite(logs), logs, 0.0)
    return float(-(np.exp(logs) * finite).sum(axis=1).mean())


def alpha_gradient(p: Floats, gate_gradient: Floats) -> Floats:
    """Return dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i) per choice (eq. 4).

    Row by row it is the softmax's Jacobian, transposed, times ``gate_gradient`` (dL/dg, 0 where an
    option does not exist).
    """
    mean = (p * gate_gradient).sum(axis=1, keepdims=True)
    return np.asarray(p * (gate_gradient - mean))


def draw(p: Floats, rng: np.random.Generator) -> tuple[int, ...]:
    """Return one option per choice, drawn by its probability (eq. 2)."""
    uniform = rng.random((len(p), 1))
    picked = (p.cumsum(axis=1) <= uniform).sum(axis=1)
    last = p.shape[1] - 1 - np.argmax(p[:, ::-1] > 0, axis=1)  # where the sum ends short of 1
    return tuple(int(i) for i in np.minimum(picked, last))


@dataclass(frozen=True)
class Pairs:
    """Two options of each choice and which of them is active; a lone option is paired with itself.

    ``options`` is ``(num_choices, 2)``, the active one first.
    """

    options: NDArray[np.int64]

    @property
    def active(self) -> tuple[int, ...]:
        """The path that is run."""
        return tuple(int(i) for i in self.options[:, 0])

    def mask(self, shape: tuple[int, ...]) -> Mask:
        """Return which alphas the pairs cover."""
        mask = np.zeros(shape, dtype=bool)
        np.put_along_axis(mask, self.options, True, axis=1)
        return mask


def draw_pairs(alpha: Floats, rng: np.random.Generator) -> Pairs:
    """Draw two distinct options of each choice without replacement, then the active one (§3.2.1).

    The active one is drawn by the softmax over the two.
    """
    log_p = log_probabilities(alpha)
    # the two largest of log p plus Gumbel noise are a sample without replacement
    keys = log_p + rng.gumbel(size=log_p.shape)
    two = np.argsort(-keys, axis=1, kind="stable")[:, :2]
    if two.shape[1] < 2:
        two = np.repeat(two, 2, axis=1)
    chosen = np.take_along_axis(log_p, two, axis=1)
    two[:, 1] = np.where(np.isfinite(chosen[:, 1]), two[:, 1], two[:, 0])
    chosen = np.take_along_axis(log_p, two, axis=1)
    swap = rng.random(len(two)) >= 1.0 / (1.0 + np.exp(chosen[:, 1] - chosen[:, 0]))
    two[swap] = two[swap][:, ::-1]
    return Pairs(two)


def expected_pair_gradient(p: Floats, gate_gradient: Floats) -> Floats:
    """Return the mean of the gradient by alpha over the pairs that :func:`draw_pairs` may draw.

    Of options i and j drawn with probability ``p_i p_j (1 / (1 - p_i) + 1 / (1 - p_j))`` the
    softmax over the two has the gradient ``q_i q_j (dL/dg_i - dL/dg_j)``, ``q_i = p_i / (p_i +
    p_j)``; an option that is not drawn has none.
    """
    one, other = p[:, :, None], p[:, None, :]
    rest = np.maximum(1.0 - p, np.finfo(float).tiny)
    drawn = one * other * (1.0 / rest[:, :, None] + 1.0 / rest[:, None, :])
    both = np.maximum(one + other, np.finfo(float).tiny)
    softmax = (one / both) * (other / both)
    difference = gate_gradient[:, :, None] - gate_gradient[:, None, :]  # 0 on the diagonal
    return np.asarray((np.minimum(drawn, 1.0) * softmax * difference).sum(axis=2))


def rescaled(before: Floats, after: Floats, mask: Mask) -> Floats:
    """Shift the changed alphas of each choice so that the others' probabilities stay (§3.2.1).

    ``mask`` says which were changed: their summed probability is as it was before.
    """

    def total(alpha: Floats) -> Floats:
        part = np.where(mask, alpha, -np.inf)
        highest = part.max(axis=1, keepdims=True)
        return np.asarray(highest + np.log(np.exp(part - highest).sum(axis=1, keepdims=True)))

    return np.where(mask, after - (total(after) - total(before)), before)


@dataclass
class AlphaAdam:
    """Adam (Kingma and Ba, ICLR 2015) with beta1 = 0, for alphas of which a step sees a part.

    Momentum would move options that were not sampled (and no decay acts on any); the second moment
    and its bias correction are kept per alpha and advance only where ``mask`` is set.
    """

    lr: float
    shape: tuple[int, int]
    second: Floats = field(init=False)
    steps: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.second = np.zeros(self.shape)
        self.steps = np.zeros(self.shape, dtype=np.int64)

    def step(self, alpha: Floats, gradient: Floats, mask: Mask) -> Floats:
        """Return the alphas after a step; those outside ``mask`` are the same."""
        mask = mask & np.isfinite(alpha)
        self.steps = self.steps + mask
        moved = BETA2 * self.second + (1 - BETA2) * gradient**2
        self.second = np.where(mask, moved, self.second)
        return np.where(mask, alpha - self.change(gradient), alpha)

    def change(self, gradient: Floats) -> Floats:
        """Return by how much a step along ``gradient`` lowers each alpha; no moment is updated."""
        correction = 1 - BETA2 ** np.maximum(self.steps, 1)
        return self.lr * gradient / (np.sqrt(self.second / correction) + EPSILON)
