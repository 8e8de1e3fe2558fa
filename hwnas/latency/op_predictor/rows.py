"""Whole networks from a table whose missing rows are predicted (``--predictor op-predictor``).

Measured rows are used as they are. The models are fitted from them when the table is loaded, and
what they predict is marked: rows by their ``source``, and networks that use one by theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term
from hwnas.device.measurement import Measurement
from hwnas.errors import MissingRowError
from hwnas.latency.lut.predictor import LutPredictor, once_an_array
from hwnas.latency.op_predictor.predictor import MIN_ROWS, NO_MODEL, OpModel, fit_op_model
from hwnas.latency.table.scope import ops_in_scope, scope_places, scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, SearchSpace
from hwnas.space.codes import distinct_ops


@dataclass(frozen=True)
class Completed:
    """A table with rows that its model predicted; ``predicted`` are these rows' operations."""

    table: LatencyTable
    model: OpModel
    predicted: frozenset[OpSpec]


def complete(table: LatencyTable, ops: Sequence[OpSpec]) -> Completed:
    """Return ``table`` with predicted rows for those of ``ops`` that it lacks.

    Operations of a kind with too few rows for a model stay without one.

    Raises:
        MissingRowError: rows are missing and no kind has rows enough.
    """
    measured = {
        op: row.latency_ms for op, row in table.entries.items() if row.source != "predicted"
    }
    missing = [op for op in dict.fromkeys(ops) if op not in table.entries]
    if not missing:
        return Completed(table, NO_MODEL, frozenset())
    model = fit_op_model(measured)
    if not model.kinds:
        raise MissingRowError(
            f"--predictor op-predictor fits a model to {MIN_ROWS} or more rows of a kind, and the "
            f"table of {table.header.device} has {_counts(model.too_few) or 'no rows'}.\n"
            f"{table.missing(missing)}"
        )
    found = model.predict_ms(missing)
    rows = {op: Measurement.predicted(ms) for op, ms in found.items()}
    return Completed(replace(table, entries={**table.entries, **rows}), model, frozenset(found))


def _counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{number} of {kind}" for kind, number in rows.items())


class OpPredictor(LutPredictor):
    """A :class:`LutPredictor` that predicts the rows a table does not hold.

    Each scope of the table has a model of its own, fitted to its measured rows. ``source`` is
    ``op-predictor`` (or ``op-predictor-uncalibrated``) where a row of the space is predicted, and
    as of :class:`LutPredictor` otherwise.

    Raises:
        MissingRowError: rows are missing and no kind of operation has enough rows for a model.
        InputError: a scope names a choice or an option that the space does not have.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable) -> None:
        for part in table.scopes:  # refuse scopes of another space before models are fitted
            scope_places(space, part.header.scope, f"table of {part.header.device}")
        every = distinct_ops(space)
        completed = [complete(part, every) for part in table.scopes]
        used = [
            one.predicted.intersection(ops_in_scope(space, one.table.header.scope))
            for one in completed
        ]
        predicted = frozenset[OpSpec]().union(*used)
        super().__init__(
            space,
            table,
            rows=[one.table for one in completed],
            name="op-predictor" if predicted else "lut",
        )
        self._models = {
            scope_text(one.table.header.scope): (one, some)
            for one, some in zip(completed, used, strict=True)
        }
        marks = once_an_array(
            self._factors, lambda factor: factor.values(lambda op: float(op in predicted))
        )
        self._predicted_terms = tuple(
            Term(factor.choices, mark) for factor, mark in zip(self._factors, marks, strict=True)
        )

    def num_predicted(self, codes: Codes) -> NDArray[np.int64]:
        """Return ``(num_archs,)``: how many operations of each code have a predicted row."""
        total = np.zeros(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for term in self._predicted_terms:
            total += term.values[tuple(columns[choice] for choice in term.choices)]
        return total.astype(np.int64)

    def sources(self, codes: Codes) -> list[str]:
        """Return the source of each code's prediction: ``lut`` where all its rows are measured."""
        measured = "lut" if self.is_calibrated else "lut-uncalibrated"
        return [self.source if count else measured for count in self.num_predicted(codes).tolist()]

    def report(self) -> list[dict[str, Any]]:
        """Return what files hold of each scope's model: rows, and errors by cross-validation.

        ``new_channels`` and ``new_shapes`` are errors on measured rows: ``new_channels`` where the
        model has seen no row with the same channels in and out, ``new_shapes`` where it has seen
        none with the same input and output channels.
        """
        return [
            {
                "scope": scope,
                "num_measured": len(done.table.entries) - len(done.predicted),
                "num_predicted": len(used),
                "too_few_rows": dict(done.model.too_few),
                "kinds": {
                    kind: {
                        "num_rows": len(model.ops),
                        "num_predicted": sum(op.kind == kind for op in used),
                        "model": str(model.setting),
                        "new_channels": _errors(model.cv_errors),
                        "new_shapes": _errors(model.shape_errors),
                    }
                    for kind, model in done.model.kinds.items()
                },
            }
            for scope, (done, used) in self._models.items()
        ]

    def statements(self) -> list[str]:
        """Return :meth:`report` in words, one sentence a scope."""
        return [_statement(one) for one in self.report()]


def _errors(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean_abs_rel_error": round(float(values.mean()), 6),
        "within_10_percent": round(float((values <= 0.1).mean()), 6),
    }


def _statement(report: Mapping[str, Any]) -> str:
    kinds = "; ".join(
        f"{kind}: {one['num_predicted']} predicted from {one['num_rows']}, cross-validated mean "
        f"error {one['new_channels']['mean_abs_rel_error']:.1%} on channels never seen, "
        f"{one['new_shapes']['mean_abs_rel_error']:.1%} on new shapes of seen ones"
        for kind, one in report["kinds"].items()
        if one["num_predicted"]
    )
    of = "" if report["scope"] == "every network" else f" ({report['scope']})"
    few = _counts(report["too_few_rows"])
    return (
        f"op-predictor{of}: {report['num_predicted']} rows are predicted"
        + (f" ({kinds})" if kinds else "")
        + (f"; too few rows for a model (at least {MIN_ROWS}): {few}" if few else "")
    )
