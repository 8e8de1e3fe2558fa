"""Whole networks from a table of which the missing rows are predicted (``--predictor kernel``).

Measured rows are used as they are. The models are fitted from them when the table is loaded, and
what they predict is marked: rows by their ``source``, and networks that use one by theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term
from hwnas.device.measurement import Measurement
from hwnas.errors import MissingRowError
from hwnas.latency.lut.predictor import LutPredictor, once_an_array
from hwnas.latency.op_predictor.predictor import MIN_ROWS, NO_MODEL, KernelModel, fit_kernels
from hwnas.latency.table.scoped import Tables, scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, SearchSpace
from hwnas.space.codes import distinct_ops


@dataclass(frozen=True)
class Completed:
    """A table with rows that its model predicted; ``predicted`` are these rows' operations."""

    table: LatencyTable
    model: KernelModel
    predicted: frozenset[OpSpec]


def complete(table: LatencyTable, ops: Sequence[OpSpec]) -> Completed:
    """Return ``table`` with predicted rows for those of ``ops`` that it lacks.

    Operations of a kind with too few rows for a model stay without one.

    Raises:
        MissingRowError: rows are missing and no kind has rows enough.
    """
    measured = {op: row.latency_ms for op, row in table.entries.items() if row.source != "kernel"}
    missing = [op for op in dict.fromkeys(ops) if op not in table.entries]
    if not missing:
        return Completed(table, NO_MODEL, frozenset())
    model = fit_kernels(measured)
    if not model.kinds:
        raise MissingRowError(
            f"--predictor kernel fits a model to {MIN_ROWS} or more rows of a kind, and the "
            f"table of {table.header.device} has {_counts(model.too_few) or 'no rows'}.\n"
            f"{table.missing(missing)}"
        )
    found = model.predict_ms(missing)
    rows = {op: Measurement.predicted(ms) for op, ms in found.items()}
    return Completed(replace(table, entries={**table.entries, **rows}), model, frozenset(found))


def _counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{number} of {kind}" for kind, number in rows.items())


class KernelPredictor(LutPredictor):
    """A :class:`LutPredictor` of the tables' rows and of predicted ones where they have none.

    ``source`` is ``kernel`` (``kernel-uncalibrated``) once a row of the space is predicted, else
    what it is without. Of scoped tables each has models of its own.
    """

    def __init__(self, space: SearchSpace, table: Tables) -> None:
        self._ops = distinct_ops(space)
        self._completed: dict[str, Completed] = {}
        self._used: dict[str, set[OpSpec]] = {}
        super().__init__(space, table)
        if any(self._used.values()):
            self.source = self.source.replace("lut", "kernel")
        marks = once_an_array(self._factors, lambda factor: factor.values(self._is_predicted))
        self._predicted_terms = tuple(
            Term(factor.choices, mark) for factor, mark in zip(self._factors, marks, strict=True)
        )

    def _row(self, table: LatencyTable) -> Callable[[OpSpec | None], float]:
        scope = scope_text(table.header.scope)
        if scope not in self._completed:
            self._completed[scope] = complete(table, self._ops)
        completed = self._completed[scope]
        used, predicted = self._used.setdefault(scope, set()), completed.predicted
        rows = super()._row(completed.table)

        def value(op: OpSpec | None) -> float:
            if op in predicted and op is not None:
                used.add(op)
            return rows(op)

        return value

    def _is_predicted(self, op: OpSpec | None) -> float:
        return float(any(op in used for used in self._used.values()))

    def num_predicted(self, codes: Codes) -> NDArray[np.int64]:
        """Return ``(num_archs,)``: of how many operations the row is predicted in some table."""
        total = np.zeros(len(codes))
        columns = np.ascontiguousarray(codes.T)
        for term in self._predicted_terms:
            total += term.values[tuple(columns[choice] for choice in term.choices)]
        return total.astype(np.int64)

    def report(self) -> list[dict[str, Any]]:
        """Return what files hold of each table's models: rows, and errors by cross-validation.

        ``new_channels`` and ``new_shapes`` are errors on measured rows whose like (the same
        channels in and out; the same input as well) the model has not seen.
        """
        return [
            {
                "scope": scope,
                "num_measured": len(done.table.entries) - len(done.predicted),
                "num_predicted": len(self._used[scope]),
                "too_few_rows": dict(done.model.too_few),
                "kinds": {
                    kind: {
                        "num_rows": len(model.ops),
                        "num_predicted": sum(op.kind == kind for op in self._used[scope]),
                        "model": str(model.setting),
                        "new_channels": _errors(model.cv_errors),
                        "new_shapes": _errors(model.shape_errors),
                    }
                    for kind, model in done.model.kinds.items()
                },
            }
            for scope, done in self._completed.items()
        ]

    def statements(self) -> list[str]:
        """Return :meth:`report` in words, one sentence a table."""
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
        f"predictor kernel{of}: {report['num_predicted']} rows are predicted"
        + (f" ({kinds})" if kinds else "")
        + (f"; too few rows for a model (at least {MIN_ROWS}): {few}" if few else "")
    )
