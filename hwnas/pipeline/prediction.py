"""A predictor whose warnings reach the user as log messages. Imports no torch."""

from __future__ import annotations

import logging
import warnings

from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.models import LatencyData, build_model
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import SearchSpace

logger = logging.getLogger(__name__)


def predictor_of(space: SearchSpace, table: LatencyTable, name: str = "lut") -> LutPredictor:
    """Return the predictor of a space from a table; its warnings are logged.

    ``op-predictor`` predicts the rows that the table lacks, and says how many and how well.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor = _made(space, table, name)
    for warning in caught:
        logger.warning(str(warning.message))
    for statement in predictor.statements():
        logger.info(statement)
    return predictor


def _made(space: SearchSpace, table: LatencyTable, name: str) -> LutPredictor:
    model = build_model(name, space, LatencyData(table))
    assert isinstance(model, LutPredictor)
    return model
