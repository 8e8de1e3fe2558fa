"""Targets, and the runners that time models on them."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.device.device import Device, RuntimeSettings, cpu_list
from hwnas.device.runtimes import RUNTIMES
from hwnas.device.transports import TRANSPORTS
from hwnas.errors import UsageError
from hwnas.export.formats import Precision, precision_of
from hwnas.plugins.registry import resolved
from hwnas.protocols import Runner


@dataclass(frozen=True)
class Target:
    """What will be measured: a device with one runtime, thread count and pinning."""

    device: Device
    runtime: str
    precision: Precision
    threads: int
    affinity: str | None

    @property
    def label(self) -> str:
        """File-name form: ``litert-fp32-t1`` or ``litert-fp32-t1-4_7``."""
        pinned = f"-{self.affinity.replace(',', '_')}" if self.affinity else ""
        return f"{self.runtime}-{self.precision}-t{self.threads}{pinned}"


def make_target(
    device: Device,
    runtime: str,
    precision: str = "fp32",
    threads: int | None = None,
    affinity: str | None = None,
) -> Target:
    """Return the target, ``threads`` and ``affinity`` from the device file unless given.

    Raises:
        UsageError: the device file does not list the runtime, the precision is not supported, or
            ``affinity`` is no list of CPUs.
    """
    settings = device.runtimes.get(runtime)
    if settings is None and runtime in RUNTIMES and RUNTIMES[runtime].agent is not None:
        settings = RuntimeSettings()  # a plugin's runtime runs where its file does
    if settings is None:
        raise UsageError(
            f"device {device.name} has no runtime {runtime!r}; it has "
            f"{', '.join(device.runtimes)}. Next: choose one, or add it to the device file"
        )
    checked = precision_of(precision)
    try:
        pinned = settings.affinity if affinity is None else cpu_list(affinity)
    except ValueError as error:
        raise UsageError(f"affinity {error}, got {affinity!r}") from None
    return Target(device, runtime, checked, threads or settings.threads, pinned)


def open_runner(target: Target) -> Runner:
    """Return a runner on ``target``'s device.

    Raises:
        UsageError: the device's transport is not there yet; names those that are.
        DeviceError: the device does not answer.
    """
    opener = TRANSPORTS[target.device.transport].open
    if opener is None:
        known = ", ".join(name for name, kind in TRANSPORTS.items() if kind.open is not None)
        raise UsageError(
            f"device {target.device.name} is reached by {target.device.transport}, which this "
            f"version cannot do; it measures devices with transport: {known}",
            next_step="run hwnas on the device itself (--device host), or use a table measured "
            "there",
        )
    runner: Runner = resolved(opener)(target)
    return runner
