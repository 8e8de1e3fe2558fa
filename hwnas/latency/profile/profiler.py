"""Profile a device: from a space and a target to a calibrated, validated latency table.

The order of work is chosen so that nothing is converted while anything is timed. The operations
are converted, with the networks to calibrate on and the sentinels, which are spread over the range
of MACs: the same ones every time, so that a second profile finds them in the cache. Where networks
to validate on are asked for, a pilot round ranks the operations roughly; half of the networks are
spread over the range of latencies that it predicts, half are what searches would find. Then
operations and networks are visited together in interleaved rounds. Operations are converted by the
code that exports networks, from one cache.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hwnas.additive.graph import Term
from hwnas.arch import Arch
from hwnas.device.measurement import Measurement
from hwnas.device.rounds import SampleLog, record_in_rounds, replicas_of
from hwnas.device.runner import open_runner
from hwnas.errors import InputError, UsageError
from hwnas.export.convert.cache import ConversionCache
from hwnas.export.convert.conversion import Conversion
from hwnas.io.lock import hold, writes
from hwnas.io.progress import report
from hwnas.latency.lut.accuracy import Floats, validation_report
from hwnas.latency.lut.calibration import fit_calibration, predicted_ms
from hwnas.latency.lut.op_groups import terms_of
from hwnas.latency.op_predictor.predictor import fit_op_model
from hwnas.latency.op_predictor.rows import complete
from hwnas.latency.op_predictor.selection import perturbed_widths, spread_ops, worst_ops
from hwnas.latency.profile.networks import (
    calibration_networks,
    macs_terms,
    spread_networks,
    winner_networks,
)
from hwnas.latency.profile.plan import (
    ProfilePlan,
    conversion_of,
    make_header,
    network_conversion,
    network_model_id,
    op_id,
)
from hwnas.latency.table.files import load_table, save_table
from hwnas.latency.table.schemas import MeasurementSchema, NetworkRecord, TableHeader
from hwnas.latency.table.scope import scope_terms
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import Runner

PILOT_ROUND = -1
CHOICE_ROUNDS = (-4, -3, -2)
PERTURBED_DRAWN = 20  # candidates for each like that is measured
NUM_ANCHORS = 5
CALIBRATING_REPLICAS = 4  # on so few networks hang the calibration and later the drift
VALIDATING = ("validate", "winner")


@writes
def profile(
    plan: ProfilePlan,
    out: Path,
    *,
    resume: bool = False,
    cache: ConversionCache | None = None,
) -> LatencyTable:
    """Measure ``plan`` and write the table to ``out``, raw visits to ``out + .samples.jsonl``.

    With ``resume`` what is on record is kept and only what is missing is measured; an existing
    table gains the rows of this space.

    Raises:
        UsageError: ``out`` exists and ``resume`` was not asked for, or another process writes it.
        InputError: what is on record is of another target, protocol or seed.
        DeviceError: the target failed; the visits so far are kept.
        StorageError: a file could not be written; the visits so far are kept.
    """
    samples = Path(f"{out}.samples.jsonl")
    if not resume and (out.exists() or samples.exists()):
        raise UsageError(
            f"{out if out.exists() else samples} exists. Next: add --resume to "
            "continue it, or choose another --out"
        )
    hold(out)
    earlier = load_table(out) if out.exists() else None
    with open_runner(plan.target) as runner:
        header = make_header(plan, runner)
        if earlier is not None:
            _require_same_target(header, earlier, out)
        log = SampleLog(samples, header.target())
        try:
            session = _Session(plan, runner, log, cache or ConversionCache())
            table = session.measure(header, earlier)
        finally:
            log.close()
    save_table(table, out)
    return table


def _require_same_target(header: TableHeader, earlier: LatencyTable, out: Path) -> None:
    problems = [f"{difference} in the table" for difference in header.differences(earlier.header)]
    if problems:
        raise InputError(
            str(out),
            problems,
            "its rows do not belong together with new ones: "
            "choose another --out, or restore what differs",
        )


@dataclass(frozen=True)
class Role:
    """A whole network with what it is measured for."""

    arch: Arch
    name: Literal["sentinel", "calibrate", "validate", "winner"]
    is_sentinel: bool


@dataclass(frozen=True)
class _Session:
    plan: ProfilePlan
    runner: Runner
    log: SampleLog
    cache: ConversionCache

    def measure(self, header: TableHeader, earlier: LatencyTable | None) -> LatencyTable:
        """Convert, visit and summarise everything of the plan."""
        plan, protocol = self.plan, self.plan.target.device.protocol
        ops = {op_id(op): op for op in self._chosen(earlier)}
        roles = self._calibrating(earlier)
        known = {network_model_id(plan.space, role.arch): role.arch for role in roles}
        paths = self._convert(
            {
                **{name: conversion_of((op,), plan.target) for name, op in ops.items()},
                **{
                    name: network_conversion(plan.space, arch, plan.target)
                    for name, arch in known.items()
                },
            }
        )
        if plan.validate:
            self._visit({name: paths[name] for name in ops}, [PILOT_ROUND], "pilot round", ops)
            validating = self._validating(ops, [role.arch for role in roles])
        else:
            taken = {role.arch for role in roles}
            validating = [
                role
                for role in self._earlier_roles(earlier)
                if role.name in VALIDATING and role.arch not in taken
            ]
        roles += validating
        paths |= self._convert(
            {
                network_model_id(plan.space, role.arch): network_conversion(
                    plan.space, role.arch, plan.target
                )
                for role in validating
            }
        )
        self._visit(
            paths,
            range(protocol.rounds),
            "timing",
            ops,
            {network_model_id(plan.space, role.arch): self._replicas(role) for role in roles},
        )
        entries = dict(earlier.entries) if earlier else {}
        entries |= {op: self.log.measurement(name, protocol) for name, op in ops.items()}
        others = tuple(n for n in earlier.networks if n.space != plan.space.name) if earlier else ()
        table = LatencyTable(
            header=header,
            entries=entries,
            calibration=dict(earlier.calibration) if earlier else {},
            validation=dict(earlier.validation) if earlier else {},
            networks=others + tuple(self._record(role) for role in roles),
        )
        return self._with_calibration(table, roles)

    def _chosen(self, earlier: LatencyTable | None) -> list[OpSpec]:
        """Return the operations to measure: all or some of the space's, and perturbed widths.

        Half lie far from each other, half are where models of CHOICE_ROUNDS err most. Rows of the
        table that is resumed count as chosen. Rounds on record make the choice the same again.
        """
        plan = self.plan
        if not plan.is_partial and not plan.augment_ops:
            return plan.ops
        base = [] if plan.is_partial else plan.ops
        candidates = (
            plan.ops
            if plan.is_partial
            else perturbed_widths(plan.ops, PERTURBED_DRAWN * plan.augment_ops, seed=plan.seed)
        )
        count = plan.most_ops if plan.is_partial and plan.most_ops is not None else plan.augment_ops
        known = earlier.entries if earlier else {}
        have = [op for op in candidates if op in known]
        left = [op for op in candidates if op not in known]
        if len(have) >= count:
            return [*base, *have]
        try:
            first = [] if have else spread_ops(left, count // 2)
        except ValueError as error:
            raise UsageError(
                f"{error}. Next: raise --ops or --augment-ops to twice that"
            ) from error
        brief = {op_id(op): op for op in [*base, *have, *first]}
        paths = self._convert(
            {name: conversion_of((op,), plan.target) for name, op in brief.items()}
        )
        self._visit(paths, CHOICE_ROUNDS, "choosing operations", brief)
        rows = {op: self._brief_ms(name) for name, op in brief.items()}
        left = [op for op in left if op not in set(first)]
        worst = worst_ops(left, count - len(have) - len(first), fit_op_model(rows))
        return [*base, *have, *first, *worst]

    def _brief_ms(self, name: str) -> float:
        runs = self.log.rounds(name)
        return float(np.median([np.median(runs[number]) for number in CHOICE_ROUNDS]))

    def _convert(self, wanted: Mapping[str, Conversion]) -> dict[str, Path]:
        done = 0

        def count(_: Conversion) -> None:
            nonlocal done
            done += 1
            report("converting", done, len(wanted))

        paths = self.cache.fill(list(wanted.values()), on_done=count)
        return {name: paths[conversion] for name, conversion in wanted.items()}

    def _visit(
        self,
        paths: Mapping[str, Path],
        rounds: Sequence[int],
        stage: str,
        ops: Collection[str],
        replicas: Mapping[str, int] | None = None,
    ) -> None:
        record_in_rounds(
            self.runner,
            paths,
            rounds,
            self.plan.target.device.protocol,
            self.log,
            seed=self.plan.seed,
            stage=stage,
            replicas=replicas,
            flushed=ops,
        )

    def _earlier_roles(self, earlier: LatencyTable | None) -> list[Role]:
        """Return this space's networks in the table that is resumed, as what they were measured."""
        if earlier is None:
            return []
        name = self.plan.space.name
        return [
            Role(Arch.make(n.arch["space"], n.arch["choices"]), n.role, n.is_sentinel)
            for n in earlier.networks
            if n.space == name
        ]

    def _calibrating(self, earlier: LatencyTable | None) -> list[Role]:
        """Return the networks to calibrate on and the sentinels, over the whole range of MACs.

        Those of the table that is resumed stay where no calibration is asked for anew.
        """
        kept = [role for role in self._earlier_roles(earlier) if role.name not in VALIDATING]
        if kept and not self.plan.calibrate:
            return kept
        terms, count = macs_terms(self.plan.space), self.plan.calibrate
        calibrating = (
            calibration_networks(self.plan.space, self._within(terms), count, seed=self.plan.seed)
            if count
            else []
        )
        if len(calibrating) >= NUM_ANCHORS:
            places = np.linspace(0, len(calibrating) - 1, NUM_ANCHORS).round().astype(int)
            return [
                Role(arch, "calibrate", place in places) for place, arch in enumerate(calibrating)
            ]
        sentinels = self._spread(terms, NUM_ANCHORS, "sentinel", calibrating)
        return [Role(arch, "calibrate", False) for arch in calibrating] + [
            Role(arch, "sentinel", True) for arch in sentinels
        ]

    def _validating(self, ops: Mapping[str, OpSpec], known: Sequence[Arch]) -> list[Role]:
        """Return networks to validate on, by the latencies that the pilot round predicts.

        Half are spread over the whole range; half are what searches would find (winners).
        """
        pilot = {
            op: float(np.median(self.log.rounds(name)[PILOT_ROUND])) for name, op in ops.items()
        }
        if self.plan.is_partial:
            pilot |= fit_op_model(pilot).predict_ms([op for op in self.plan.ops if op not in pilot])
        terms = terms_of(self.plan.space.factors(), lambda op: pilot.get(op, 0.0))
        num_winners = self.plan.validate // 2
        uniform = self._spread(terms, self.plan.validate - num_winners, "validate", known)
        winners = winner_networks(
            self.plan.space,
            self._within(terms),
            num_winners,
            seed=self.plan.seed,
            purpose="validate",
            avoid=[*known, *uniform],
        )
        return [Role(arch, "validate", False) for arch in uniform] + [
            Role(arch, "winner", False) for arch in winners
        ]

    def _within(self, terms: Sequence[Term]) -> list[Term]:
        """Return the terms with those that keep networks in the plan's scope."""
        return [*terms, *scope_terms(self.plan.space, self.plan.scope)]

    def _spread(
        self, terms: Sequence[Term], count: int, purpose: str, avoid: Sequence[Arch] = ()
    ) -> list[Arch]:
        return spread_networks(
            self.plan.space,
            self._within(terms),
            count,
            seed=self.plan.seed,
            purpose=purpose,
            avoid=avoid,
        )

    def _measured(self, role: Role) -> Measurement:
        return self.log.measurement(
            network_model_id(self.plan.space, role.arch),
            self.plan.target.device.protocol,
            self._replicas(role),
        )

    def _replicas(self, role: Role) -> int:
        """Return how many copies of a network are timed; no more where one of it is on record."""
        name = network_model_id(self.plan.space, role.arch)
        rounds = range(self.plan.target.device.protocol.rounds)
        others = replicas_of(name, CALIBRATING_REPLICAS)[1:]
        before = all(self.log.has(name, number) for number in rounds) and not any(
            self.log.rounds(other) for other in others
        )
        return 1 if before or role.name in VALIDATING else CALIBRATING_REPLICAS

    def _record(self, role: Role) -> NetworkRecord:
        return NetworkRecord(
            space=self.plan.space.name,
            role=role.name,
            is_sentinel=role.is_sentinel,
            arch=role.arch.to_json(),
            measurement=MeasurementSchema(**self._measured(role).to_json()),
        )

    def _with_calibration(self, table: LatencyTable, roles: Sequence[Role]) -> LatencyTable:
        """Return ``table`` with this space's calibration and validation blocks."""
        space = self.plan.space
        whole = complete(table, self.plan.ops).table if self.plan.is_partial else table

        def measured(*names: str) -> tuple[list[Arch], Floats, Floats]:
            of = [role for role in roles if role.name in names]
            found = [self._measured(role) for role in of]
            return (
                [role.arch for role in of],
                np.array([m.latency_ms for m in found]),
                np.array([m.repeatability for m in found]),
            )

        calibration, validation = dict(table.calibration), dict(table.validation)
        archs, times_ms, _ = measured("calibrate")
        fitted = None
        calibrated_on = None
        if archs:
            fitted = fit_calibration(space, whole, archs, times_ms)
            calibration[space.name] = fitted
            calibrated_on = (archs, times_ms)
        archs, times_ms, repeatability = measured(*VALIDATING)
        if archs:
            winners = {role.arch for role in roles if role.name == "winner"}
            validation[space.name] = validation_report(
                space,
                archs,
                predicted_ms(space, whole, fitted, archs),
                times_ms,
                repeatability,
                calibrated_on,
                [arch in winners for arch in archs],
            )
        return LatencyTable(table.header, table.entries, calibration, validation, table.networks)
