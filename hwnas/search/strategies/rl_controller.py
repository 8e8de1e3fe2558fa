"""A recurrent controller: a distribution over codes, one choice after the other.

Zoph and Le, "Neural architecture search with reinforcement learning" (ICLR 2017, §3.1): an LSTM
(Hochreiter and Schmidhuber, 1997) takes the option chosen last and gives the probabilities of the
next choice's options. It is small, so it is written in numpy, gradients included, and runs without
torch.

Departures: every choice has its own embedding and its own output layer, as the options of different
choices have nothing in common, and the embedding is what its options add to the gates, so that no
input matrix is needed; the LSTM has one layer; a choice that does not exist in a network (a
block of a shallow stage) is passed over: it has no probability, and the next choice is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.protocols import Codes

Floats = NDArray[np.float64]
Params = dict[str, Floats]

IMPOSSIBLE = -1e9  # the logit of an option that a choice has not


@dataclass(frozen=True)
class Pass:
    """What one pass over ``(num_archs, num_choices)`` codes computed.

    ``log_probs`` is ``(num_archs, num_choices, most options)``, ``exists`` ``(num_archs,
    num_choices)``. The rest is for the gradient: symbols put in, hidden and cell states (one
    more than choices), gates ``(num_archs, num_choices, 4, hidden)``.
    """

    codes: Codes
    exists: NDArray[np.bool_]
    log_probs: Floats
    inputs: NDArray[np.int64]
    hidden: Floats
    cell: Floats
    gates: Floats

    def log_likelihood(self) -> Floats:
        """Return ``(num_archs,)`` log-probabilities of the codes."""
        chosen = np.maximum(self.codes, 0).astype(np.int64)[:, :, None]
        picked = np.take_along_axis(self.log_probs, chosen, axis=2)[:, :, 0]
        return np.asarray((picked * self.exists).sum(axis=1))

    def entropy(self) -> Floats:
        """Return ``(num_archs,)`` sums of the choices' entropies, in nats, along each code."""
        terms = -(np.exp(self.log_probs) * self.log_probs).sum(axis=2)
        return np.asarray((terms * self.exists).sum(axis=1))


