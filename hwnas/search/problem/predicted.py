"""Limits on latencies that are not sums over operations, such as those of the few-shot predictor.

A space whose codes can be listed is predicted whole, once; its windows are then exact. In a larger
space codes are drawn uniformly under the limits that are sums and kept if the models' predictions
meet theirs (rejection sampling): samples stay uniform, but a limit that few networks meet costs
many predictions, and one that fewer than about one in TRIES meets is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term, sum_of_terms
from hwnas.errors import InfeasibleError
from hwnas.latency.profile.networks import macs_terms
from hwnas.protocols import AdditiveLatencyModel, Codes, LatencyModel, SearchSpace
from hwnas.rng import stream
from hwnas.search.problem.feasible import AdditiveFeasible, Feasible, largest_by_macs
from hwnas.search.problem.limits import Limit, LimitedSpace

Floats = NDArray[np.float64]

MAX_LISTED = 20_000  # codes that are all predicted: the few-shot predictor takes about a second
BATCH = 1024  # codes drawn at a time
TRIES = 50_000  # codes drawn without one in the window, before the window is widened
DRAWN_FOR_MACS = 1024


def feasible_of(
    space: SearchSpace, limits: Sequence[Limit], models: Mapping[str, LatencyModel]
) -> Feasible:
    """Return ``space`` under ``limits``: exact where every limit is a sum, by prediction otherwise.

    ``models`` maps the ``table`` of each latency limit to its model.
    """
    additive = {
        name: model for name, model in models.items() if isinstance(model, AdditiveLatencyModel)
    }
    others = {name: model for name, model in models.items() if name not in additive}
    if not any(limit.table in others for limit in limits):
        return AdditiveFeasible(LimitedSpace(space, tuple(limits), additive))
    return PredictedFeasible(space, tuple(limits), additive, others)


@dataclass(frozen=True)
class PredictedFeasible:
    """A space under limits of which some are on predictions that are not sums.

    Implements :class:`hwnas.search.problem.feasible.Feasible`.
    """

    space: SearchSpace
    limits: tuple[Limit, ...]
    additive: Mapping[str, AdditiveLatencyModel]
    models: Mapping[str, LatencyModel]

    @cached_property
    def _sums(self) -> AdditiveFeasible:
        """The space under its additive limits alone; without any, all of the space."""
        sums = tuple(limit for limit in self.limits if limit.table not in self.models)
        every = (Limit("macs", math.inf),)
        return AdditiveFeasible(LimitedSpace(self.space, sums or every, self.additive))

    @cached_property
    def maxima(self) -> Floats:
        """The limits, ``(num_limits,)``."""
        return np.array([limit.maximum for limit in self.limits])

    def metrics(self, codes: Codes) -> Floats:
        """Return ``(num_archs, num_limits)`` of what is limited; NaN where it is not known."""
        # each model predicts once, whatever the number of limits on it
        predicted = {name: model.predict_ms(codes) for name, model in self.models.items()}
        sums = iter(self._sums.metrics(codes).T)
        columns = [
            predicted[limit.table] if limit.table in predicted else next(sums)
            for limit in self.limits
        ]
        return np.stack(columns, axis=1)

    def within(self, codes: Codes) -> NDArray[np.bool_]:
        """Return ``(num_archs,)``: whether a code meets all limits."""
        inside = np.asarray((self.metrics(codes) <= self.maxima).all(axis=1))
        return inside & self._sums.within(codes)

    @cached_property
    def _known(self) -> tuple[Codes, Floats] | None:
        """All codes within the limits by increasing first metric, and that metric; None: large."""
        if self._sums.num_codes > MAX_LISTED:
            return None
        codes = self._sums.listed()
        if codes is None:
            return None
        values = self.metrics(codes)
        inside = (values <= self.maxima).all(axis=1)
        if not inside.any():
            raise self._infeasible(values)
        codes, first = codes[inside], values[inside, 0]
        order = np.argsort(first, kind="stable")
        return codes[order], first[order]

    def _infeasible(self, values: Floats) -> InfeasibleError:
        limits = " and ".join(map(str, self.limits))
        if not len(values):
            return InfeasibleError(f"no network of {self.space.name} meets {limits}")
        smallest = ", ".join(
            f"{limit.metric} {value:.6g}"
            for limit, value in zip(self.limits, np.nanmin(values, axis=0), strict=True)
        )
        return InfeasibleError(
            f"no network of {self.space.name} is predicted to meet {limits}; the smallest values "
            f"of {len(values)} networks are {smallest}. Next: raise the limit"
        )

    @cached_property
    def _largest(self) -> float:
        """The largest first metric of TRIES / 10 uniform codes, where windows end at the latest."""
        codes = self._sums.sample(TRIES // 10, stream(0, "largest predicted latency"))
        return float(np.nanmax(self.metrics(codes)[:, 0]))

    def sample(
        self,
        count: int,
        rng: np.random.Generator,
        low_share: float = 0.0,
        high_share: float = 1.0,
    ) -> Codes:
        """Return ``count`` independent codes within the limits, uniform over a window.

        See :meth:`hwnas.search.problem.feasible.Feasible.sample`.
        """
        if self._known is not None:
            codes, first = self._known
            budget = min(float(self.maxima[0]), float(first[-1]))
            end = max(int(np.searchsorted(first, high_share * budget, side="right")), 1)
            start = int(np.searchsorted(first, low_share * budget, side="left"))
            return codes[rng.integers(start if start < end else 0, end, size=count)]
        budget = min(float(self.maxima[0]), self._largest)
        windows = ((low_share, high_share), (0.0, high_share), (0.0, 1.0))
        for low, high in dict.fromkeys(windows):
            found = self._draw(low * budget, high * budget, count, rng)
            if found is not None:
                return found
        tried = self._sums.sample(BATCH, rng)
        raise self._infeasible(self.metrics(tried))

    def _draw(self, low: float, high: float, count: int, rng: np.random.Generator) -> Codes | None:
        """Return ``count`` codes within the limits whose first metric is in ``[low, high]``."""
        kept: list[Codes] = []
        missing, tried = count, 0
        while missing > 0:
            codes = self._sums.sample(BATCH, rng)
            values = self.metrics(codes)
            inside = (values <= self.maxima).all(axis=1)
            inside &= (low <= values[:, 0]) & (values[:, 0] <= high)
            kept.append(codes[inside][:missing])
            missing -= len(kept[-1])
            tried += len(codes)
            if missing == count and tried > TRIES:
                return None
        return np.concatenate([np.empty((0, len(self.space.choices)), np.int16), *kept])

    def listed(self) -> Codes | None:
        """Return all codes within the limits in lexicographic order; None: too many to list."""
        if self._known is None:
            return None
        codes = self._known[0]
        return codes[np.lexsort(codes.T[::-1])]

    @cached_property
    def _macs(self) -> list[Term]:
        return macs_terms(self.space)

    def macs(self, codes: Codes) -> Floats:
        """Return ``(num_archs,)`` multiply-accumulates, of networks within the limits or not."""
        return sum_of_terms(self._macs, codes)

    def top_by_macs(self, count: int, rng: np.random.Generator) -> Codes:
        """Return the ``count`` networks within the limits with the most multiply-accumulates."""
        codes = self.listed()
        if codes is None:
            codes = self.sample(DRAWN_FOR_MACS, rng)
        return largest_by_macs(self, codes, count, rng)

    @property
    def num_codes(self) -> int:
        """How many codes are within the limits, or an upper bound of that number."""
        return self._sums.num_codes if self._known is None else len(self._known[0])
