"""The networks a search starts from: known ones, or those of a file (``--seed-archs``).

They are evaluated first, where they keep the limits; messages name what the others break.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.arch import Arch
from hwnas.errors import InputError, UsageError
from hwnas.protocols import Codes, SearchSpace
from hwnas.search.problem.feasible import Feasible
from hwnas.search.problem.limits import Limit
from hwnas.space.archfile import read_archs
from hwnas.space.zoo.archs import known_archs

KNOWN = "known"


@dataclass(frozen=True)
class Start:
    """Codes ``(num_archs, num_choices)`` within the limits, their names, and the others' faults.

    ``refused`` maps the names of the others to what is wrong with each.
    """

    codes: Codes
    names: tuple[str, ...]
    refused: Mapping[str, str]


def seed_archs(space: SearchSpace, given: str) -> dict[str, Arch]:
    """Return the architectures that ``given`` names: ``known``, or the path of an arch list.

    Those of a file are called ``line 1`` and so on.

    Raises:
        UsageError: no network is known of this space.
        InputError: the file cannot be read, or holds lines that are no architecture of the space.
    """
    if given == KNOWN:
        known = known_archs(space)
        if not known:
            raise UsageError(
                f"no published network is known of space {space.name}. Next: give a "
                "file of architectures, as in --seed-archs archs.jsonl"
            )
        return known
    listed = read_archs(Path(given), space)
    if listed.errors:
        raise InputError(
            given, [f"line {row + 1}: {error}" for row, error in sorted(listed.errors.items())]
        )
    archs = space.decode(listed.codes)
    return {f"line {row + 1}": arch for row, arch in zip(listed.rows.tolist(), archs, strict=True)}


def start_from(feasible: Feasible, archs: Mapping[str, Arch], limits: Sequence[Limit]) -> Start:
    """Return which of ``archs`` a search can start from; ``limits`` are those of ``feasible``."""
    codes = feasible.space.encode(list(archs.values()))
    metrics, inside = feasible.metrics(codes), feasible.within(codes)
    keys = [tuple(row) for row in feasible.space.network_keys(codes).tolist()]
    first: dict[tuple[int, ...], str] = {}
    taken, refused = [], {}
    for place, name in enumerate(archs):
        if not inside[place]:
            refused[name] = _broken(metrics[place].tolist(), limits)
        elif keys[place] in first:
            refused[name] = f"builds the same network as {first[keys[place]]}"
        else:
            first[keys[place]] = name
            taken.append(place)
    names = list(archs)
    return Start(codes[taken], tuple(names[place] for place in taken), refused)


def _broken(values: Sequence[float], limits: Sequence[Limit]) -> str:
    missing = [str(limit) for value, limit in zip(values, limits, strict=True) if np.isnan(value)]
    if missing:
        return f"a table has no row for one of its operations, so {missing[0]} is not known to hold"
    over = [
        f"{limit.metric} {value:.4g}, over {limit}"
        for value, limit in zip(values, limits, strict=True)
        if value > limit.maximum
    ]
    return "has " + " and ".join(over)
