"""A space under limits as arrays: which codes are within, their metrics, uniform draws.

What every population search stands on. ``AdditiveFeasible`` answers for limits that are sums over
operations (exactly, by ``hwnas.additive``); ``ListedFeasible`` for a space so small that every
network's latency is known, however it came about: no sum has to hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term, sum_of_terms
from hwnas.additive.window import LISTED_CODES, Window
from hwnas.errors import InfeasibleError
from hwnas.latency.profile.networks import macs_terms
from hwnas.protocols import Codes, SearchSpace
from hwnas.search.problem.limits import LimitedSpace
from hwnas.space.codes import to_codes, to_symbols

MACS_DRAWS = 1024
FRUITLESS_DRAWS = 50_000  # draws of a window of which none meets the other limits, before widening


class Feasible(Protocol):
    """A space under limits; the first limit's maximum is the budget that windows are cut from."""

    @property
    def space(self) -> SearchSpace:
        """The space."""

    @property
    def maxima(self) -> NDArray[np.float64]:
        """The limits, ``(num_limits,)``, in the units of :meth:`metrics`."""

    def within(self, codes: Codes) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: whether a code meets all limits."""

    def metrics(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs, num_limits)`` of what is limited; NaN where it is not known."""

    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        low_share: float = 0.0,
        high_share: float = 1.0,
    ) -> Codes:
        """Return ``count`` independent codes within the limits, uniform over a window.

        The window goes from ``low_share`` to ``high_share`` of the budget. Where no
        code is found there it reaches further down, in the end to the smallest value.

        Raises:
            InfeasibleError: no code meets the limits.
        """

    def listed(self) -> Codes | None:
        """Return all codes within the limits in lexicographic order; None: too many to list."""

    def macs(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` multiply-accumulates, of networks within the limits or not."""

    def top_by_macs(self, count: int, rng: np.random.Generator) -> Codes:
        """Return the ``count`` networks within the limits with the most multiply-accumulates.

        Most first, equals in random order, one code a network, fewer where there are fewer. Exact
        where all codes can be listed; of a larger space the largest of MACS_DRAWS drawn ones, since
        to prove the optimum of one sum under another is a knapsack problem.
        """

    @property
    def num_codes(self) -> int:
        """How many codes are within the first limit, or an upper bound of that number."""


@dataclass(frozen=True)
class AdditiveFeasible:
    """Limits that are sums over operations. Implements :class:`Feasible`."""

    limited: LimitedSpace

    @property
    def space(self) -> SearchSpace:
        """The space."""
        return self.limited.space

    @cached_property
    def maxima(self) -> NDArray[np.float64]:
        """The limits, ``(num_limits,)``."""
        return np.array([limit.maximum for limit in self.limited.limits])

    @cached_property
    def _extremes(self) -> tuple[float, float]:
        return self.limited.extremes()

    def within(self, codes: Codes) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: whether a code meets all limits."""
        return self.limited.within(to_symbols(codes, self.space))

    def metrics(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs, num_limits)`` of what is limited; NaN where a row is missing."""
        graph, symbols = self.limited.graph, to_symbols(codes, self.space)
        functions = graph.functions[: len(self.maxima)]
        totals = graph.totals(symbols)[: len(self.maxima)].T
        constants = np.array([function.constant for function in functions])
        values = (totals + constants) / np.array([function.scale for function in functions])
        return np.where(graph.possible(symbols)[:, None], values, np.nan)

    @cached_property
    def _windows(self) -> dict[tuple[float, float], Window]:
        return {}

    def _window(self, low: float, high: float) -> Window:
        if (low, high) not in self._windows:
            self._windows[low, high] = self.limited.window(low, high)
        return self._windows[low, high]

    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        low_share: float = 0.0,
        high_share: float = 1.0,
    ) -> Codes:
        """Return ``count`` independent codes within the limits, uniform over a window.

        See :meth:`Feasible.sample`.
        """
        smallest, largest = self._extremes
        budget = min(float(self.maxima[0]), largest)
        high = max(high_share * budget, smallest)
        lows = (max(low_share * budget, smallest), smallest)
        for low in dict.fromkeys(lows):
            found = self._draw(self._window(low, high), count, rng)
            if found is not None:
                return found
        if high < self.maxima[0]:
            return self.sample(count, rng)
        self.limited.check()
        raise InfeasibleError(
            f"networks of {self.space.name} within all limits are too rare to be "
            "found by drawing. Next: raise a limit"
        )

    def _draw(self, window: Window, count: int, rng: np.random.Generator) -> Codes | None:
        if window.is_empty:
            return None
        if window.listed is not None:
            inside = window.listed[self.limited.within(window.listed)]
            if len(inside) == 0:
                return None
            return to_codes(inside[rng.integers(len(inside), size=count)], self.space)
        parts: list[NDArray[np.int64]] = []
        missing, drawn = count, 0
        while missing > 0:
            # after the first draws by the share of draws that were within the limits
            share = (count - missing) / drawn if drawn else 1.0
            wanted = int(1.5 * missing / share) if 0 < share < 1 else 2 * missing
            symbols = window.sample(min(max(256, wanted), 8192), rng)
            inside = symbols[self.limited.within(symbols)][:missing]
            parts.append(inside)
            missing -= len(inside)
            drawn += len(symbols)
            if missing == count and drawn > FRUITLESS_DRAWS:
                return None
        nothing = np.empty((0, len(self.space.choices)), dtype=np.int64)
        return to_codes(np.concatenate([nothing, *parts]), self.space)

    def listed(self) -> Codes | None:
        """Return all codes within the limits; None: too many to list."""
        window = self._window(self._extremes[0], float(self.maxima[0]))
        if window.listed is None:
            return None
        codes = to_codes(window.listed[self.limited.within(window.listed)], self.space)
        return codes[np.lexsort(codes.T[::-1])]

    @cached_property
    def _macs(self) -> list[Term]:
        return macs_terms(self.space)

    def macs(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` multiply-accumulates, of networks within the limits or not."""
        return sum_of_terms(self._macs, codes)

    def top_by_macs(self, count: int, rng: np.random.Generator) -> Codes:
        """Return the ``count`` networks within the limits with the most multiply-accumulates."""
        codes = self.listed()
        if codes is None:
            codes = self.sample(MACS_DRAWS, rng)
        return largest_by_macs(self, codes, count, rng)

    @property
    def num_codes(self) -> int:
        """How many codes are within the first limit, or an upper bound of that number."""
        return self._window(self._extremes[0], float(self.maxima[0])).num_high


@dataclass(frozen=True)
class ListedFeasible:
    """Limits on values known for every code. Implements :class:`Feasible`.

    ``values`` is ``(num_limits, options of choice 1, options of choice 2, ...)``, NaN where a code
    has none; ``maxima`` ``(num_limits,)``. The space's choices must exist in every code.

    Raises:
        ValueError: ``values`` has another shape.
        InfeasibleError: no code meets all limits.
    """

    space: SearchSpace
    values: NDArray[np.float64]
    maxima: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = (len(self.maxima), *(len(choice.options) for choice in self.space.choices))
        if self.values.shape != shape:
            raise ValueError(
                f"values of {self.space.name} under {len(self.maxima)} limits must "
                f"have the shape {shape}, got {self.values.shape}"
            )
        if not self._inside.any():
            smallest = np.nanmin(self.values.reshape(len(self.maxima), -1), axis=1)
            raise InfeasibleError(
                f"no network of {self.space.name} meets all limits "
                f"{self.maxima.tolist()}; the smallest values of each are "
                f"{smallest.tolist()}. Next: raise a limit"
            )

    @cached_property
    def _inside(self) -> NDArray[np.bool_]:
        flat = self.values.reshape(len(self.maxima), -1)
        return np.asarray((flat <= self.maxima[:, None]).all(axis=0))

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Flat places of the codes within, by increasing first metric, and that metric."""
        places = np.flatnonzero(self._inside)
        first = self.values[0].ravel()[places]
        order = np.argsort(first, kind="stable")
        return places[order], first[order]

    def _flat(self, codes: Codes) -> NDArray[np.int64]:
        columns = tuple(codes.T.astype(np.int64))
        return np.asarray(np.ravel_multi_index(columns, self.values.shape[1:]))

    def _codes(self, places: NDArray[np.int64]) -> Codes:
        return np.stack(np.unravel_index(places, self.values.shape[1:]), axis=1).astype(np.int16)

    def within(self, codes: Codes) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: whether a code meets all limits."""
        return self._inside[self._flat(codes)]

    def metrics(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs, num_limits)`` of what is limited; NaN where it is not known."""
        return self.values.reshape(len(self.maxima), -1).T[self._flat(codes)]

    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        low_share: float = 0.0,
        high_share: float = 1.0,
    ) -> Codes:
        """Return ``count`` independent codes within the limits, uniform over a window.

        See :meth:`Feasible.sample`.
        """
        places, first = self._places
        budget = min(float(self.maxima[0]), float(first[-1]))
        end = max(int(np.searchsorted(first, high_share * budget, side="right")), 1)
        start = int(np.searchsorted(first, low_share * budget, side="left"))
        start = start if start < end else 0
        return self._codes(places[rng.integers(start, end, size=count)])

    def listed(self) -> Codes | None:
        """Return all codes within the limits; None: too many to list."""
        places, _ = self._places
        return self._codes(np.sort(places)) if len(places) <= LISTED_CODES else None

    @cached_property
    def _macs(self) -> list[Term]:
        return macs_terms(self.space)

    def macs(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` multiply-accumulates, of networks within the limits or not."""
        return sum_of_terms(self._macs, codes)

    def top_by_macs(self, count: int, rng: np.random.Generator) -> Codes:
        """Return the ``count`` networks within the limits with the most multiply-accumulates."""
        return largest_by_macs(self, self._codes(np.sort(self._places[0])), count, rng)

    @property
    def num_codes(self) -> int:
        """How many codes are within all limits."""
        return len(self._places[0])


def largest_by_macs(
    feasible: Feasible, codes: Codes, count: int, rng: np.random.Generator
) -> Codes:
    """Return the networks of ``codes`` with the most multiply-accumulates, equals at random."""
    codes = codes[rng.permutation(len(codes))]
    codes = codes[np.argsort(-feasible.macs(codes), kind="stable")]
    first = np.unique(feasible.space.network_keys(codes), axis=0, return_index=True)[1]
    chosen: Codes = codes[np.sort(first)[:count]]
    return chosen
