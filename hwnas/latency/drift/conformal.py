"""The conformal margin: how far below a budget to search, so that the winner is within it.

A search selects networks whose latency is predicted too low, so errors on random networks say
little about its winners. The margin takes the ratios of measured to predicted latency of *searched*
networks and their one-sided split-conformal quantile (Vovk, Gammerman and Shafer, "Algorithmic
Learning in a Random World", 2005; Papadopoulos et al., ECML 2002): the ratio of the next such
network is at most the ``ceil((n + 1) q)``-th smallest of n ratios with probability q or more,
whatever the distribution of errors, if all are of one session.

They are not: on another day a device, and with it every network, is some percent faster or slower
(``model.py``). Sessions are taken as log-normal with standard deviation SESSION_STD, which benched
runs correct (PRIOR_WEIGHT is the number of runs that the assumption counts for). With the median m
and the quantile r of the ratios, budgets are divided by

    exp(log m + hypot(log r - log m, z x deviation)),

the quantile of the sum of both where they are normal, and r where sessions do not differ.

Searched networks are the finalists benched earlier with this table, which ``<table>.validation
.jsonl`` keeps, and the winner-like ones of ``profile --validate``. Where they are too few, all
validation networks count, and last those of the calibration, whose errors are smaller than those of
others. With fewer than ``ceil((n + 1) q) <= n`` needs, the margin is the largest ratio times one
plus the standard deviation of the ratios (STD_OF_ONE where there is a single ratio), and its text
says that it guarantees nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from pydantic import Field

from hwnas.arch import Arch
from hwnas.errors import InputError
from hwnas.io.journal import Journal
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.latency.table.table import LatencyTable
from hwnas.protocols import LatencyModel, SearchSpace

STD_OF_ONE = 0.05  # relative, assumed where one ratio is known
SESSION_STD = 0.015  # relative, of a device's latencies between sessions: 1 to 3 % on an idle host
PRIOR_WEIGHT = 4  # runs
SOURCES: Mapping[str, tuple[str, ...]] = {
    "searched networks": ("winner",),
    "validation networks": ("winner", "validate"),
    "calibration networks (which the table was fitted to)": ("winner", "validate", "calibrate"),
}


@dataclass(frozen=True)
class ConformalMargin:
    """The factor by which budgets shrink: ``ratio`` is measured over predicted, 1 or more."""

    confidence: float
    ratio: float
    num_networks: int
    source: str
    is_conformal: bool
    session: float = 0.0  # relative standard deviation between sessions that the ratio covers

    @property
    def headroom(self) -> float:
        """The share of a budget that is left free."""
        return 1 - 1 / self.ratio

    def __str__(self) -> str:
        what = (
            f"confidence {self.confidence:g}: budgets shrink by {self.headroom:.2%}, from "
            f"{self.num_networks} {self.source} and sessions that differ by "
            f"{self.session:.1%}"
        )
        if self.is_conformal:
            return what
        return (
            f"{what}: too few for this confidence, which takes "
            f"{min_networks(self.confidence)}; the largest error with a margin is used, "
            f"which guarantees nothing. Next: measure {2 * min_networks(self.confidence)} more "
            "networks (--validate of hwnas profile, with --resume), or bench more winners"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object result files hold."""
        return {
            "confidence": self.confidence,
            "headroom": round(self.headroom, 6),
            "num_networks": self.num_networks,
            "source": self.source,
            "is_conformal": self.is_conformal,
            "session": round(self.session, 6),
        }


class ValidationSchema(FileSchema):
    """A line of a validation file: a searched network that was measured."""

    space: str
    arch: dict[str, Any]
    predicted_ms: float = Field(gt=0, allow_inf_nan=False)
    measured_ms: float = Field(gt=0, allow_inf_nan=False)
    date: str
    run: str


def validation_path(table: Path) -> Path:
    """Return where the winners benched with a table (a file or a folder) are kept."""
    return Path(f"{table}.validation.jsonl")


