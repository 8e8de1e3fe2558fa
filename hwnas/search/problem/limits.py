"""Limits on latency, size and work, held exactly: what is possible, samples, and the best score.

Every limit is an additive function of the code (``hwnas.additive``), so whether any network meets
them all is known before work begins, and networks are drawn from those that do instead of being
drawn and thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Graph, Term, build_graph
from hwnas.additive.grid import num_codes
from hwnas.additive.optimum import best_distinct, cheapest, dearest, ranked
from hwnas.additive.window import Window, Windows
from hwnas.arch import Arch
from hwnas.errors import InfeasibleError, UsageError
from hwnas.export.formats import PRECISIONS, Precision
from hwnas.ops import OpSpec
from hwnas.protocols import AdditiveLatencyModel, Restriction, SearchSpace
from hwnas.space.codes import symbol_counts, to_codes

COUNTED = ("params", "macs", "size_mb")
MAX_SPELT = 8  # choices of a network that a message names


@dataclass(frozen=True)
class Limit:
    """An upper limit: ``latency_ms`` on the target of ``table``, or a counted metric.

    ``precision`` is of the files that ``size_mb`` is about; it says nothing of the others.
    """

    metric: str
    maximum: float
    table: str | None = None
    precision: Precision = "fp32"

    def to_json(self) -> dict[str, Any]:
        """Return the object result files hold."""
        extra = {"precision": self.precision} if self.metric == "size_mb" else {}
        return {"metric": self.metric, "table": self.table, "max": self.maximum, **extra}

    def __str__(self) -> str:
        of = f" of {self.precision} files" if self.metric == "size_mb" else ""
        return f"{self.metric} <= {self.maximum:g}{of}" + (
            f" on {self.table}" if self.table else ""
        )


def parse_limit(text: str) -> Limit:
    """Read ``params=4e6``; UsageError says what is allowed."""
    metric, equals, value = text.partition("=")
    try:
        maximum = float(value)
    except ValueError:
        maximum = float("nan")
    if metric not in COUNTED or not equals or not 0 < maximum < float("inf"):
        raise UsageError(
            f"--limit {text!r} is not understood; it is one of {', '.join(COUNTED)} "
            "with a finite positive number, as in --limit params=4e6"
        )
    return Limit(metric, maximum)


def counted(op: OpSpec, metric: str, precision: Precision = "fp32") -> float:
    """Return what ``op`` adds to a counted metric, size_mb of files of ``precision``."""
    if metric == "macs":
        return float(op.macs)
    if metric == "params":
        return float(op.params)
    return float(op.params) * PRECISIONS[precision].bytes_per_param / 1e6


def counted_terms(
    space: SearchSpace, metric: str, precision: Precision = "fp32"
) -> tuple[Term, ...]:
    """Return params, macs or size_mb of ``space`` as additive terms."""

    def value(op: OpSpec | None) -> float:
        return 0.0 if op is None else counted(op, metric, precision)

    return tuple(Term(factor.choices, factor.values(value)) for factor in space.factors())


@dataclass(frozen=True)
class LimitedSpace:
    """A space under limits; the first limit is the latency budget that windows are cut from.

    ``predictors`` maps the table names of latency limits to their predictors. Options that a
    table does not cover are left out of every answer and listed by :attr:`restricted`. ``score``
    and ``at_least`` are for :meth:`best`: what it maximises, and the least value of the first
    limit's metric.
    """

    space: SearchSpace
    limits: tuple[Limit, ...]
    predictors: Mapping[str, AdditiveLatencyModel]
    score: tuple[Term, ...] = field(default=())
    at_least: float | None = None

    @cached_property
    def restricted(self) -> tuple[Restriction, ...]:
        """Options that some table does not cover, each once."""
        every = (r for predictor in self.predictors.values() for r in predictor.restricted)
        return tuple(dict.fromkeys(every))

    @cached_property
    def graph(self) -> Graph:
        """The additive functions: of the limits in their order, the lower bound's, the score."""
        functions = [self._terms(limit) for limit in self.limits]
        if self.at_least is not None:
            functions.append(tuple(Term(t.choices, -t.values) for t in functions[0]))
        if self.score:
            functions.append(self.score)
        return build_graph(symbol_counts(self.space), functions)

    @cached_property
    def _opened(self) -> dict[int, Windows]:
        return {}

    def _windows(self, index: int) -> Windows:
        """Return what opens windows of a limit's metric; windows share its grids."""
        return self._opened.setdefault(index, Windows(self.graph, index))

    def _terms(self, limit: Limit) -> tuple[Term, ...]:
        if limit.table is not None:
            return self.predictors[limit.table].factor_ms()
        return counted_terms(self.space, limit.metric, limit.precision)

    def _most(self) -> list[tuple[int, int]]:
        most = [
            (index, self.graph.functions[index].floor(limit.maximum))
            for index, limit in enumerate(self.limits)
        ]
        if self.at_least is not None:
            index = len(self.limits)
            most.append((index, self.graph.functions[index].floor(-self.at_least)))
        return most

    def arch(self, symbols: Sequence[int]) -> Arch:
        """Return the architecture of one code of symbols."""
        return self.space.decode(to_codes(np.array([symbols]), self.space))[0]

    def check(self) -> None:
        """Make sure that some network meets all limits.

        Raises:
            InfeasibleError: none does; names the limit, the best network for it and its value.
        """
        for index, limit in enumerate(self.limits):
            best = cheapest(self.graph, index)
            if best is None:
                raise InfeasibleError(f"the tables cover no network of {self.space.name}")
            function = self.graph.functions[index]
            if best.score > function.floor(limit.maximum):
                raise InfeasibleError(
                    f"no network of {self.space.name} meets {limit}: the "
                    f"{'fastest' if limit.table else 'smallest'} has "
                    f"{limit.metric} {function.value(best.score):.6g} ({self._spelt(best.code)}). "
                    "Next: raise the limit, or choose a smaller space (width_mult, input_size)"
                )
        if next(ranked(self.graph, None, self._most()), None) is None:
            raise InfeasibleError(self._conflict())

    def _conflict(self) -> str:
        """Say which two limits exclude each other, or that only all together do."""
        for first, second in combinations(self.limits, 2):
            least = self._least(first, second)
            if least is None or least > first.maximum:
                other = self._least(second, first)
                found = [
                    f"with {limit} the least {what.metric}"
                    + (f" on {what.table}" if what.table else "")
                    + f" is {value:.6g}"
                    for limit, what, value in ((second, first, least), (first, second, other))
                    if value is not None
                ]
                return (
                    f"each limit can be met, but no network of {self.space.name} meets {first} "
                    f"and {second} together: {'; '.join(found)}. Next: raise one of these two"
                )
        together = " and ".join(str(limit) for limit in self.limits)
        return (
            f"each limit can be met, and so can any two, but no network of {self.space.name} "
            f"meets {together} together. Next: raise one of them"
        )

    def _least(self, limit: Limit, other: Limit) -> float | None:
        """Return the least value of ``limit``'s metric where ``other`` is met."""
        negated = tuple(Term(t.choices, -t.values) for t in self._terms(limit))
        found = replace(self, limits=(other,), score=negated, at_least=None).best(1)
        return -found[0][1] if found else None

    def _spelt(self, code: Sequence[int]) -> str:
        chosen = self.arch(code).choices
        names = [choice.name for choice in self.space.choices if choice.name in chosen]
        more = f" and {len(names) - MAX_SPELT} more" if len(names) > MAX_SPELT else ""
        return ", ".join(f"{name}={chosen[name]}" for name in names[:MAX_SPELT]) + more

    def extremes(self, index: int = 0) -> tuple[float, float]:
        """Return the smallest and largest value of limit ``index``'s metric over the space."""
        low, high = cheapest(self.graph, index), dearest(self.graph, index)
        if low is None or high is None:
            raise InfeasibleError(f"the tables cover no network of {self.space.name}")
        function = self.graph.functions[index]
        return function.value(low.score), function.value(high.score)

    def window(self, low: float, high: float) -> Window:
        """Return the codes whose first limit's metric is in ``[low, high]``."""
        function = self.graph.functions[0]
        return self._windows(0).open(function.ceil(low), function.floor(high))

    def within(self, symbols: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of ``(num_codes, num_choices)`` symbols meet all limits."""
        totals = self.graph.totals(symbols)
        inside = self.graph.possible(symbols)
        for index, most in self._most():
            inside &= totals[index] <= most
        return inside

    def percentiles(self, shares: Sequence[float], index: int = 0) -> list[float]:
        """Return the metric of limit ``index`` at these shares (0..1) of all codes."""
        return [float(v) for v in self._windows(index).quantile(np.array(shares))]

    @property
    def num_codes(self) -> int:
        """How many codes the tables cover, limits aside."""
        return num_codes(self.graph)

    def best(self, count: int) -> list[tuple[Arch, float]]:
        """Return the ``count`` best networks by ``score`` within the limits, with their scores.

        Exact; best first; distinct by network_id; equal scores in lexicographic order of the code.
        """
        if not self.score:
            raise ValueError("a LimitedSpace without a score has no best network")
        function = self.graph.functions[-1]
        codes = ranked(self.graph, len(self.graph.functions) - 1, self._most())
        found = best_distinct(codes, count, lambda code: self.space.network_id(self.arch(code)))
        return [(self.arch(r.code), function.value(r.score)) for r in found]

    def draws(self, low: float, high: float, rng: np.random.Generator) -> Iterator[Arch]:
        """Yield networks uniform over the codes in ``[low, high]`` that meet all limits.

        Distinct by network_id: codes are drawn uniformly and one whose network came before is
        skipped. Ends when the window is exhausted, or when 20,000 draws in a row bring nothing
        new.
        """
        window = self.window(low, high)
        seen: set[str] = set()
        fruitless = 0
        if window.listed is not None:
            batches = iter([window.listed[rng.permutation(len(window.listed))]])
        else:
            batches = (window.sample(256, rng) for _ in iter(int, 1))
        for batch in batches:
            for symbols in batch[self.within(batch)]:
                arch = self.arch(symbols.tolist())
                network_id = self.space.network_id(arch)
                fruitless = fruitless + 1 if network_id in seen else 0
                if network_id not in seen:
                    seen.add(network_id)
                    yield arch
            if window.listed is None:
                fruitless += int((~self.within(batch)).sum())
                if fruitless > 20_000:
                    return
