"""Latency of whole networks from a table's rows, at array speed.

``calibration.py`` holds the formula from rows to a network's latency. Here every row is corrected
once, and a prediction is a sum over the factors of the space.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.additive.graph import Term, sum_of_terms
from hwnas.arch import Arch
from hwnas.errors import HwnasWarning, MissingRowError
from hwnas.latency.lut.calibration import row_value
from hwnas.latency.lut.coverage import restrictions
from hwnas.latency.table.scope import scope_places, scope_text
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import Codes, Factor, SearchSpace
from hwnas.space.codes import symbol_counts


class LutPredictor:
    """Predicts the latency of any network of ``space`` as a calibrated sum of a table's rows.

    Each network is predicted by the rows of its own scope; options that no scope covers are
    ``restricted``. Implements :class:`hwnas.protocols.AdditiveLatencyModel`.

    Args:
        space: the space whose codes are predicted.
        table: the latency table of the target.
        rows: one table a scope of ``table``, in order, to take rows from instead of its own
            (:class:`hwnas.latency.op_predictor.rows.OpPredictor`).
        name: how the source is called: this, or this and ``-uncalibrated`` (with a warning) where
            a scope of the table holds no calibration of this space.

    Raises:
        MissingRowError: a part that every network has is not in the table, or a choice has no
            option left.
        InputError: a scope names a choice or an option that the space does not have.
    """

    def __init__(
        self,
        space: SearchSpace,
        table: LatencyTable,
        *,
        rows: Sequence[LatencyTable] | None = None,
        name: str = "lut",
    ) -> None:
        self.space = space
        self.table = table
        self._rows = tuple(rows if rows is not None else table.scopes)
        self._places = [
            scope_places(space, part.header.scope, f"table of {part.header.device}")
            for part in table.scopes
        ]
        raw = [part for part in table.scopes if space.name not in part.calibration]
        self.is_calibrated = not raw
        self.source = name if self.is_calibrated else f"{name}-uncalibrated"
        if raw:
            self._warn_uncalibrated(raw)
        self._factors = self._scoped_factors()
        values = once_an_array(self._factors, self._values)
        self.restricted = restrictions(space, self._factors, values, self._missing)
        self._terms = tuple(
            Term(factor.choices, value)
            for factor, value in zip(
                (*self._factors, self._constants()), (*values, self._constant_ms()), strict=True
            )
        )

    def _warn_uncalibrated(self, raw: Sequence[LatencyTable]) -> None:
        scopes = ", ".join(scope_text(part.header.scope) for part in raw)
        of = f" ({scopes})" if self.table.is_scoped else ""
        warnings.warn(
            f"the table of {self.table.header.device}{of} is not calibrated for {self.space.name}: "
            "predictions are plain sums of rows (lut-uncalibrated). Next: "
            + _remedy(self.table, self.space.name),
            HwnasWarning,
            stacklevel=3,
        )

    @property
    def _scope_choices(self) -> tuple[int, ...]:
        return tuple(sorted(self._places[0]))

    def _scoped_factors(self) -> tuple[Factor, ...]:
        """Return the space's factors, each over the scopes' choices too."""
        if not self._scope_choices:
            return self.space.factors()
        sizes = symbol_counts(self.space)
        return tuple(over(factor, self._scope_choices, sizes) for factor in self.space.factors())

    def _values(self, factor: Factor) -> NDArray[np.float64]:
        """Return the calibrated ms of the factor's combinations, NaN without a row or a scope."""
        values = np.full(factor.ops.shape, np.nan)
        for part, place in zip(self._rows, self._places, strict=True):
            # the scope fixes some axes of the factor; its rows fill that slice of ``values``
            where = (*(place.get(choice, slice(None)) for choice in factor.choices), ...)
            possible = None if factor.possible is None else factor.possible[where]
            calibrated = row_value(part, part.calibration.get(self.space.name))
            values[where] = Factor((), factor.ops[where], possible).values(calibrated)
        return values

    def _constants(self) -> Factor:
        sizes = symbol_counts(self.space)
        shape = tuple(sizes[choice] for choice in self._scope_choices)
        return Factor(self._scope_choices, np.empty(shape, dtype=object))

    def _constant_ms(self) -> NDArray[np.float64]:
        values = np.full(self._constants().ops.shape, np.nan)
        for part, place in zip(self._rows, self._places, strict=True):
            fit = part.calibration.get(self.space.name)
            values[tuple(place[c] for c in self._scope_choices)] = fit.constant_ms if fit else 0.0
        return values

    def _missing(self, ops: Sequence[OpSpec]) -> MissingRowError:
        return self.table.scopes[0].missing(ops, self.space.name)

    def factor_ms(self) -> tuple[Term, ...]:
        """Return the terms whose sum is the prediction, in ms; NaN where a row is missing."""
        return self._terms

    @property
    def repeatability(self) -> float:
        """The median repeatability of the table's measured rows, relative; 0 without any."""
        found = [
            row.repeatability
            for part in self.table.scopes
            for row in part.entries.values()
            if row.num_rounds > 0
        ]
        return float(np.median(found)) if found else 0.0

    def predict_ms(self, codes: Codes) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` milliseconds; NaN where a code uses an option without a row."""
        return sum_of_terms(self._terms, codes)

    def predict_arch_ms(self, arch: Arch) -> float:
        """Return the predicted milliseconds of one architecture.

        Raises:
            MissingRowError: an operation of it has no row.
        """
        latency_ms = float(self.predict_ms(self.space.encode([arch]))[0])
        if np.isnan(latency_ms):
            raise self.missing_of(arch)
        return latency_ms

    def predict(self, archs: Sequence[Arch]) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` milliseconds of architectures; NaN where a row is missing."""
        return self.predict_ms(self.space.encode(archs))

    def sources(self, codes: Codes) -> list[str]:
        """Return the source of each code's prediction."""
        return [self.source] * len(codes)

    def num_predicted(self, codes: Codes) -> NDArray[np.int64]:
        """Return ``(num_archs,)``: how many operations of each code have a predicted row: 0."""
        return np.zeros(len(codes), dtype=np.int64)

    def report(self) -> list[dict[str, Any]]:
        """Return what files hold of models that predict rows, one entry a scope: none here."""
        return []

    def statements(self) -> list[str]:
        """Return :meth:`report` in words."""
        return []

    def missing_of(self, arch: Arch) -> MissingRowError:
        """Return the error that names the operations of ``arch`` without a row."""
        table = self.table.of(arch.choices)
        if table is None:
            scopes = "; ".join(self.table.scope_names)
            return MissingRowError(
                f"no table of {self.table.header.device} covers this network: "
                f"there are tables of {scopes}"
            )
        absent = [op for op in self.space.layers(arch) if op not in table.entries]
        return table.missing(absent, self.space.name)