def read_validation(table: Path) -> list[ValidationSchema]:
    """Return the winners benched with a table, none where there is no file.

    Raises:
        InputError: all lines that are not understood; the file is a link.
    """
    path = validation_path(table)
    if path.is_symlink():
        raise InputError(
            str(path),
            ["is a link, and lines would be added to what it names"],
            "put the file itself in its place",
        )
    if not path.exists():
        return []
    found, problems = [], []
    for number, record in enumerate(Journal(path).records(), start=1):
        try:
            found.append(parse_model(ValidationSchema, record, what=f"line {number}"))
        except InputError as error:
            problems += [f"line {number}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(str(path), problems, "remove these lines: bench adds such lines")
    return found


def append_validation(table: Path, lines: Sequence[ValidationSchema]) -> None:
    """Add benched winners to the validation file of a table, except those it holds."""
    known = [line.model_dump() for line in read_validation(table)]
    new = [line.model_dump() for line in lines if line.model_dump() not in known]
    if not new:
        return
    journal = Journal(validation_path(table))
    try:
        for line in new:
            journal.append(line)
    finally:
        journal.close()


def min_networks(confidence: float) -> int:
    """Return the smallest n for which ``ceil((n + 1) confidence) <= n``."""
    count = max(1, math.floor(confidence / (1 - confidence)) - 1)
    while _rank(count, confidence) > count:
        count += 1
    return count


def _rank(count: int, confidence: float) -> int:
    # a hair below: 19/20 x 20 must be 19, not 20
    return math.ceil((count + 1) * confidence - 1e-9)


def quantile(ratios: Sequence[float], confidence: float) -> tuple[float, bool]:
    """Return the conformal quantile of ratios, and whether they are enough for its guarantee.

    Raises:
        ValueError: there are no ratios.
    """
    if not ratios:
        raise ValueError("a quantile needs at least one ratio")
    rank = _rank(len(ratios), confidence)
    if rank <= len(ratios):
        return sorted(ratios)[rank - 1], True
    deviation = float(np.std(ratios, ddof=1)) if len(ratios) > 1 else STD_OF_ONE
    return max(ratios) * (1 + deviation), False


def conformal_margin(
    space: SearchSpace,
    tables: LatencyTable,
    predictor: LatencyModel,
    benched: Sequence[ValidationSchema],
    confidence: float,
) -> ConformalMargin | None:
    """Return the margin from the first source with enough networks, else from all there are.

    None where no network of ``space`` was ever measured.
    """
    own = [line.measured_ms / line.predicted_ms for line in benched if line.space == space.name]
    found: list[tuple[str, list[float]]] = []
    for source, roles in SOURCES.items():
        ratios = own + _ratios(space, tables, predictor, roles)
        if ratios:
            found.append((source, ratios))
    if not found:
        return None
    needed = min_networks(confidence)
    source, ratios = next((pair for pair in found if len(pair[1]) >= needed), found[0])
    ratio, is_conformal = quantile(ratios, confidence)
    session = session_deviation([line for line in benched if line.space == space.name])
    ratio = across_sessions(ratio, float(np.median(ratios)), confidence, session)
    return ConformalMargin(confidence, max(ratio, 1.0), len(ratios), source, is_conformal, session)


def session_deviation(benched: Sequence[ValidationSchema]) -> float:
    """Return the relative standard deviation between sessions; the winners of a run are of one.

    The variance of the runs' medians, averaged with SESSION_STD squared, weighted PRIOR_WEIGHT.
    """
    runs: dict[str, list[float]] = {}
    for line in benched:
        runs.setdefault(line.run, []).append(math.log(line.measured_ms / line.predicted_ms))
    medians = np.array([np.median(ratios) for ratios in runs.values()])
    squares = float(((medians - medians.mean()) ** 2).sum()) if len(medians) else 0.0
    return math.sqrt(
        (PRIOR_WEIGHT * SESSION_STD**2 + squares) / (PRIOR_WEIGHT + max(len(medians) - 1, 0))
    )


def across_sessions(ratio: float, median: float, confidence: float, deviation: float) -> float:
    """Return the quantile ``ratio`` of ratios around ``median``, allowing for another session."""
    session = max(NormalDist().inv_cdf(confidence), 0.0) * deviation
    return median * math.exp(math.hypot(math.log(ratio / median), session))


def _ratios(
    space: SearchSpace, tables: LatencyTable, predictor: LatencyModel, roles: Sequence[str]
) -> list[float]:
    records = [n for n in tables.networks if n.space == space.name and n.role in roles]
    if not records:
        return []
    archs = [Arch.make(n.arch["space"], n.arch["choices"]) for n in records]
    predicted = predictor.predict_ms(space.encode(archs))
    measured = np.array([n.measurement.latency_ms for n in records])
    ratios: list[float] = (measured / predicted)[np.isfinite(predicted)].tolist()
    return ratios
