"""A space in numbers and an example, for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.additive.graph import Term, build_graph
from hwnas.additive.grid import num_codes
from hwnas.additive.optimum import cheapest, dearest
from hwnas.ops import OpSpec
from hwnas.protocols import SearchSpace
from hwnas.space.catalogue import load_space
from hwnas.space.codes import distinct_ops, symbol_counts

SIZES = Path(__file__).with_name("sizes.json")
"""The sizes of the spaces that come with hwnas, which take seconds to work out."""


def sizes_of(name: str) -> dict[str, Any]:
    """Return a space's sizes as :func:`describe` does, without choices and example.

    Those of the spaces that come with hwnas are read from ``SIZES``, which a test compares.
    """
    known: dict[str, dict[str, Any]] = json.loads(SIZES.read_text(encoding="utf-8"))
    return known[name] if name in known else _sizes(describe(name))


def _sizes(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in ("choices", "example")}


def write_sizes(names: Iterable[str]) -> None:
    """Write ``SIZES`` anew, for these spaces."""
    found = {name: _sizes(describe(name)) for name in names}
    lines = [f"{json.dumps(name)}: {json.dumps(sizes)}" for name, sizes in found.items()]
    SIZES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def describe(name: str) -> dict[str, Any]:
    """Return a space's sizes, choices, and its first architecture as an example.

    ``macs`` and ``params`` are the smallest and largest over all networks, exact.
    """
    space = load_space(name)
    macs = _additive(space, "macs")
    params = _additive(space, "params")
    graph = build_graph(symbol_counts(space), [macs, params])
    first = space.decode(space.repair(np.zeros((1, len(space.choices)), dtype=np.int16)))[0]

    def extent(function: int) -> list[int]:
        ends = cheapest(graph, function), dearest(graph, function)
        return [round(graph.functions[function].value(end.score)) for end in ends if end]

    return {
        "name": space.name,
        "input_shape": list(space.input_shape),
        "num_classes": space.num_classes,
        "num_choices": len(space.choices),
        "num_codes": num_codes(graph),
        "num_ops": len(distinct_ops(space)),
        "macs": extent(0),
        "params": extent(1),
        "choices": {choice.name: list(choice.options) for choice in space.choices},
        "example": first.to_json(),
    }


def _additive(space: SearchSpace, metric: str) -> list[Term]:
    def value(op: OpSpec | None) -> float:
        return 0.0 if op is None else float(getattr(op, metric))

    return [Term(f.choices, f.values(value)) for f in space.factors()]