def once_an_array(
    factors: Sequence[Factor], values: Callable[[Factor], NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Return ``values`` of each factor, called once for all that share their arrays."""
    keys = [(id(factor.ops), id(factor.possible)) for factor in factors]
    found = {key: values(factor) for key, factor in dict(zip(keys, factors, strict=True)).items()}
    return [found[key] for key in keys]


def over(factor: Factor, choices: Sequence[int], sizes: Sequence[int]) -> Factor:
    """Return ``factor`` over these choices too, alike for all their symbols (``sizes``)."""
    every = tuple(sorted({*factor.choices, *choices}))
    added = tuple(axis for axis, choice in enumerate(every) if choice not in factor.choices)
    lengths = dict(zip(factor.choices, factor.ops.shape, strict=True))
    shape = tuple(lengths.get(choice, sizes[choice]) for choice in every)
    ops = np.broadcast_to(np.expand_dims(factor.ops, added), shape)
    possible = factor.possible
    if possible is not None:
        possible = np.broadcast_to(np.expand_dims(possible, added), shape)
    return Factor(every, ops, possible)


def _remedy(table: LatencyTable, space: str) -> str:
    """Return what gives better predictions than sums of a table's rows."""
    header = table.header
    if header.provenance.get("format"):  # imported
        return (
            "the rows were measured by others, and only on their device can they be calibrated; "
            "leave headroom below the budget; with such a device at hand, time five networks or "
            "more on it and predict by them (hwnas predict: --suggest, --measured)"
        )
    return header.profile_command(space, "TABLE", calibrate=16, resume=True)
