"""Latencies of a list of architectures from a table: ``hwnas predict --lut``. Imports no torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from hwnas.latency.lut.reliability import unreliable
from hwnas.latency.models import model_name
from hwnas.latency.table.files import load_table
from hwnas.latency.table.units import require_plausible
from hwnas.pipeline.prediction import predictor_of
from hwnas.space.archfile import arch_ids, read_archs
from hwnas.space.catalogue import load_space

logger = logging.getLogger(__name__)


class Lines(NamedTuple):
    """One line of output per line of a file, and how many of them are errors."""

    text: str
    num_errors: int


def predict_file(
    space: str, lut: Path, archs: Path, name: str, *, force: bool, as_json: bool
) -> Lines:
    """Return one line per architecture, in order, predicted by the latency model ``name``.

    The source of a network all of whose rows are measured is the table's, whatever the model.
    ``force`` accepts a table whose latencies look as if they were not in ms.

    Raises:
        UsageError: there is no such latency model.
        InputError: a file is not what it should be; lists all problems.
    """
    name = model_name(name, needs="table")
    tables = load_table(lut)
    if not force:
        require_plausible(tables, str(lut))
    predictor = predictor_of(load_space(space), tables, name)
    for part in tables.scopes:
        if (found := unreliable(part, predictor.space.name)) is not None:
            logger.warning(f"{lut}: {found}")
    listed = read_archs(archs, predictor.space)
    predicted = predictor.predict_ms(listed.codes)
    ids = arch_ids(predictor.space, listed.codes)
    sources = predictor.sources(listed.codes)
    lines: list[str] = [""] * listed.num_lines
    errors = dict(listed.errors)
    covered = np.isfinite(predicted)
    for index in np.flatnonzero(~covered):
        arch = predictor.space.decode(listed.codes[index : index + 1])[0]
        errors[int(listed.rows[index])] = str(predictor.missing_of(arch)).replace("\n", " ")
    rounded = np.round(predicted, 12)  # as in files: exact sums stay exact
    for row, arch_id, latency_ms, source, good in zip(
        listed.rows.tolist(), ids, rounded.tolist(), sources, covered.tolist(), strict=True
    ):
        if good:
            lines[row] = (
                f'{{"arch_id": "{arch_id}", "latency_ms": {latency_ms}, "source": "{source}"}}'
                if as_json
                else f"{arch_id}  {latency_ms:.6g} ms  {source}"
            )
    for row, problem in errors.items():
        lines[row] = orjson.dumps({"error": problem}).decode() if as_json else f"error: {problem}"
    return Lines("\n".join(lines) + ("\n" if lines else ""), len(errors))
