"""Files of whole networks timed on devices: ``{"arch": {...}, "latency_ms": 3.1}``, one a line.

The new device's file may name its ``device``; files of source devices name it in every line, and
one file can hold several devices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from hwnas.errors import InputError
from hwnas.io.suggest import command
from hwnas.latency.few_shot.feature_space import Measured
from hwnas.latency.few_shot.process import MAX_NETWORKS, MIN_NETWORKS
from hwnas.protocols import SearchSpace
from hwnas.space.archfile import arch_ids, parse_archs

NEW_DEVICE = "the new device"
KEYS = ("arch", "latency_ms", "device")
LINE = '{"arch": {...}, "latency_ms": 3.1}'


def read_measured(path: Path, space: SearchSpace, *, least: int = MIN_NETWORKS) -> Measured:
    """Read the networks timed on one new device.

    Raises:
        InputError: lists every bad line, networks timed twice with different results, several
            devices, or fewer than ``least`` or more than MAX_NETWORKS networks.
    """
    found, problems = _read(path, space, device_needed=False)
    if len(found) > 1:
        problems.append(f"holds several devices: {', '.join(sorted(found))}; one is expected")
    for one in found.values():
        if not least <= len(one.latency_ms) <= MAX_NETWORKS:
            problems.append(
                f"{least} to {MAX_NETWORKS} networks are needed, got {len(one.latency_ms)}"
            )
    if not found and not problems:
        problems.append(f"{least} to {MAX_NETWORKS} networks are needed, got 0")
    if problems:
        raise InputError(
            str(path),
            problems,
            f"a line is like {LINE}; "
            + command("predict", space=space.name, archs="ARCHS", suggest=10)
            + " says which networks to time",
        )
    return next(iter(found.values()))


def read_sources(paths: Sequence[Path], space: SearchSpace) -> dict[str, Measured]:
    """Read the networks timed on other devices, by device.

    Raises:
        InputError: lists every bad line of every file, a device that is in two files, and a device
            with fewer than MIN_NETWORKS networks.
    """
    sources: dict[str, Measured] = {}
    problems: list[str] = []
    for path in paths:
        found, wrong = _read(path, space, device_needed=True)
        problems += [f"{path}: {problem}" for problem in wrong]
        for device, one in found.items():
            if device in sources:
                problems.append(f"{path}: device {device!r} is in an earlier file, too")
            elif len(one.latency_ms) < MIN_NETWORKS:
                problems.append(
                    f"{path}: device {device!r} has {len(one.latency_ms)} networks; "
                    f"at least {MIN_NETWORKS} are needed"
                )
            sources[device] = one
        if not found and not wrong:
            problems.append(f"{path}: holds no line")
    if problems:
        raise InputError(
            "source devices",
            problems,
            'a line is like {"arch": {...}, "latency_ms": 3.1, "device": "pixel3"}',
        )
    return sources


def _read(
    path: Path, space: SearchSpace, *, device_needed: bool
) -> tuple[dict[str, Measured], list[str]]:
    """Return the good lines by device, and what is wrong with the others."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(str(path), [f"cannot be read: {error.strerror}"]) from error
    problems: dict[int, str] = {}
    good: list[tuple[int, bytes, float, str]] = []
    for number, line in enumerate(lines):
        value = _checked(line, device_needed=device_needed)
        if isinstance(value, str):
            problems[number] = value
        else:
            good.append(
                (
                    number,
                    orjson.dumps(value["arch"]),
                    float(value["latency_ms"]),
                    value.get("device", NEW_DEVICE),
                )
            )
    archs = parse_archs([arch for _, arch, _, _ in good], space)
    for place, problem in archs.errors.items():
        problems[good[place][0]] = f"arch: {problem}"
    seen: dict[tuple[str, str], tuple[int, float]] = {}
    rows: dict[str, list[int]] = {}
    for row, (place, arch_id) in enumerate(
        zip(archs.rows.tolist(), arch_ids(space, archs.codes), strict=True)
    ):
        number, _, latency_ms, device = good[place]
        first, before = seen.setdefault((device, arch_id), (number, latency_ms))
        if before != latency_ms:
            problems[number] = (
                f"arch {arch_id} has {latency_ms} ms here and {before} ms in line "
                f"{first + 1}; give one value, such as their median"
            )
        elif first == number:
            rows.setdefault(device, []).append(row)
    latencies = np.array([good[place][2] for place in archs.rows.tolist()])
    found = {
        device: Measured(device, archs.codes[chosen], latencies[chosen])
        for device, chosen in rows.items()
    }
    return found, [f"line {number + 1}: {problems[number]}" for number in sorted(problems)]


def _checked(line: bytes, *, device_needed: bool) -> dict[str, Any] | str:
    """Return the object of a line, or what is wrong with it but for the architecture."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    if not isinstance(value, dict) or not {"arch", "latency_ms"} <= set(value) <= set(KEYS):
        keys = sorted(value) if isinstance(value, dict) else type(value).__name__
        return f"keys are arch, latency_ms and device, got {keys}"
    latency_ms = value["latency_ms"]
    if type(latency_ms) not in (int, float) or not math.isfinite(latency_ms) or latency_ms <= 0:
        return f"latency_ms must be a positive number, got {latency_ms!r}"
    device = value.get("device", NEW_DEVICE)
    if not isinstance(device, str) or not device or (device_needed and "device" not in value):
        return f"device must name the device it was timed on, got {value.get('device')!r}"
    return value
