"""Latency of whole networks of a space from a model of the parts of its blocks, at array speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term
from hwnas.arch import Arch
from hwnas.interfaces import Codes, SearchSpace
from hwnas.latency.parts import PartModel, split
from hwnas.latency.predictor import relative_fit
from hwnas.ops import OpSpec
from hwnas.space.codes import distinct_ops

LEAST_NETWORKS = 6  # for three coefficients


@dataclass(frozen=True)
class PartsPredictor:
    """``latency_ms = scale * sum of parts + per_part_ms * number of parts + constant_ms``.

    The coefficients are those of whole measured networks (:func:`fit_parts_predictor`), as a
    part was timed with a call of its own, which a network pays once. Implements
    :class:`hwnas.interfaces.LatencyModel`.
    """

    space: SearchSpace
    model: PartModel
    scale: float = 1.0
    per_part_ms: float = 0.0
    constant_ms: float = 0.0

    @property
    def source(self) -> str:
        """What the predictions are called in files."""
        return "predictor"

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """The prediction as additive terms over the space's choices, in ms."""
        ops = distinct_ops(self.space)
        times = dict(zip(ops, self.model.predict_ms(ops).tolist(), strict=True))

        def value(op: OpSpec | None) -> float:
            if op is None:
                return 0.0
            return float(self.scale * times[op] + self.per_part_ms * len(split(op)))

        terms = (Term(factor.choices, factor.values(value)) for factor in self.space.factors())
        return (*terms, Term((), np.array(self.constant_ms)))

    def predict_ms(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` predicted milliseconds."""
        total = np.zeros(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for term in self.terms:
            total += term.values[tuple(columns[choice] for choice in term.choices)]
        return total


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
        raise ValueError(f"three coefficients need at least {LEAST_NETWORKS} networks, got "
                         f"{len(archs)}")
    layers = [space.layers(arch) for arch in archs]
    x = np.array([
        [model.predict_ms(ops).sum(), sum(len(split(op)) for op in ops), 1.0] for ops in layers
    ])
    scale, per_part_ms, constant_ms = relative_fit(x, measured_ms).tolist()
    return PartsPredictor(space, model, scale, per_part_ms, constant_ms)
