"""Latency of networks on one target: from a table, with predicted rows, or from a few timings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas import protocols
from hwnas.api.spaces import Space, SpaceLike, as_space
from hwnas.api.tables import Table, TableLike, as_table
from hwnas.arch import Arch
from hwnas.errors import UsageError
from hwnas.export.formats import Precision, precision_of
from hwnas.io.html import facts_html
from hwnas.io.installed import names_missing_packages
from hwnas.latency.few_shot.data import NEW_DEVICE, read_measured, read_sources
from hwnas.latency.few_shot.feature_space import Measured
from hwnas.latency.few_shot.predictor import FewShotPredictor
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.lut.reliability import require_reliable
from hwnas.latency.models import LatencyData, build_model, model_name
from hwnas.latency.table.units import require_plausible
from hwnas.protocols import AdditiveLatencyModel

if TYPE_CHECKING:
    from hwnas.search.problem.audit import Audit

Timings: TypeAlias = Sequence[tuple[Arch, float]]
"""Networks with their measured milliseconds."""


class LatencyModel:
    """Predicts milliseconds of the networks of ``space`` on one target.

    Made by :func:`latency_model`. ``name`` is what limits and files call the target, ``source``
    where predictions are from: ``lut``, ``lut-uncalibrated``, ``few-shot`` ... ``model`` is the
    predictor inside, any object that implements the Protocol ``LatencyModel``.
    """

    def __init__(
        self,
        space: Space,
        model: protocols.LatencyModel,
        name: str,
        *,
        table: Table | None = None,
        precision: Precision = "fp32",
        notes: Sequence[str] = (),
    ) -> None:
        self.space = space
        self.model = model
        self.name = name
        self.table = table
        self.precision = precision
        self.notes = tuple(notes)

    @property
    def source(self) -> str:
        """What files call the origin of the predictions."""
        return self.model.source

    def __repr__(self) -> str:
        return f"LatencyModel({self.space.name} on {self.name}, source {self.source})"

    def _repr_html_(self) -> str:
        facts = {"space": self.space.name, "target": self.name, "source": self.source}
        if isinstance(self.model, AdditiveLatencyModel):
            fastest, slowest = self.range_ms()
            facts["range"] = f"{fastest:.4g} to {slowest:.4g} ms"
        return facts_html("Latency model", facts)

    @property
    def additive(self) -> AdditiveLatencyModel:
        """The predictor as a sum over operations, on which exact answers rest.

        Raises:
            UsageError: this model is no sum over operations.
        """
        if isinstance(self.model, AdditiveLatencyModel):
            return self.model
        raise UsageError(
            "exact answers need a latency that is a sum over operations, which one of source "
            f"{self.source} is not. Next: profile a table, or load one, for hwnas.latency_model"
        )

    def predict(
        self, archs: Sequence[Arch], *, missing: Literal["raise", "nan"] = "raise"
    ) -> NDArray[np.float64]:
        """Return ``(num_archs,)`` predicted milliseconds.

        ``missing="nan"`` returns NaN for a network with an operation that the table has no row of.

        Raises:
            MissingRowError: there is such a network; names the rows.
            InputError: an architecture is of another space.

        Example:
            >>> import hwnas
            >>> space = hwnas.load_space("tiny")
            >>> latency = hwnas.latency_model(space, "table.json")
            >>> latency.predict(space.sample(3, seed=0)).shape
            (3,)
        """
        latency_ms = self.model.predict_ms(self.space.encode(archs))
        if missing == "raise":
            for place in np.flatnonzero(np.isnan(latency_ms)).tolist():
                self.model.predict_arch_ms(archs[place])  # raises, and says what is missing
        return latency_ms

    def predict_with_std(
        self, archs: Sequence[Arch]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(num_archs,)`` milliseconds and standard deviations of a measurement.

        Raises:
            UsageError: only a model of a few timings knows its deviations.
        """
        if not isinstance(self.model, FewShotPredictor):
            raise UsageError(
                f"a model of source {self.source} has no standard deviations. Next: "
                "LatencyModel.table.validation holds a table's errors"
            )
        return self.model.predict_with_std_ms(self.space.encode(archs))

    def range_ms(self) -> tuple[float, float]:
        """Return the exact latencies of the fastest and the slowest network of the space.

        Example:
            >>> import hwnas
            >>> latency = hwnas.latency_model("tiny", "table.json")
            >>> fastest, slowest = latency.range_ms()
            >>> 0 < fastest < slowest
            True
        """
        from hwnas.api.problem import make_problem

        unlimited = make_problem(self.space, {"latency_ms": (self, float("inf"))})
        return unlimited.limited.extremes()

    def quantiles(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """Return the milliseconds that these shares (0..1) of all architectures do not exceed.

        To 1e-9 where the architectures can be listed, else to 1e-4 of the range.

        Example:
            >>> import hwnas
            >>> latency = hwnas.latency_model("tiny", "table.json")
            >>> budget_ms = latency.quantiles([0.35])[0]
        """
        from hwnas.api.problem import make_problem

        unlimited = make_problem(self.space, {"latency_ms": (self, float("inf"))})
        # a quantile can be one network's own latency; sums in another order must stay within it
        return np.array(unlimited.limited.percentiles(list(shares))) * (1 + 1e-9)

    def audit(self, max_ms: float) -> Audit:
        """Return what a budget leaves of the space: how many networks, which options.

        Example:
            >>> import hwnas
            >>> found = hwnas.latency_model("tiny", "table.json").audit(max_ms=0.08)
            >>> 0 < found.share < 1
            True
        """
        from hwnas.api.problem import make_problem
        from hwnas.search.problem.audit import audit

        return audit(make_problem(self.space, {"latency_ms": (self, max_ms)}).limited)


@names_missing_packages
def latency_model(
    space: SpaceLike,
    table: TableLike | None = None,
    *,
    predictor: str | None = None,
    measured: Timings | str | Path | None = None,
    sources: Mapping[str, Timings] | Sequence[str | Path] | None = None,
    force: bool = False,
) -> LatencyModel:
    """Return the latency of the networks of ``space``, from a table or from a few timings.

    ``predictor`` is ``lut`` (the default with a table), ``op-predictor`` (rows that the table lacks
    are predicted from those it has), or a model that a plugin added. Without a table (``few-shot``)
    ``measured`` are 5 to 400 networks timed on the device, and ``sources`` networks timed on other
    devices, by device: pairs of architecture and milliseconds, or files of JSON lines. ``force``
    takes a table whose latencies look as if they were not in milliseconds, or whose predictions of
    measured networks err by more than 10 %.

    Raises:
        UsageError: neither or both of ``table`` and ``measured`` are given; no such predictor.
        MissingRowError: the table lacks an operation that every network has.
        InputError: a file or a timing is wrong; lists all problems.

    Example:
        >>> import hwnas
        >>> hwnas.latency_model("tiny", "table.json")
        LatencyModel(tiny on host-onnxruntime-fp32-t1, source lut)

        From a few timings, without a table:

        >>> space = hwnas.load_space("tiny")
        >>> archs = space.sample(8, distinct=True)
        >>> few = hwnas.latency_model(space, measured=[(arch, 0.1) for arch in archs])
        >>> few.source
        'few-shot'
    """
    found = as_space(space)
    if (table is None) == (measured is None) or (sources is not None and measured is None):
        raise UsageError(
            "a latency model is made of a table, or of measured networks (with sources: those of "
            "other devices). Next: give one of table and measured"
        )
    if table is None:
        assert measured is not None  # one of the two is given
        name = model_name(predictor or "few-shot", needs="timed")
        timed = _measured(found, measured)
        data = LatencyData(None, timed, _sources(found, sources))
        model = build_model(name, found.definition, data)
        return LatencyModel(found, model, timed.device.replace(" ", "-"))
    used = as_table(table)
    if not force:
        require_plausible(used.tables, f"table of {used.name}")
        require_reliable(used.tables, found.name, f"table of {used.name}")
    name = model_name(predictor or "lut", needs="table")
    model = build_model(name, found.definition, LatencyData(used.tables))
    notes = model.statements() if isinstance(model, LutPredictor) else ()
    precision = precision_of(used.precision)
    return LatencyModel(found, model, used.name, table=used, precision=precision, notes=notes)


def _measured(space: Space, measured: Timings | str | Path) -> Measured:
    if isinstance(measured, str | Path):
        return read_measured(Path(measured), space.definition)
    return _timed(space, NEW_DEVICE, measured)


def _sources(
    space: Space, sources: Mapping[str, Timings] | Sequence[str | Path] | None
) -> Mapping[str, Measured]:
    if isinstance(sources, Mapping):
        return {device: _timed(space, device, pairs) for device, pairs in sources.items()}
    return read_sources([Path(path) for path in sources or ()], space.definition)


def _timed(space: Space, device: str, pairs: Timings) -> Measured:
    """Return pairs of architecture and ms as arrays; UsageError where one is no latency."""
    latency_ms = np.array([ms for _, ms in pairs], dtype=np.float64)
    if not (np.isfinite(latency_ms) & (latency_ms > 0)).all():
        raise UsageError(f"{device}: milliseconds must be finite and above 0")
    return Measured(device, space.encode([arch for arch, _ in pairs]), latency_ms)
