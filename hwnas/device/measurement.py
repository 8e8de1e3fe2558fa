"""The statistics of repeated timings of one model: what every latency in hwnas is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

MAX_P90_RATIO = 1.25
"""Of the 90th percentile of the runs over the latency; 1.05 to 1.2 on an idle host."""

MAX_REPEATABILITY = 0.03
"""Of a model's halves. In 36 tables most models repeated to at most 2.1 %; in three, measured next
to another program, to 3.6 % or worse, and two of these misjudged winners by 1 to 3 %."""


@dataclass(frozen=True)
class Measurement:
    """Latency of one model on one target, batch 1, in milliseconds.

    ``latency_ms`` is the 25th percentile of the medians of the rounds. Other work on the device
    only ever adds time to a round, and more than a quarter of the rounds must be undisturbed. The
    percentile is the median-unbiased one (Hyndman and Fan, "Sample quantiles in statistical
    packages", The American Statistician, 1996, definition 8), which depends little on the number
    of rounds: numpy's default is about two percentiles higher with 15 rounds than with 60, so that
    on a busy host models with fewer rounds would seem slower. With several reloads of the model,
    ``latency_ms`` is the median over the reloads.
    ``p5_ms`` .. ``p95_ms`` are percentiles of the single runs. ``repeatability`` is
    ``|a - b| / mean(a, b)`` of the latencies of the odd and the even reloads, or of the odd and
    the even rounds where there is one reload.

    A published number has ``num_rounds`` 0: ``latency_ms`` is the mean of ``num_runs`` runs, and
    what is not published is NaN. A number with ``source`` ``predicted`` was not measured: a model
    of other rows predicts it (``latency/op_predictor/rows.py``).
    """

    latency_ms: float
    p5_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    num_rounds: int
    num_runs: int
    repeatability: float
    source: Literal["measured", "published", "predicted"] = "measured"

    @staticmethod
    def published(mean_ms: float, num_runs: int) -> Measurement:
        """Return the measurement of which others published the mean and the number of runs."""
        nan = float("nan")
        return Measurement(mean_ms, nan, nan, nan, nan, 0, num_runs, nan, "published")

    @staticmethod
    def predicted(latency_ms: float) -> Measurement:
        """Return the row that a model of other rows predicts."""
        nan = float("nan")
        return Measurement(latency_ms, nan, nan, nan, nan, 0, 0, nan, "predicted")

    def to_json(self) -> dict[str, Any]:
        """Return the object a table or bench file holds (nanosecond resolution).

        A published number is kept as it was published; a predicted one says so.
        """
        if self.source == "predicted":
            return {"latency_ms": self.latency_ms, "source": self.source}
        if self.num_rounds == 0:
            return {"latency_ms": self.latency_ms, "num_rounds": 0, "num_runs": self.num_runs}
        values = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "source"
        }
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()}


def disturbance(measurements: Sequence[Measurement]) -> str | None:
    """Return a warning where other work on the device slowed most of ``measurements``, else None.

    A measurement shows it by a tenth of its runs taking MAX_P90_RATIO times the latency or longer,
    or by halves that differ by more than MAX_REPEATABILITY. Other networks, or the same on another
    day, then differ by several percent: such work slows each of them by a factor of its own.
    Published and predicted numbers do not count.
    """
    timed = [m for m in measurements if m.num_rounds]
    if not timed:
        return None
    tenth = float(np.median([m.p90_ms / m.latency_ms for m in timed]))
    halves = float(np.median([m.repeatability for m in timed]))
    signs = []
    if tenth > MAX_P90_RATIO:
        signs.append(
            f"a tenth of the runs took {tenth:.2f} times the latency or longer (an idle "
            f"device: at most {MAX_P90_RATIO:g})"
        )
    if halves > MAX_REPEATABILITY:
        signs.append(
            f"one half of the rounds differs from the other by {halves:.1%} (an idle "
            f"device: at most {MAX_REPEATABILITY:.0%})"
        )
    if not signs:
        return None
    return (
        f"something else slowed the device while it was measured: of most models "
        f"{' and '.join(signs)}, so that latencies may be several percent off. Next: stop what "
        "else runs there, and measure again"
    )


def reload_of_round(number: int, rounds: int, reloads: int) -> int:
    """Return which of ``reloads`` loads of a model its round ``number`` of ``rounds`` belongs to.

    Rounds below 0, which choose what to measure, have a load of their own, -1.
    """
    return -1 if number < 0 else number * min(reloads, rounds) // rounds


def latency_of_rounds(round_medians_ms: Sequence[float], reloads: int = 1) -> float:
    """Return the median over the reloads of the 25th percentile of their rounds' medians, in ms."""
    by_reload = _by_reload(round_medians_ms, reloads)
    return float(np.median([_lower_quartile(medians) for medians in by_reload]))


def halves_of_rounds(round_medians_ms: Sequence[float], reloads: int = 1) -> tuple[float, float]:
    """Return the latencies in ms of two halves of a measurement (see ``repeatability``)."""
    by_reload = _by_reload(round_medians_ms, reloads)
    if len(by_reload) == 1:
        return latency_of_rounds(round_medians_ms[::2]), latency_of_rounds(round_medians_ms[1::2])
    of_reloads = [_lower_quartile(medians) for medians in by_reload]
    return float(np.median(of_reloads[::2])), float(np.median(of_reloads[1::2]))


def _lower_quartile(medians: Sequence[float]) -> float:
    return float(np.percentile(medians, 25, method="median_unbiased"))


def _by_reload(round_medians_ms: Sequence[float], reloads: int) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    for number, median in enumerate(round_medians_ms):
        found.setdefault(reload_of_round(number, len(round_medians_ms), reloads), []).append(median)
    return list(found.values())


def summarise(rounds_ms: Sequence[Sequence[float]], reloads: int = 1) -> Measurement:
    """Return the measurement of one model from its runs, ``rounds_ms[round][run]`` in ms.

    ``reloads``: how many loads of the model, one after the other, share the rounds.

    Raises:
        ValueError: fewer than two rounds, or a round without runs.
    """
    if len(rounds_ms) < 2 or not all(rounds_ms):
        raise ValueError("a measurement needs at least two rounds with runs")
    medians = [float(np.median(runs)) for runs in rounds_ms]
    runs = np.concatenate([np.asarray(r, dtype=float) for r in rounds_ms])
    p5, p50, p90, p95 = (float(p) for p in np.percentile(runs, [5, 50, 90, 95]))
    halves = halves_of_rounds(medians, reloads)
    return Measurement(
        latency_ms=latency_of_rounds(medians, reloads),
        p5_ms=p5,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        num_rounds=len(medians),
        num_runs=len(runs),
        repeatability=abs(halves[0] - halves[1]) / (sum(halves) / 2),
    )