class Controller:
    """An LSTM over the choices of a space; ``num_options[i]`` is the number of options of one.

    Initially every choice is nearly uniform over its options.
    """

    def __init__(
        self, num_options: Sequence[int], rng: np.random.Generator, *, hidden: int = 32
    ) -> None:
        self.num_options = np.array(num_options)
        self.hidden = hidden
        length, most = len(self.num_options), int(self.num_options.max())
        self.mask = np.where(np.arange(most) < self.num_options[:, None], 0.0, IMPOSSIBLE)
        scale = hidden**-0.5
        self.params: Params = {
            # row ``most`` stands for 'does not exist'; what the first choice takes is [0, 0]
            "embedding": rng.normal(0.0, scale, (length, most + 1, 4 * hidden)),
            "recurrent": rng.normal(0.0, scale, (hidden, 4 * hidden)),
            "bias": np.zeros(4 * hidden),
            "output": rng.normal(0.0, 0.1 * scale, (length, hidden, most)),
            "output_bias": np.zeros((length, most)),
        }
        self.params["bias"][hidden : 2 * hidden] = 1.0  # forget gates begin open

    def _step(
        self, place: int, symbols: NDArray[np.int64], hidden: Floats, cell: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Return hidden and cell state, gates and log-probabilities of choice ``place``."""
        params = self.params
        summed = params["embedding"][place][symbols] + hidden @ params["recurrent"] + params["bias"]
        gates = summed.reshape(len(symbols), 4, self.hidden)
        gates = np.concatenate([_sigmoid(gates[:, :3]), np.tanh(gates[:, 3:])], axis=1)
        cell = gates[:, 1] * cell + gates[:, 0] * gates[:, 3]
        hidden = gates[:, 2] * np.tanh(cell)
        logits = hidden @ params["output"][place] + params["output_bias"][place] + self.mask[place]
        logits -= logits.max(axis=1, keepdims=True)
        log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return hidden, cell, gates, log_probs

    def _inputs(self, codes: Codes) -> NDArray[np.int64]:
        """Return ``(num_archs, num_choices)`` what each choice is told of the one before it."""
        symbols = np.where(codes < 0, self.mask.shape[1], codes).astype(np.int64)
        return np.concatenate([np.zeros((len(codes), 1), np.int64), symbols[:, :-1]], axis=1)

    def run(self, codes: Codes) -> Pass:
        """Return the pass over ``(num_archs, num_choices)`` codes, -1 where a choice is absent."""
        number, length = codes.shape
        inputs = self._inputs(codes)
        hidden = np.zeros((length + 1, number, self.hidden))
        cell = np.zeros_like(hidden)
        gates = np.empty((number, length, 4, self.hidden))
        log_probs = np.empty((number, *self.mask.shape))
        for place in range(length):
            hidden[place + 1], cell[place + 1], gates[:, place], log_probs[:, place] = self._step(
                place, inputs[:, place], hidden[place], cell[place]
            )
        return Pass(codes, codes >= 0, log_probs, inputs, hidden, cell, gates)

    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        existing: Callable[[Codes], NDArray[np.bool_]] | None = None,
    ) -> Codes:
        """Return ``(count, num_choices)`` codes drawn one choice after the other.

        ``existing(codes)`` says which choices exist beside those drawn so far (the others are
        0 there); None: all do. What does not exist is -1.
        """
        length = len(self.num_options)
        codes = np.zeros((count, length), dtype=np.int16)
        draws = rng.random((length, count, 1))
        hidden = np.zeros((count, self.hidden))
        cell = np.zeros_like(hidden)
        symbols = np.zeros(count, dtype=np.int64)
        for place in range(length):
            hidden, cell, _, log_probs = self._step(place, symbols, hidden, cell)
            below = np.cumsum(np.exp(log_probs), axis=1) < draws[place]
            codes[:, place] = np.minimum(below.sum(axis=1), self.num_options[place] - 1)
            if existing is not None:
                codes[~existing(codes)[:, place], place] = -1
            symbols = np.where(codes[:, place] < 0, self.mask.shape[1], codes[:, place])
        return codes

    def gradient(self, run: Pass, weights: Floats, entropy_weight: float = 0.0) -> Params:
        """Return the gradient of ``sum(weights * log p) + entropy_weight * mean(entropy)``.

        ``weights`` is ``(num_archs,)``. The entropy is that of the choices along the given codes.
        """
        probs = np.exp(run.log_probs)
        logits = -probs * weights[:, None, None]
        chosen = np.maximum(run.codes, 0).astype(np.int64)[:, :, None]
        taken = np.take_along_axis(logits, chosen, axis=2) + weights[:, None, None]
        np.put_along_axis(logits, chosen, taken, axis=2)
        if entropy_weight:
            entropy = -(probs * run.log_probs).sum(axis=2, keepdims=True)
            logits -= entropy_weight / len(weights) * probs * (run.log_probs + entropy)
        return self._backward(run, logits * run.exists[:, :, None])

    def _backward(self, run: Pass, logits: Floats) -> Params:
        """Return the parameters' gradient from that of the logits, by backpropagation in time."""
        params, size = self.params, self.hidden
        grads = {name: np.zeros_like(value) for name, value in params.items()}
        hidden_grad = np.zeros((len(logits), size))
        cell_grad = np.zeros_like(hidden_grad)
        grads["output"] = run.hidden[1:].transpose(0, 2, 1) @ logits.transpose(1, 0, 2)
        grads["output_bias"] = logits.sum(axis=0)
        for place in reversed(range(logits.shape[1])):
            gates, cell = run.gates[:, place], np.tanh(run.cell[place + 1])
            hidden_grad = hidden_grad + logits[:, place] @ params["output"][place].T
            cell_grad = cell_grad + hidden_grad * gates[:, 2] * (1.0 - cell**2)
            gate_grad = np.stack(
                [
                    cell_grad * gates[:, 3],
                    cell_grad * run.cell[place],
                    hidden_grad * cell,
                    cell_grad * gates[:, 0],
                ],
                axis=1,
            )
            slope = np.concatenate(
                [gates[:, :3] * (1.0 - gates[:, :3]), 1.0 - gates[:, 3:] ** 2], axis=1
            )
            summed = (gate_grad * slope).reshape(len(logits), 4 * size)
            symbols = run.inputs[:, place]
            grads["bias"] += summed.sum(axis=0)
            grads["recurrent"] += run.hidden[place].T @ summed
            chosen = symbols[:, None] == np.arange(params["embedding"].shape[1])
            grads["embedding"][place] = chosen.T.astype(np.float64) @ summed
            hidden_grad, cell_grad = summed @ params["recurrent"].T, cell_grad * gates[:, 1]
        return grads


class Adam:
    """Adam (Kingma and Ba, ICLR 2015, Algorithm 1), upwards, with the gradient's norm clipped."""

    def __init__(
        self,
        params: Params,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        clip: float = 5.0,
    ) -> None:
        self.params, self.lr, self.betas, self.epsilon, self.clip = params, lr, betas, epsilon, clip
        self._steps = 0
        self._first = {name: np.zeros_like(value) for name, value in params.items()}
        self._second = {name: np.zeros_like(value) for name, value in params.items()}

    def ascend(self, grads: Mapping[str, Floats]) -> None:
        """Take one step up the gradient."""
        self._steps += 1
        norm = float(np.sqrt(sum(float((grad**2).sum()) for grad in grads.values())))
        scale = min(1.0, self.clip / norm) if norm > 0 else 1.0
        first, second = (1.0 - beta**self._steps for beta in self.betas)
        for name, value in self.params.items():
            grad = grads[name] * scale
            self._first[name] += (1.0 - self.betas[0]) * (grad - self._first[name])
            self._second[name] += (1.0 - self.betas[1]) * (grad**2 - self._second[name])
            spread = np.sqrt(self._second[name] / second) + self.epsilon
            value += self.lr * (self._first[name] / first) / spread


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))
