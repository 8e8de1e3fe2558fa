"""Latency models by name: what predicts the latency of a space's networks, and from which data.

A plugin adds a model with :func:`register_latency_model`; searches, limits and the command line
then offer it like the ones that come with hwnas.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from hwnas.errors import UsageError
from hwnas.latency.table.table import LatencyTable
from hwnas.plugins.registry import Entry, Registry, load_object
from hwnas.protocols import LatencyModel, SearchSpace

if TYPE_CHECKING:
    from hwnas.latency.few_shot.feature_space import Measured

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatencyData:
    """What is known of a target: a latency table, or networks timed on it and on other devices."""

    table: LatencyTable | None = None
    timed: Measured | None = None
    sources: Mapping[str, Measured] = field(default_factory=dict)


NEEDS = {"table": "a latency table", "timed": "networks timed on the device"}
Build = Callable[[SearchSpace, LatencyData], LatencyModel]


@dataclass(frozen=True)
class LatencyModelEntry(Entry):
    """A latency model: ``needs`` names the fields of :class:`LatencyData` it is built from.

    ``build`` is a function ``(space, data) -> LatencyModel``, or its import path
    ``package.module:name``, which is imported when the model is built. ``aliases`` are earlier
    names, accepted with a warning.
    """

    build: Build | str
    aliases: tuple[str, ...] = ()


LATENCY_MODELS: Registry[LatencyModelEntry] = Registry("latency model")

LATENCY_MODELS.add(
    LatencyModelEntry(
        "lut",
        "calibrated sum of the rows of a latency table",
        needs=("table",),
        build="hwnas.latency.models:build_lut",
    )
)
LATENCY_MODELS.add(
    LatencyModelEntry(
        "op-predictor",
        "as lut, with rows the table does not hold predicted from those it holds",
        needs=("table",),
        build="hwnas.latency.models:build_op_predictor",
        aliases=("kernel",),
    )
)
LATENCY_MODELS.add(
    LatencyModelEntry(
        "few-shot",
        "Gaussian process on 5 to 400 timed networks, for a device without a table",
        needs=("timed",),
        build="hwnas.latency.models:build_few_shot",
    )
)


def register_latency_model(
    name: str, help: str, build: Build, *, needs: tuple[str, ...] = ("table",)
) -> LatencyModelEntry:
    """Add a latency model, which searches, limits and the command line then offer.

    ``build(space, data)`` returns the model from the fields of :class:`LatencyData` in ``needs``.

    Raises:
        UsageError: the name is taken.
    """
    return LATENCY_MODELS.register(LatencyModelEntry(name, help, needs=needs, build=build))


def model_name(text: str, needs: Literal["table", "timed"] | None = None) -> str:
    """Return the name of the latency model called ``text``, which may be an earlier name.

    Raises:
        UsageError: there is no such model, or it is not built from what ``needs`` names; lists
            those there are.
    """
    for entry in LATENCY_MODELS.values():
        if text in entry.aliases:
            logger.warning("latency model %r is now called %r", text, entry.name)
            return entry.name
    allowed = [one.name for one in LATENCY_MODELS.values() if needs is None or needs in one.needs]
    if text not in allowed:
        raise UsageError(f"latency model {text!r} is not there; allowed: {', '.join(allowed)}")
    return text


def build_model(name: str, space: SearchSpace, data: LatencyData) -> LatencyModel:
    """Return the latency model ``name`` of ``space``, built from ``data``.

    Raises:
        UsageError: no such model, or ``data`` lacks what it is built from.
    """
    entry = LATENCY_MODELS[model_name(name)]
    given = {"table": data.table, "timed": data.timed}
    for need in entry.needs:
        if given[need] is None:
            raise UsageError(f"latency model {entry.name!r} is built from {NEEDS[need]}")
    build: Build = load_object(entry.build) if isinstance(entry.build, str) else entry.build
    return build(space, data)


def latency_model(
    space: SearchSpace,
    table: LatencyTable | None = None,
    *,
    name: str | None = None,
    timed: Measured | None = None,
    sources: Mapping[str, Measured] | None = None,
) -> LatencyModel:
    """Return a latency model of ``space`` from a table, or from networks timed on the device.

    Args:
        space: the space whose networks are predicted.
        table: the latency table of the target.
        name: an entry of :data:`LATENCY_MODELS`; by default ``lut`` for a table and ``few-shot``
            for timed networks.
        timed: networks timed on the target, for ``few-shot``.
        sources: networks timed on other devices, by device name, for ``few-shot``.

    Raises:
        UsageError: neither or both of ``table`` and ``timed`` are given; an unknown name.
        MissingRowError: the table covers no network of the space.
    """
    if (table is None) == (timed is None):
        raise UsageError(
            "a latency model is built from a table or from timed networks; give one of the two"
        )
    data = LatencyData(table, timed, sources or {})
    return build_model(name or ("few-shot" if table is None else "lut"), space, data)


def build_lut(space: SearchSpace, data: LatencyData) -> LatencyModel:
    """Return the calibrated sum of the rows of ``data.table``."""
    from hwnas.latency.lut.predictor import LutPredictor

    assert data.table is not None
    return LutPredictor(space, data.table)


def build_op_predictor(space: SearchSpace, data: LatencyData) -> LatencyModel:
    """Return the calibrated sum of measured and predicted rows of ``data.table``."""
    from hwnas.latency.op_predictor.rows import OpPredictor  # imports scipy

    assert data.table is not None
    return OpPredictor(space, data.table)


def build_few_shot(space: SearchSpace, data: LatencyData) -> LatencyModel:
    """Return the few-shot predictor fitted to ``data.timed``, with ``data.sources``."""
    from hwnas.latency.few_shot.predictor import FewShotPredictor

    assert data.timed is not None
    return FewShotPredictor(space, data.timed, data.sources)
