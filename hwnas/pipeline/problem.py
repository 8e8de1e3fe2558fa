"""What a run searches: a space, its targets' latency tables, and the limits on them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hwnas.device.device import load_device
from hwnas.device.runner import Target, make_target
from hwnas.errors import InfeasibleError, UsageError
from hwnas.export.formats import Precision
from hwnas.io.suggest import command
from hwnas.latency.drift.conformal import (
    ConformalMargin,
    conformal_margin,
    min_networks,
    read_validation,
)
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.lut.reliability import calibration_error
from hwnas.latency.table.files import load_table, stored_name
from hwnas.latency.table.table import LatencyTable
from hwnas.pipeline.config.run import TargetConfig
from hwnas.pipeline.data import RunData
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.prediction import predictor_of
from hwnas.protocols import SearchSpace
from hwnas.search.problem.limits import Limit, LimitedSpace

logger = logging.getLogger(__name__)

HEADROOM_RANGE = (0.01, 0.05)


@dataclass(frozen=True)
class Problem:
    """The space under the budgets of its targets and the other limits.

    It is that of the search in every stage: where networks are retrained on other images, whose
    classes they get, predictions and budgets stay those of the networks that were searched.

    Args:
        folder: the run folder, which holds the targets' tables once the run has begun.
        data: the images of the search, which decide the space's number of classes.
        targets: devices with their budgets; the first may have several budgets.
        counts: limits on ``params``, ``macs`` and ``size_mb`` by metric.
        confidence: how surely winners hold their budgets when measured; None: by ``headroom``.
    """

    folder: RunFolder
    data: RunData
    targets: tuple[TargetConfig, ...]
    counts: Mapping[str, float]
    confidence: float | None

    @property
    def space(self) -> SearchSpace:
        """The space that is searched."""
        return self.data.space

    def target(self, number: int = 0) -> Target:
        """Return the device, runtime and threads of a target."""
        wanted = self.targets[number]
        return make_target(
            load_device(wanted.device),
            wanted.runtime,
            wanted.precision,
            wanted.threads,
            wanted.affinity,
        )

    def table_path(self, number: int) -> Path:
        """Return the path of a target's table: in the run folder, or the given one before that."""
        path, given = self.folder.table(number), self.targets[number].table
        return path if path.exists() or given is None else Path(given)

    @cached_property
    def tables(self) -> tuple[LatencyTable, ...]:
        """The tables of the targets, in order."""
        return tuple(load_table(self.table_path(number)) for number in range(len(self.targets)))

    @cached_property
    def predictors(self) -> tuple[LutPredictor, ...]:
        """The predictors of the targets, in order."""
        return tuple(
            predictor_of(self.space, table, target.predictor)
            for table, target in zip(self.tables, self.targets, strict=True)
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What limits and messages call the targets' tables: their names in the run folder."""
        return tuple(
            stored_name(tables, self.folder.table(number).stem)
            for number, tables in enumerate(self.tables)
        )

    @cached_property
    def budgets_ms(self) -> tuple[float, ...]:
        """The budgets of the first target, its percentile resolved."""
        return self._budgets_ms(0)

    def _budgets_ms(self, number: int) -> tuple[float, ...]:
        target = self.targets[number]
        if target.budget_percentile is None:
            return target.budgets_ms
        limited = self.limited((Limit("latency_ms", float("inf"), self.names[number]),))
        # rounded to a nanosecond, the resolution of the table
        return (round(limited.percentiles([target.budget_percentile / 100])[0], 6),)

    def limits(self, budget_ms: float) -> tuple[Limit, ...]:
        """Return all limits with this budget on the first target, as the user asked."""
        budgets = [budget_ms, *(self._budgets_ms(n)[0] for n in range(1, len(self.targets)))]
        latency = tuple(
            Limit("latency_ms", ms, name) for name, ms in zip(self.names, budgets, strict=True)
        )
        precisions: set[Precision] = {target.precision for target in self.targets}
        largest: Precision = "fp32" if "fp32" in precisions else "int8"  # every target's file fits
        counts = tuple(Limit(name, value, precision=largest) for name, value in self.counts.items())
        return latency + counts

    def limited(self, limits: tuple[Limit, ...]) -> LimitedSpace:
        """Return the space under ``limits``."""
        return LimitedSpace(self.space, limits, dict(zip(self.names, self.predictors, strict=True)))

    def searched(self, limits: tuple[Limit, ...]) -> LimitedSpace:
        """Return the space under the limits that search keeps: budgets less their headroom."""
        tightened = tuple(
            Limit(
                limit.metric,
                limit.maximum * (1 - self.headroom(self.names.index(limit.table))),
                limit.table,
            )
            if limit.table is not None
            else limit
            for limit in limits
        )
        return self.limited(tightened)

    def check_limits(self) -> None:
        """Make sure that some network meets every budget together with the other limits.

        Raises:
            InfeasibleError: none does; names the best network, and the headroom where that is why.
        """
        for budget_ms in self.budgets_ms:
            limits = self.limits(budget_ms)
            self.limited(limits).check()
            try:
                self.searched(limits).check()
            except InfeasibleError as error:
                shares = ", ".join(f"{self.headroom(n):.2%}" for n in range(len(self.names)))
                raise InfeasibleError(
                    f"{error}. The limits can be met, but search leaves {shares} of each latency "
                    "budget free for errors of prediction; a smaller headroom leaves less"
                ) from None

    @cached_property
    def margins(self) -> tuple[ConformalMargin | None, ...]:
        """The conformal margin of each target, None where no confidence is asked for.

        Raises:
            UsageError: no network of the space was ever measured with a target's table.
        """
        confidence = self.confidence
        if confidence is None:
            return (None,) * len(self.tables)
        margins = []
        for number, (tables, predictor) in enumerate(
            zip(self.tables, self.predictors, strict=True)
        ):
            benched = read_validation(self.table_path(number))
            margin = conformal_margin(self.space, tables, predictor, benched, confidence)
            if margin is None:
                raise UsageError(
                    f"--confidence {confidence:g} needs measured networks of {self.space.name}, "
                    f"and {self.names[number]} has none",
                    next_step=self._measure_networks(number, 2 * min_networks(confidence))
                    + "; or give a --headroom instead",
                )
            logger.info(f"{self.names[number]}: {margin}")
            margins.append(margin)
        return tuple(margins)

    def _measure_networks(self, number: int, validate: int) -> str:
        """Return the command that measures networks of the space into a target's table."""
        target = self.targets[number]
        return command(
            "profile",
            device=target.device,
            runtime=target.runtime,
            precision=target.precision,
            threads=target.threads,
            affinity=target.affinity,
            space=self.space.name,
            calibrate=16,
            validate=validate,
            out=target.table or "TABLE",
            resume=True,
        )

    def headroom(self, number: int) -> float:
        """Return the share of a target's budget left free for errors of prediction.

        Twice the mean error on validation networks (else of calibration networks, each left out of
        the fit that predicts it), between 1 % and 5 %; none for a table without either, whose error
        nobody knows. Of several tables the largest. With a confidence it is the conformal margin's.
        """
        asked, margin = self.targets[number].headroom, self.margins[number]
        if asked is not None:
            return asked
        if margin is not None:
            return margin.headroom
        return max(self._table_headroom(table) for table in self.tables[number].scopes)

    def _table_headroom(self, table: LatencyTable) -> float:
        error = calibration_error(table, self.space.name)
        if error is None:
            return 0.0
        return round(min(max(2 * error, HEADROOM_RANGE[0]), HEADROOM_RANGE[1]), 4)
