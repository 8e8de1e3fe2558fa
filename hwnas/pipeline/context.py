"""From a configuration to the values the stages work on: data, space, targets, limits."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from hwnas.arch import Arch
from hwnas.data import Dataset
from hwnas.device.device import load_device
from hwnas.device.runner import Target, make_target, open_runner
from hwnas.errors import InfeasibleError, InputError, StorageError, UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.formats import Precision
from hwnas.latency.drift.conformal import (
    ConformalMargin,
    ValidationSchema,
    append_validation,
    conformal_margin,
    min_networks,
    read_validation,
)
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.missing_heads import MissingHeads
from hwnas.latency.profile.plan import ProfilePlan
from hwnas.latency.profile.profiler import profile
from hwnas.latency.table.files import load_table, store, stored_name
from hwnas.latency.table.table import LatencyTable
from hwnas.latency.table.units import require_plausible
from hwnas.ops import OpSpec
from hwnas.pipeline.config.run import RunConfig, TargetConfig
from hwnas.pipeline.folder import RunFolder
from hwnas.pipeline.prediction import predictor_of
from hwnas.protocols import SearchSpace
from hwnas.search.problem.limits import Limit, LimitedSpace
from hwnas.search.records import stage_record
from hwnas.space.catalogue import load_space, with_params
from hwnas.train.task import DataSource

logger = logging.getLogger(__name__)

HEADROOM_RANGE = (0.01, 0.05)


@dataclass(frozen=True)
class Run:
    """A run folder with its configuration resolved; parts are made when a stage needs them."""

    folder: RunFolder
    config: RunConfig

    @cached_property
    def source(self) -> DataSource:
        """The data set by name."""
        size = load_space(self.config.space).input_shape[1]
        root = Path(self.config.data_root) if self.config.data_root else None
        return DataSource(self.require_data(), root, size)

    def require_data(self) -> str:
        """Return the name of the data set; UsageError where the run has none."""
        if self.config.data is None:
            raise UsageError(
                f"{self.folder.path} was begun without images, which training and "
                f"parity need. Next: hwnas retrain --run {self.folder.path} --data "
                "with a data set"
            )
        return self.config.data

    @cached_property
    def as_searched(self) -> Run:
        """The run with the data it was searched with, where it is retrained on other data."""
        if not self.folder.is_begun:
            return self
        begun = self.folder.config()
        if (begun.data, begun.data_root) == (self.config.data, self.config.data_root):
            return self
        return Run(self.folder, begun)

    @cached_property
    def dataset(self) -> Dataset:
        """The whole data set; stages before the last use ``without_test()``."""
        return self.source.load()

    def dataset_for(self, layers: Sequence[OpSpec]) -> Dataset:
        """Return the whole data set at the input size of a network."""
        if layers[0].in_shape[1] == self.dataset.input_size:
            return self.dataset
        return self.source.sized_for(layers).load()

    @cached_property
    def space(self) -> SearchSpace:
        """The space with the data set's number of classes; as it is where there is no data set."""
        space = load_space(self.config.space)
        if self.config.data is None or space.num_classes == self.dataset.num_classes:
            return space
        name = with_params(self.config.space, num_classes=self.dataset.num_classes)
        logger.info(
            f"{self.config.data} has {self.dataset.num_classes} classes: the space is {name}"
        )
        return load_space(name)

    @cached_property
    def cache(self) -> ConversionCache:
        """The conversions shared with all other runs on this machine."""
        return ConversionCache()

    def target(self, number: int) -> Target:
        """Return the device, runtime and threads of a target."""
        wanted = self.config.targets[number]
        return make_target(
            load_device(wanted.device),
            wanted.runtime,
            wanted.precision,
            wanted.threads,
            wanted.affinity,
        )

    def arch(self, value: dict[str, Any]) -> Arch:
        """Return the checked architecture of a run file's object."""
        return self.space.arch(value["choices"])

    def prepare_tables(self) -> None:
        """Put every target's table into the run folder, profiling those that have none."""
        numbers = range(len(self.config.targets))
        if all(self.folder.table(number).exists() for number in numbers):
            return
        start = time.perf_counter()
        for number, target in enumerate(self.config.targets):
            path = self.folder.table(number)
            if path.exists():
                continue
            if target.table is not None:
                store(self._given(number, Path(target.table)), path.parent, path.stem)
                append_validation(self.folder.table(number), read_validation(Path(target.table)))
            else:
                plan = ProfilePlan(
                    self.space,
                    self.target(number),
                    target.calibrate,
                    target.validate_,
                    self.config.seed,
                )
                profile(plan, path, resume=True, cache=self.cache)
        wall_s = time.perf_counter() - start
        with self.folder.journal() as journal:
            journal.append(stage_record("profile", wall_s, {"device_s": round(wall_s, 3)}))

    def missing_heads(self, number: int) -> MissingHeads | None:
        """Return what a given table lacks because the data have other classes; None: nothing."""
        given, like = self.config.targets[number].table, load_space(self.config.space).name
        if given is None or self.space.name == like:
            return None
        found = MissingHeads(self.space, like, load_table(Path(given)), self.target(number))
        return found if found.heads else None

    def _given(self, number: int, path: Path) -> LatencyTable:
        """Return a target's given tables, with the heads of the data's classes measured."""
        lacking = self.missing_heads(number)
        if lacking is None:
            return load_table(path)
        logger.info(
            f"the table of {lacking.tables.header.device} has no row for the head of "
            f"{self.space.num_classes} classes: measuring {len(lacking.heads)} on it now"
        )
        samples = self.folder.file(f"{self.folder.table(number).stem}.heads.samples.jsonl")
        return lacking.measured(samples, self.cache)

    @cached_property
    def tables(self) -> tuple[LatencyTable, ...]:
        """The tables of the targets, in order: the run folder's, before it begins the given."""
        return tuple(load_table(self._table(number)) for number in range(len(self.config.targets)))

    def _table(self, number: int) -> Path:
        path, given = self.folder.table(number), self.config.targets[number].table
        if path.exists() or given is None:
            return path
        return Path(given)

    @cached_property
    def predictors(self) -> tuple[LutPredictor, ...]:
        """The predictors of the targets, in order."""
        return tuple(
            predictor_of(self.space, table, target.predictor)
            for table, target in zip(self.tables, self.config.targets, strict=True)
        )

    @cached_property
    def budgets_ms(self) -> tuple[float, ...]:
        """The budgets of the first target, its percentile resolved."""
        return self._budgets(0)

    def _budgets(self, number: int) -> tuple[float, ...]:
        if self.as_searched is not self:
            return self.as_searched._budgets(number)
        target = self.config.targets[number]
        if target.budget_percentile is None:
            return target.budgets_ms
        limited = self.limited((Limit("latency_ms", float("inf"), self._names[number]),))
        # rounded to a nanosecond, the resolution of the table
        return (round(limited.percentiles([target.budget_percentile / 100])[0], 6),)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """What limits and messages call the targets' tables: their names in the run folder."""
        return tuple(
            stored_name(tables, self.folder.table(number).stem)
            for number, tables in enumerate(self.tables)
        )

    def limits(self, budget_ms: float) -> tuple[Limit, ...]:
        """Return all limits of a run with this budget on the first target, as the user asked."""
        budgets = [budget_ms, *(self._budgets(n)[0] for n in range(1, len(self.config.targets)))]
        latency = tuple(
            Limit("latency_ms", ms, name) for name, ms in zip(self._names, budgets, strict=True)
        )
        precisions: set[Precision] = {target.precision for target in self.config.targets}
        largest: Precision = "fp32" if "fp32" in precisions else "int8"  # every target's file fits
        counts = tuple(
            Limit(name, value, precision=largest) for name, value in self.config.limits.items()
        )
        return latency + counts

    def limited(self, limits: tuple[Limit, ...]) -> LimitedSpace:
        """Return the space under ``limits``."""
        return LimitedSpace(
            self.space, limits, dict(zip(self._names, self.predictors, strict=True))
        )

    def searched(self, limits: tuple[Limit, ...]) -> LimitedSpace:
        """Return the space under the limits that search keeps: budgets less their headroom."""
        tightened = tuple(
            Limit(
                limit.metric,
                limit.maximum * (1 - self.headroom(self._names.index(limit.table))),
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
                shares = ", ".join(f"{self.headroom(n):.2%}" for n in range(len(self._names)))
                raise InfeasibleError(
                    f"{error}. The limits can be met, but search leaves {shares} of each latency "
                    "budget free for errors of prediction; a smaller headroom leaves less"
                ) from None

    @cached_property
    def guards(self) -> tuple[ConformalMargin | None, ...]:
        """The confidence guard of each target, None where no confidence is asked for.

        Raises:
            UsageError: no network of the space was ever measured with a target's table.
        """
        confidence = self.config.confidence
        if confidence is None:
            return (None,) * len(self.tables)
        guards = []
        for number, (tables, predictor) in enumerate(
            zip(self.tables, self.predictors, strict=True)
        ):
            benched = read_validation(self._table(number))
            guard = conformal_margin(self.space, tables, predictor, benched, confidence)
            if guard is None:
                raise UsageError(
                    f"--confidence {confidence:g} needs measured networks of {self.space.name}, "
                    f"and {self._names[number]} has none. Next: hwnas profile --resume --calibrate "
                    f"16 --validate {2 * min_networks(confidence)}, or --headroom"
                )
            logger.info(f"{self._names[number]}: {guard}")
            guards.append(guard)
        return tuple(guards)

    def keep_validation(self, lines: Sequence[ValidationSchema]) -> None:
        """Add benched winners to the first target's table, where later searches read them."""
        given = self.config.targets[0].table
        table = Path(given) if given is not None else self.folder.table(0)
        try:
            append_validation(table, lines)
        except StorageError as error:
            logger.warning(f"not kept beside the table: {error}")

    def headroom(self, number: int) -> float:
        """Return the share of a target's budget left free for errors of prediction.

        Twice the mean error on validation networks (else calibration networks), between 1 % and
        5 %; none for a table without either, whose error nobody knows. Of several tables the
        largest. With a confidence it is the guard's.
        """
        asked, guard = self.config.targets[number].headroom, self.guards[number]
        if asked is not None:
            return asked
        if guard is not None:
            return guard.headroom
        return max(self._headroom(table) for table in self.tables[number].scopes)

    def _headroom(self, table: LatencyTable) -> float:
        validation = table.validation.get(self.space.name)
        calibration = table.calibration.get(self.space.name)
        if validation is not None:
            error = float(validation["mean_abs_rel_error"])
        elif calibration is not None:
            error = calibration.mean_abs_rel_error
        else:
            return 0.0
        return round(min(max(2 * error, HEADROOM_RANGE[0]), HEADROOM_RANGE[1]), 4)


def check_target(target: TargetConfig) -> None:
    """Raise unless the target's device and runtime exist and its table is of them."""
    wanted = make_target(
        load_device(target.device),
        target.runtime,
        target.precision,
        target.threads,
        target.affinity,
    )
    if target.table is None:
        return
    if not Path(target.table).exists():
        raise InputError(
            f"table {target.table}", ["there is no such file"], "hwnas profile writes tables"
        )
    tables = load_table(Path(target.table))
    if not target.force:
        require_plausible(tables, f"table {target.table}")
    header = tables.header
    problems = [
        f"{name}: the table was measured with {measured!r}, the target has {asked!r}"
        for name, measured, asked in (
            ("device", header.device, wanted.device.name),
            ("runtime", header.runtime, wanted.runtime),
            ("precision", header.precision, wanted.precision),
            ("threads", header.threads, wanted.threads),
            ("affinity", header.affinity, target.affinity or header.affinity),
        )
        if measured != asked
    ]
    if problems:
        raise InputError(
            f"table {target.table}",
            problems,
            "give the target what its table was measured with, or another table",
        )


def check_torch_device(name: str) -> None:
    """Raise UsageError unless torch can compute on the device called ``name``."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch raises either
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"torch_device {name!r} cannot be used: {reason}. "
            "Next: torch_device: cpu, or a device that torch finds"
        ) from error


def check_measurable(target: TargetConfig) -> None:
    """Raise unless the target's device answers now, so that no work is done for one that cannot."""
    wanted = make_target(
        load_device(target.device),
        target.runtime,
        target.precision,
        target.threads,
        target.affinity,
    )
    open_runner(wanted).close()
