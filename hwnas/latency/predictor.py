"""Latency of whole networks from a table's rows, at array speed.

The sum of the rows overestimates or underestimates systematically: each row was timed with a call
of its own (a few microseconds, which a network pays once) and with its weights warm in the cache.
Both effects are additive, so calibration on whole measured networks keeps the prediction additive
over a space's factors: ``latency = scale * sum + per_op * (number of operations) + constant``.
The per-operation term is what spaces with skips need: on small inputs the call costs as much as
the operation.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term
from hwnas.arch import Arch, Option
from hwnas.errors import MissingRowError
from hwnas.interfaces import Codes, SearchSpace
from hwnas.latency.table import Calibration, LatencyTable
from hwnas.ops import OpSpec

TERMS_BY_NETWORKS = ((6, 3), (3, 2), (1, 1))  # from this many networks on, so many terms are fitted


@dataclass(frozen=True)
class Restriction:
    """An option that no row covers: it cannot be predicted and search does not use it."""

    choice: str
    option: Option
    op: OpSpec

    def __str__(self) -> str:
        return f"{self.choice}={self.option} (no row for {self.op})"


class LutPredictor:
    """Predicts the latency of any network of ``space`` from ``table``.

    ``source`` is ``lut``, or ``lut-uncalibrated`` (with a warning) where the table holds no
    calibration of this space.

    Raises:
        MissingRowError: a part that every network has is not in the table, or a choice has no
            option left.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable) -> None:
        self.space = space
        self.table = table
        self.calibration = table.calibration.get(space.name)
        if self.calibration is None:
            warnings.warn(
                f"the table of {table.header.device} is not calibrated for {space.name}: "
                "predictions are plain sums of rows (lut-uncalibrated). Next: hwnas profile "
                f"--space {space.name} --calibrate 16 --resume --out TABLE",
                stacklevel=2,
            )
        self.terms = self._terms()
        self.restricted = self._restrictions()

    @property
    def source(self) -> str:
        """What the predictions are called in files."""
        return "lut" if self.calibration else "lut-uncalibrated"

    def _terms(self) -> tuple[Term, ...]:
        scale, per_op, constant = 1.0, 0.0, 0.0
        if self.calibration is not None:
            scale, per_op = self.calibration.scale, self.calibration.per_op_ms
            constant = self.calibration.constant_ms

        def value(op: OpSpec | None) -> float:
            if op is None:
                return 0.0
            row = self.table.entries.get(op)
            return scale * row.latency_ms + per_op if row else float("nan")

        terms = [Term(factor.choices, factor.values(value)) for factor in self.space.factors()]
        fixed = [f.ops.item() for f in self.space.factors() if not f.choices]
        absent = [op for op in fixed if op is not None and op not in self.table.entries]
        if absent:
            raise self.table.missing(absent, self.space.name)
        return (*terms, Term((), np.array(constant)))

    def _restrictions(self) -> tuple[Restriction, ...]:
        found: dict[tuple[str, Option], Restriction] = {}
        for factor, term in zip(self.space.factors(), self.terms, strict=False):
            if len(factor.choices) != 1:
                continue
            choice = self.space.choices[factor.choices[0]]
            possible = True if factor.possible is None else factor.possible
            missing = np.flatnonzero(np.isnan(term.values) & possible)
            if len(missing) == np.sum(np.ones(len(term.values)) * possible):
                raise self.table.missing([factor.ops[i] for i in missing], self.space.name)
            for index in missing:
                option = choice.options[index]
                found[choice.name, option] = Restriction(choice.name, option, factor.ops[index])
        return tuple(found.values())

    def predict_ms(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` milliseconds; NaN where a code uses an option without a row."""
        total = np.zeros(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for term in self.terms:
            # -1, an absent choice, indexes the last entry of an axis, which stands for absence
            total += term.values[tuple(columns[choice] for choice in term.choices)]
        return total

    def predict_arch_ms(self, arch: Arch) -> float:
        """Return the predicted milliseconds of one architecture.

        Raises:
            MissingRowError: an operation of it has no row.
        """
        latency_ms = float(self.predict_ms(self.space.encode([arch]))[0])
        if np.isnan(latency_ms):
            raise self.missing_of(arch)
        return latency_ms

    def missing_of(self, arch: Arch) -> MissingRowError:
        """Return the error that names the operations of ``arch`` without a row."""
        absent = [op for op in self.space.layers(arch) if op not in self.table.entries]
        return self.table.missing(absent, self.space.name)


def features(
    space: SearchSpace, table: LatencyTable, archs: Sequence[Arch]
) -> NDArray[np.float64]:
    """Return ``(num_archs, 3)``: sum of rows in ms, number of operations, one."""
    layers = [space.layers(arch) for arch in archs]
    return np.array([[sum(table.row_ms(op) for op in ops), len(ops), 1.0] for ops in layers])


def fit_calibration(
    space: SearchSpace,
    table: LatencyTable,
    archs: Sequence[Arch],
    measured_ms: NDArray[np.float64],
) -> Calibration:
    """Return the calibration that fits whole networks best, in relative least squares.

    With few networks fewer terms are fitted (see TERMS_BY_NETWORKS): scale, then constant, then
    per operation.
    """
    x = features(space, table, archs)
    num_terms = next(terms for least, terms in TERMS_BY_NETWORKS if len(archs) >= least)
    columns = {1: [0], 2: [0, 2], 3: [0, 1, 2]}[num_terms]
    coefficients = np.zeros(3)
    coefficients[columns] = relative_fit(x[:, columns], measured_ms)
    errors = np.abs(x @ coefficients - measured_ms) / measured_ms
    return Calibration(
        scale=float(coefficients[0]),
        per_op_ms=float(coefficients[1]),
        constant_ms=float(coefficients[2]),
        num_networks=len(archs),
        mean_abs_rel_error=float(errors.mean()),
        max_abs_rel_error=float(errors.max()),
    )


def relative_fit(
    x: NDArray[np.float64], measured_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the coefficients minimising the squared *relative* errors of ``x @ coefficients``."""
    weighted = x / measured_ms[:, None]
    solution = np.linalg.lstsq(weighted, np.ones(len(measured_ms)), rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)
