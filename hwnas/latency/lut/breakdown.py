"""Where the time of a space's networks goes: by operation, kind, feature-map size and option.

The networks are drawn at random (or given); an operation's time is its row, with the space's
calibration where the table has one. ``gmacs_per_s`` beside a share says which parts are slow for
the work they do: a part whose share of the time is above its share of the MACs has ``cost`` above
1, and an option with a high cost is one that a search under this table avoids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hwnas.arch import Arch
from hwnas.errors import InputError, MissingRowError
from hwnas.latency.lut.calibration import row_value
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.rng import stream

NUM_NETWORKS = 200
TRIES = 20


@dataclass(frozen=True)
class Part:
    """A part of the networks' time: ms and MACs of a mean network, shares of its whole.

    ``cumulative`` is the share of this part and all before it; ``cost`` the share of the time over
    the share of the MACs (None where the part has no MACs).
    """

    name: str
    mean_ms: float
    share: float
    cumulative: float
    mean_macs: float
    gmacs_per_s: float
    cost: float | None


@dataclass(frozen=True)
class Breakdown:
    """Where ``num_networks`` networks spend ``mean_ms`` each; every list by falling time."""

    space: str
    num_networks: int
    mean_ms: float
    rows: tuple[Part, ...]
    kinds: tuple[Part, ...]
    sizes: tuple[Part, ...]
    options: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object ``hwnas lut show --hot --json`` holds under ``hot``."""
        return asdict(self)


def breakdown(
    space: SearchSpace, tables: LatencyTable, archs: Sequence[Arch] | None = None
) -> Breakdown:
    """Return where these networks spend their time; without any, random ones of the space.

    Raises:
        MissingRowError: a given network has an operation without a row.
        InputError: none of the random networks is covered by the table.
    """
    found = list(archs) if archs is not None else _random(space, tables)
    if not found:
        raise InputError(
            f"table of {tables.header.device}",
            [f"covers none of {NUM_NETWORKS} random networks of {space.name}"],
            "name a space whose rows it has with --space, or one network with --arch",
        )
    groups: dict[str, dict[str, list[float]]] = {
        name: defaultdict(lambda: [0.0, 0.0]) for name in ("rows", "kinds", "sizes", "options")
    }
    codes = space.encode(found)
    single = [factor for factor in space.factors() if len(factor.choices) == 1]
    for arch, code in zip(found, codes, strict=True):
        table = _table_of(tables, arch)
        time_ms = _timer(table, space)
        for op in space.layers(arch):
            ms = time_ms(op)
            size = "x".join(map(str, op.in_shape[1:]))
            for group, name in (("rows", str(op)), ("kinds", op.kind), ("sizes", f"at {size}")):
                _add(groups[group][name], ms, op.macs)
        for factor in single:
            op = factor.ops[code[factor.choices[0]]]
            option = arch.choices.get(space.choices[factor.choices[0]].name)
            if op is not None and option is not None:
                _add(groups["options"][str(option)], time_ms(op), op.macs)
    total_ms = sum(ms for ms, _ in groups["rows"].values())
    total_macs = sum(macs for _, macs in groups["rows"].values())
    listed = {
        name: _parts(group, total_ms, total_macs, len(found)) for name, group in groups.items()
    }
    return Breakdown(space.name, len(found), total_ms / len(found), **listed)


def _add(sums: list[float], ms: float, macs: float) -> None:
    sums[0] += ms
    sums[1] += macs


def _parts(
    group: Mapping[str, Sequence[float]], total_ms: float, total_macs: float, count: int
) -> tuple[Part, ...]:
    found, cumulative = [], 0.0
    for name, (ms, macs) in sorted(group.items(), key=lambda item: (-item[1][0], item[0])):
        share = ms / total_ms
        cumulative += share
        found.append(
            Part(
                name,
                ms / count,
                share,
                cumulative,
                macs / count,
                macs / ms / 1e6 if ms > 0 else 0.0,
                share / (macs / total_macs) if macs else None,
            )
        )
    return tuple(found)


def _random(space: SearchSpace, tables: LatencyTable) -> list[Arch]:
    """Return up to NUM_NETWORKS random networks of which all operations have rows."""
    sizes = [len(choice.options) for choice in space.choices]
    random = stream(0, "hot networks")
    found: list[Arch] = []
    for _ in range(TRIES):
        drawn = random.integers(sizes, size=(NUM_NETWORKS, len(sizes))).astype(np.int16)
        for arch in space.decode(space.repair(drawn)):
            if len(found) < NUM_NETWORKS and _is_covered(space, tables, arch):
                found.append(arch)
        if len(found) == NUM_NETWORKS:
            break
    return found


def _is_covered(space: SearchSpace, tables: LatencyTable, arch: Arch) -> bool:
    try:
        table = _table_of(tables, arch)
    except MissingRowError:
        return False
    return all(op in table.entries for op in space.layers(arch))


def _table_of(tables: LatencyTable, arch: Arch) -> LatencyTable:
    table = tables.of(arch.choices)
    if table is None:
        raise MissingRowError(
            f"no table of {tables.header.device} is of this network's scope; "
            f"there are {len(tables.scopes)}"
        )
    return table


def _timer(table: LatencyTable, space: SearchSpace) -> Callable[[OpSpec], float]:
    value = row_value(table, table.calibration.get(space.name))

    def time_ms(op: OpSpec) -> float:
        table.row_ms(op)  # says what is missing
        return value(op)

    return time_ms
