"""Latencies on a device without a table, from a few networks timed on it: ``hwnas predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from hwnas.errors import UsageError
from hwnas.latency.few_shot.comparison import Accuracy, compare
from hwnas.latency.few_shot.data import read_measured, read_sources
from hwnas.latency.few_shot.feature_space import FeatureSpace
from hwnas.latency.few_shot.predictor import FewShotPredictor
from hwnas.latency.few_shot.suggest import suggest
from hwnas.pipeline.commands.predict import Lines
from hwnas.space.archfile import arch_ids, read_archs
from hwnas.space.catalogue import load_space


def few_shot_file(
    space_name: str, measured: Path, sources: Sequence[Path], archs: Path, *, as_json: bool
) -> tuple[Lines, dict[str, Accuracy] | None]:
    """Return one line per architecture, in order, and a comparison with simpler predictors.

    The comparison is cross-validated on the timed networks; it is empty where they are too few,
    and None with ``as_json``, which does not print it.
    """
    space = load_space(space_name)
    timed = read_measured(measured, space)
    predictor = FewShotPredictor(space, timed, read_sources(sources, space))
    listed = read_archs(archs, space)
    accuracies = None if as_json else compare(predictor.features, predictor.timed, timed.latency_ms)
    lines: list[str] = [""] * listed.num_lines
    if len(listed.codes):
        latency_ms, std_ms = predictor.predict_with_std_ms(listed.codes)
        for row, arch_id, ms, std in zip(
            listed.rows.tolist(),
            arch_ids(space, listed.codes),
            np.round(latency_ms, 6).tolist(),
            np.round(std_ms, 6).tolist(),
            strict=True,
        ):
            lines[row] = (
                f'{{"arch_id": "{arch_id}", "latency_ms": {ms}, '
                f'"source": "{predictor.source}", "std_ms": {std}}}'
                if as_json
                else f"{arch_id}  {ms:.6g} ms  ± {std:.3g}  {predictor.source}"
            )
    for row, problem in listed.errors.items():
        lines[row] = orjson.dumps({"error": problem}).decode() if as_json else f"error: {problem}"
    text = "\n".join(lines) + ("\n" if lines else "")
    return Lines(text, len(listed.errors)), accuracies


def suggest_file(
    space_name: str,
    count: int,
    measured: Path | None,
    sources: Sequence[Path],
    archs: Path,
    *,
    as_json: bool,
) -> Lines:
    """Return one line per network to time, most useful first, then the lines that are errors.

    ``measured`` lists networks that were timed already: others are suggested.
    """
    if count < 1:
        raise UsageError(f"--suggest must be at least 1, got {count}")
    space = load_space(space_name)
    timed = None if measured is None else read_measured(measured, space, least=1)
    basis = FeatureSpace(space, read_sources(sources, space))
    listed = read_archs(archs, space)
    pool = basis.pool(listed.codes)
    chosen = suggest(pool, count, timed=None if timed is None else basis.pool(timed.codes))
    lines = []
    codes = listed.codes[chosen]
    for row, arch in zip(listed.rows[chosen].tolist(), space.decode(codes), strict=True):
        value = {"arch_id": arch.arch_id, "line": row + 1, "arch": arch.to_json()}
        lines.append(orjson.dumps(value).decode() if as_json else f"line {row + 1}  {arch.arch_id}")
    for row, problem in sorted(listed.errors.items()):
        lines.append(
            orjson.dumps({"line": row + 1, "error": problem}).decode()
            if as_json
            else f"line {row + 1}  error: {problem}"
        )
    return Lines("".join(f"{line}\n" for line in lines), len(listed.errors))
