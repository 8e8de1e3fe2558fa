"""Counter-based random streams: what is drawn depends on what it is for, never on what ran before.

A stream is named by (seed, purpose, counters); resumed runs, workers and ranks that ask for the
same name get the same numbers by construction (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011). There is no global generator anywhere in hwnas.
"""

from __future__ import annotations

import hashlib

import numpy as np


def _digest(seed: int, purpose: str, counters: tuple[int, ...]) -> bytes:
    name = f"{seed}|{purpose}|{','.join(str(counter) for counter in counters)}"
    return hashlib.sha256(name.encode()).digest()


def stream(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the numpy generator named by ``(seed, purpose, counters)``."""
    key = int.from_bytes(_digest(seed, purpose, counters)[:16], "little")
    return np.random.Generator(np.random.Philox(key=key))


def derived_seed(seed: int, purpose: str, *counters: int) -> int:
    """Return a 63-bit seed for a library with its own generator (``torch.Generator``)."""
    return int.from_bytes(_digest(seed, purpose, counters)[:8], "little") >> 1
