"""From evaluations to answers: the best within each budget, the finalists, the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hwnas.search.pareto import non_dominated

Record = dict[str, Any]


def rank_key(record: Record) -> tuple[float, float, float, str]:
    """Sort best first: higher top-1, then lower loss, then the id, so that ties have one order.

    Networks trained for more epochs (successive halving) come before those trained for fewer.
    """
    objectives = record["objectives"]
    epochs = objectives["epochs"]["value"] if "epochs" in objectives else 0.0
    loss = objectives["loss"]["value"] if "loss" in objectives else 0.0
    return -epochs, -objectives["top1"]["value"], loss, record["network_id"]


def _is_scored(record: Record) -> bool:
    """Return whether the evaluation of a record did not fail."""
    return "top1" in record["objectives"]


def finalists(records: Sequence[Record], count: int) -> list[Record]:
    """Return the best ``count`` of ``records`` with distinct network_id, best first."""
    distinct: dict[str, Record] = {}
    for record in sorted(filter(_is_scored, records), key=rank_key):
        distinct.setdefault(record["network_id"], record)
    return [answer_of(record) for record in list(distinct.values())[:count]]


def answer_of(record: Record) -> Record:
    """Return what result files say of an evaluated architecture."""
    keys = ("arch", "arch_id", "network_id", "latency_ms", "objectives")
    return {key: record[key] for key in keys}


def front(records: Sequence[Record]) -> list[Record]:
    """Return every evaluated network with whether it is on the accuracy-latency front."""
    records = [record for record in records if _is_scored(record)]
    if not records:
        return []
    values = np.array([[r["latency_ms"], -r["objectives"]["top1"]["value"]] for r in records])
    on_front = non_dominated(values)
    points = [
        {
            "arch_id": record["arch_id"],
            "network_id": record["network_id"],
            "latency_ms": record["latency_ms"],
            "top1": record["objectives"]["top1"]["value"],
            "on_front": bool(on),
        }
        for record, on in zip(records, on_front, strict=True)
    ]
    return sorted(points, key=lambda point: (point["latency_ms"], -point["top1"]))


def shadow_price(best: Record, records: Sequence[Record]) -> Record | None:
    """Return what more latency would buy beyond ``best``: the first better network above it.

    Of the front of the evaluated ``records``, the fastest network that is slower and more accurate
    than ``best``, with ``top1_per_ms`` (fraction per ms between the two; the discrete counterpart
    of the budget's Lagrange multiplier) and the ``changes`` that lead to it. None where no
    evaluated network is both.
    """
    value = best["objectives"]["top1"]["value"]
    better = [
        r
        for r in records
        if _is_scored(r)
        and r["latency_ms"] > best["latency_ms"]
        and r["objectives"]["top1"]["value"] > value
    ]
    if not better:
        return None
    found = min(better, key=lambda r: (r["latency_ms"], rank_key(r)))
    gain = found["objectives"]["top1"]["value"] - value
    more_ms = found["latency_ms"] - best["latency_ms"]
    before, after = best["arch"]["choices"], found["arch"]["choices"]
    return {
        **answer_of(found),
        "more_ms": more_ms,
        "more_top1": gain,
        "top1_per_ms": gain / more_ms,
        "changes": [
            {"choice": name, "from": before.get(name), "to": after.get(name)}
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ],
    }


def total_cost(records: Sequence[Record]) -> dict[str, float]:
    """Return the summed cost of evaluations."""
    total: dict[str, float] = {}
    for record in records:
        for name, value in record["cost"].items():
            total[name] = total.get(name, 0.0) + value
    return total
