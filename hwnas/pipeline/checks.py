"""Checks of a target and of torch before any work begins."""

from __future__ import annotations

from pathlib import Path

from hwnas.device.device import load_device
from hwnas.device.runner import make_target, open_runner
from hwnas.errors import InputError, UsageError
from hwnas.latency.table.files import load_table
from hwnas.latency.table.names import resolved
from hwnas.latency.table.units import require_plausible
from hwnas.pipeline.config.run import TargetConfig


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
    if not resolved(Path(target.table)).exists():
        raise InputError(
            f"table {target.table}",
            ["there is no such file, and no table that comes with hwnas has this name"],
            "hwnas profile writes tables, hwnas lut list prints those that come with hwnas",
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
    if name == "cpu":
        return  # every torch has it
    import torch

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
