"""The rows that a table lacks because the data have other classes: the heads, measured now.

A network's head depends on the number of classes, so a table of somebody's with 1000 classes has no
row for the head of 10. The other rows stay; the calibration of the same space with other classes is
kept, since the head is one of some twenty operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.device.measurement import Measurement
from hwnas.device.rounds import SampleLog, record_in_rounds
from hwnas.device.runner import Target, open_runner
from hwnas.errors import HwnasError, UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.latency.profile.plan import ProfilePlan, conversion_of, make_header, op_id
from hwnas.latency.table.schemas import TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import Runner, SearchSpace
from hwnas.space.codes import distinct_ops


def lacking_heads(space: SearchSpace, tables: LatencyTable) -> dict[OpSpec, OpSpec]:
    """Return the heads of ``space`` without a row, each with one in the tables but for its classes.

    A head whose like is not in the tables either is not among them: its table covers another space,
    or another resolution.
    """
    rows = {
        _classless(op): op for part in tables.scopes for op in part.entries if op.kind == "head"
    }
    present = {op for part in tables.scopes for op in part.entries}
    return {
        op: rows[_classless(op)]
        for op in distinct_ops(space)
        if op.kind == "head" and op not in present and _classless(op) in rows
    }


def _classless(op: OpSpec) -> OpSpec:
    return replace(op, out_channels=1)


@dataclass(frozen=True)
class MissingHeads:
    """What tables of ``space`` but for its classes, space ``like``, lack on a target."""

    space: SearchSpace
    like: str
    tables: LatencyTable
    target: Target

    @property
    def heads(self) -> dict[OpSpec, OpSpec]:
        """See :func:`lacking_heads`."""
        return lacking_heads(self.space, self.tables)

    def check(self) -> None:
        """Raise UsageError, and say what to do, unless the heads can be measured now."""
        with self._runner():
            pass

    def measured(self, samples: Path, cache: ConversionCache) -> LatencyTable:
        """Return the tables with the heads, measured by the target's protocol.

        Raw visits go to ``samples``. The calibration of ``like`` becomes that of the space, too.

        Raises:
            UsageError: the device cannot be reached, or is not what the tables were measured on;
                says what to do without it.
        """
        heads = self.heads
        with self._runner() as (runner, header):
            log = SampleLog(samples, header.target())
            try:
                found = _measured(heads, self.target, log, runner, cache)
            finally:
                log.close()
        return self.tables.map_scopes(
            lambda part: _with(part, found, heads, self.like, self.space.name)
        )

    @contextmanager
    def _runner(self) -> Iterator[tuple[Runner, TableHeader]]:
        try:
            runner = open_runner(self.target)
        except HwnasError as error:
            raise self._cannot(error.reason) from error
        with runner:
            header = make_header(ProfilePlan(self.space, self.target), runner)
            differing = [
                f"its {line} in the table"
                for line in header.differences(self.tables.target, ignore=("seed",))
            ]
            if differing:
                raise self._cannot("; ".join(differing))
            yield runner, header

    def _cannot(self, reason: str) -> UsageError:
        return UsageError(
            f"the table of {self.tables.header.device} has no row for the head of "
            f"{self.space.num_classes} classes, and it cannot be measured now: {reason}. "
            f"Next: search without --data (latencies are then those of {self.like}) and give the "
            "images to hwnas retrain; or profile the space on the device itself"
        )


def _measured(
    heads: Mapping[OpSpec, OpSpec],
    target: Target,
    log: SampleLog,
    runner: Runner,
    cache: ConversionCache,
) -> dict[OpSpec, Measurement]:
    conversions = {op_id(op): conversion_of((op,), target) for op in heads}
    paths = cache.fill(list(conversions.values()))
    protocol = target.device.protocol
    record_in_rounds(
        runner,
        {name: paths[one] for name, one in conversions.items()},
        range(protocol.rounds),
        protocol,
        log,
        seed=0,
        stage="timing heads",
        flushed=conversions,
    )
    return {op: log.measurement(op_id(op), protocol) for op in heads}


def _with(
    table: LatencyTable,
    found: Mapping[OpSpec, Measurement],
    heads: Mapping[OpSpec, OpSpec],
    like: str,
    name: str,
) -> LatencyTable:
    own = {op: row for op, row in found.items() if heads[op] in table.entries}
    calibration = dict(table.calibration)
    if like in calibration:
        calibration.setdefault(name, calibration[like])
    return replace(table, entries={**table.entries, **own}, calibration=calibration)
