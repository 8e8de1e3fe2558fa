"""A predictor whose warnings reach the user as messages. Imports no torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from hwnas.interfaces import SearchSpace
from hwnas.latency.predictor import LutPredictor
from hwnas.latency.scoped import Tables


def predictor_of(
    space: SearchSpace, table: Tables, say: Callable[[str], None]
) -> LutPredictor:
    """Return the predictor of a space from a table; ``say`` is told what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor = LutPredictor(space, table)
    for warning in caught:
        say(f"warning: {warning.message}")
    return predictor
