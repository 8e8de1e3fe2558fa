"""Latency of whole networks of a space from a model of the parts of its blocks, at array speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term
from hwnas.arch import Arch
from hwnas.interfaces import Codes, SearchSpace
from hwnas.latency.composition import relative_fit
from hwnas.latency.parts import PartModel, split
from hwnas.ops import OpSpec
from hwnas.space.codes import distinct_ops

LEAST_NETWORKS = 8  # for four coefficients


@dataclass(frozen=True)
class PartsPredictor:
    """Predicts whole networks from the times of their parts. Implements ``LatencyModel``.

    ``latency_ms = scale * sum of parts + squeeze_scale * sum of squeezes + per_mvalue_ms * millions
    of values the parts read and write + constant_ms``. The coefficients are those of whole
    measured networks (:func:`fit_parts_predictor`): a part that was timed alone has brought its
    input and output into the runtime's own layout and back, which is in proportion to their
    values and does not happen inside a network; and a squeeze inside a network waits for all of
    its input.
    """

    space: SearchSpace
    model: PartModel
    scale: float = 1.0
    squeeze_scale: float = 0.0
    per_mvalue_ms: float = 0.0
    constant_ms: float = 0.0

    @property
    def source(self) -> str:
        """What the predictions are called in files."""
        return "predictor"

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The prediction as additive terms over the space's choices, in ms."""
        ops = distinct_ops(self.space)
        coefficients = np.array([self.scale, self.squeeze_scale, self.per_mvalue_ms])
        times = dict(zip(ops, (_sums(self.model, ops) @ coefficients).tolist(), strict=True))

        def value(op: OpSpec | None) -> float:
            return 0.0 if op is None else times[op]

        terms = (Term(factor.choices, factor.values(value)) for factor in self.space.factors())
        return (*terms, Term((), np.array(self.constant_ms)))

    def predict_ms(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` predicted milliseconds."""
        total = np.zeros(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for term in self.terms:
            total += term.values[tuple(columns[choice] for choice in term.choices)]
        return total


def _sums(model: PartModel, ops: Sequence[OpSpec]) -> NDArray[np.float64]:
    """Return ``(num_ops, 3)``: ms of all parts, ms of squeezes, millions of values in and out."""
    parts = [split(op) for op in ops]
    every = list(dict.fromkeys(part for some in parts for part in some))
    times = dict(zip(every, model.predict_ms(every).tolist(), strict=True))
    return np.array([
        [sum(times[part] for part in some),
         sum(times[part] for part in some if part.kind == "squeeze_excite"),
         sum(math.prod(part.in_shape) + math.prod(part.out_shape) for part in some) / 1e6]
        for some in parts
    ])


def fit_parts_predictor(
    space: SearchSpace,
    model: PartModel,
    archs: Sequence[Arch],
    measured_ms: NDArray[np.float64],
) -> PartsPredictor:
    """Return the predictor whose coefficients fit these networks best, in relative least squares.

    Raises:
        ValueError: fewer than LEAST_NETWORKS networks.
    """
    if len(archs) < LEAST_NETWORKS:
        raise ValueError(f"four coefficients need at least {LEAST_NETWORKS} networks, got "
                         f"{len(archs)}")
    sums = [[*_sums(model, space.layers(arch)).sum(axis=0), 1.0] for arch in archs]
    return PartsPredictor(space, model, *relative_fit(np.array(sums), measured_ms).tolist())
