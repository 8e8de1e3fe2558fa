"""What a profile measures, and how its models are named, converted and described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property

from hwnas.arch import Arch, short_hash
from hwnas.device.runner import Target
from hwnas.device.runtimes import RUNTIMES
from hwnas.export.convert.conversion import Conversion, InitWeights
from hwnas.latency.table.schemas import TableHeader
from hwnas.latency.table.scope import Scope, ops_in_scope
from hwnas.ops import OpSpec
from hwnas.protocols import Runner, SearchSpace, Wiring


@dataclass(frozen=True)
class ProfilePlan:
    """What to measure: the operations of a space on a target, and a number of whole networks.

    Args:
        space: the space.
        target: the device with a runtime, precision, threads and pinning.
        calibrate: number of networks to calibrate on.
        validate: number of networks to validate predictions on.
        seed: of the networks and of the orders of timing.
        scope: options of choices, such as ``{"resolution": 160}``; networks of other options, and
            operations that only these have, are left out.
        most_ops: the largest number of the space's operations that are measured; the others are
            predicted (``op_predictor``). None: all are measured.
        augment_ops: number of operations of other widths that are measured as well, for the
            models of ``op_predictor``.
    """

    space: SearchSpace
    target: Target
    calibrate: int = 0
    validate: int = 0
    seed: int = 0
    scope: Scope = field(default_factory=dict)
    most_ops: int | None = None
    augment_ops: int = 0

    @property
    def is_partial(self) -> bool:
        """Whether some of the space's operations are left to be predicted."""
        return self.most_ops is not None and self.most_ops < len(self.ops)

    @cached_property
    def ops(self) -> list[OpSpec]:
        """The distinct operations of the space within the scope, in order of first use."""
        return ops_in_scope(self.space, self.scope)


def op_id(op: OpSpec) -> str:
    """Return the name of an operation's model in samples files."""
    return f"op-{short_hash(op.key)}"


def network_model_id(space: SearchSpace, arch: Arch) -> str:
    """Return the name of a network's model in samples files."""
    return f"net-{space.network_id(arch)}"


def conversion_of(
    layers: Sequence[OpSpec], target: Target, wiring: Wiring | None = None
) -> Conversion:
    """Return the conversion of a network with its initial weights, as ``target`` needs it."""
    return Conversion.make(
        layers,
        InitWeights(),
        RUNTIMES[target.runtime].format,
        precision=target.precision,
        layout=RUNTIMES[target.runtime].layout,
        wiring=wiring,
    )


def network_conversion(space: SearchSpace, arch: Arch, target: Target) -> Conversion:
    """Return :func:`conversion_of` the network of an architecture."""
    return conversion_of(space.layers(arch), target, space.wiring(arch))


def make_header(plan: ProfilePlan, runner: Runner) -> TableHeader:
    """Return the provenance of a table measured now through ``runner``."""
    target, info = plan.target, runner.info
    host = {key: info[key] for key in ("cpu", "machine", "system", "python", "cpus")}
    return TableHeader(
        device=target.device.name,
        runtime=target.runtime,
        runtime_version=info["runtime_version"],
        precision=target.precision,
        threads=target.threads,
        affinity=target.affinity,
        layout=RUNTIMES[target.runtime].layout,
        protocol=target.device.protocol,
        host=host,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seed=plan.seed,
        scope=dict(plan.scope),
    )
