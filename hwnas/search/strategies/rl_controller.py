"""A recurrent controller: a distribution over codes, one choice after the other.

Zoph and Le, "Neural architecture search with reinforcement learning" (ICLR 2017, §3.1): an LSTM
(Hochreiter and Schmidhuber, 1997) takes the option chosen last and gives the probabilities of the
next choice's options.

Departures: the LSTM has one layer, and begins with open forget gates and nearly uniform choices,
which learns faster on hundreds of networks than weights between -0.08 and 0.08; every choice has
its own embedding and its own output layer, as the options of different choices have nothing in
common; a choice that does not exist in a network (a block of a shallow stage) is passed over: it
has no probability, and the next choice gets a symbol of its own for it.

Letters of shapes: B networks, L choices, O the largest number of options, H hidden units.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical

from hwnas.protocols import Codes

IMPOSSIBLE = -1e9  # the logit of an option that a choice does not have


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: faster for small matrices, and the sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def generator_of(rng: np.random.Generator) -> torch.Generator:
    """Return a generator of torch that is seeded by the next draw of ``rng``."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


class Controller(nn.Module):
    """An LSTM over the choices of a space; ``num_options`` (L,) are their numbers of options."""

    def __init__(
        self, num_options: Sequence[int], rng: np.random.Generator, *, hidden: int = 32
    ) -> None:
        super().__init__()
        length, most = len(num_options), max(num_options)
        self.num_symbols = most + 1  # the last one stands for 'does not exist'
        exists = torch.arange(most) < torch.tensor(num_options)[:, None]
        self.mask: Tensor
        self.register_buffer("mask", torch.where(exists, 0.0, IMPOSSIBLE))  # (L, O)
        # row l * (O + 1) + symbol: what choice l gets where choice l - 1 chose that symbol
        # on meta: without weights, so that the global generator is left alone
        embedding = nn.Embedding(length * self.num_symbols, hidden, device="meta")
        lstm = nn.LSTM(hidden, hidden, batch_first=True, device="meta")
        self.embedding, self.lstm = embedding.to_empty(device="cpu"), lstm.to_empty(device="cpu")
        self.output = nn.Parameter(torch.empty(length, hidden, most))
        self.bias = nn.Parameter(torch.empty(length, most))
        self._initialise(generator_of(rng), hidden)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator, hidden: int) -> None:
        """Draw all weights; every choice is then nearly uniform over its options."""
        nn.init.normal_(self.embedding.weight, generator=generator)
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("weight"):
                nn.init.normal_(parameter, std=hidden**-0.5, generator=generator)
            else:
                nn.init.zeros_(parameter)
            if name == "bias_ih_l0":
                parameter[hidden : 2 * hidden] = 1.0  # forget gates begin open
        nn.init.normal_(self.output, std=0.1 * hidden**-0.5, generator=generator)
        nn.init.zeros_(self.bias)

    def _embedded(self, place: Tensor, symbols: Tensor) -> Tensor:
        """Return (B, l, H) inputs of the choices ``place`` (l,), of the symbols (B, l) before."""
        embedded: Tensor = self.embedding(place * self.num_symbols + symbols)
        return embedded

    def policy(self, codes: Tensor) -> Categorical:
        """Return the distributions (B, L) of the choices, each given the options before it."""
        symbols = torch.where(codes < 0, self.num_symbols - 1, codes)
        before = torch.cat([symbols.new_zeros(len(codes), 1), symbols[:, :-1]], dim=1)
        hidden, _ = self.lstm(self._embedded(torch.arange(codes.shape[1]), before))  # (B, L, H)
        logits = torch.einsum("blh,lho->blo", hidden, self.output) + self.bias + self.mask
        return Categorical(logits=logits, validate_args=False)

    def evaluate(self, codes: Codes) -> tuple[Tensor, Tensor]:
        """Return (B,) log-probabilities of (B, L) codes and the entropies (nats) along them."""
        chosen = torch.from_numpy(codes.astype(np.int64))
        exists = chosen >= 0
        policy = self.policy(chosen)
        log_probs = policy.log_prob(chosen.clamp(min=0))  # type: ignore[no-untyped-call]
        entropies = policy.entropy()  # type: ignore[no-untyped-call]
        return (log_probs * exists).sum(1), (entropies * exists).sum(1)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        existing: Callable[[Codes], NDArray[np.bool_]] | None = None,
    ) -> Codes:
        """Return (count, L) codes drawn one choice after the other; -1: does not exist.

        ``existing(codes)`` (B, L) says which choices exist beside those drawn so far (the others
        are 0 there); None: all do.
        """
        generator, length = generator_of(rng), len(self.mask)
        codes = np.zeros((count, length), dtype=np.int16)
        symbols = torch.zeros(count, 1, dtype=torch.int64)
        state = None
        for place in range(length):
            hidden, state = self.lstm(self._embedded(torch.tensor([place]), symbols), state)
            logits = hidden[:, 0] @ self.output[place] + self.bias[place] + self.mask[place]
            symbols = torch.multinomial(logits.softmax(1), 1, generator=generator)  # (B, 1)
            codes[:, place] = symbols[:, 0].numpy()
            if existing is not None:
                absent = ~existing(codes)[:, place]
                codes[absent, place] = -1
                symbols[torch.from_numpy(absent)] = self.num_symbols - 1
        return codes
