"""The rows of a published latency table: a YAML mapping from operations to numbers, read safely."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

LARGEST = 1e12  # of any number in a row


@dataclass(frozen=True)
class Row:
    """One row of a published table: latency in ms, the mean of ``count`` runs."""

    mean_ms: float
    count: int


def read_rows(text: str, keys: set[str], problems: list[str]) -> Iterator[tuple[str, Row]]:
    """Yield the key and value of each row; ``problems`` gains those of the others.

    ``keys`` are those that a row must hold. The text is parsed without constructing any object.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        problems.append("must be a mapping from operations to their latencies")
        return
    seen: set[str] = set()
    for key, value in root.value:
        place = f"line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            problems.append(f"{place}: a key must be text")
            continue
        if key.value in seen:
            problems.append(f"{place}: a second row of {key.value}")
            continue
        seen.add(key.value)
        # a row whose numbers are wrong still is a row of its operation
        yield key.value, _row(value, keys, f"{place}, {key.value}", problems) or Row(math.nan, 0)


def _row(node: yaml.Node, keys: set[str], place: str, problems: list[str]) -> Row | None:
    wanted = ", ".join(sorted(keys))
    if not isinstance(node, yaml.MappingNode):
        problems.append(f"{place}: must hold {wanted}")
        return None
    found: dict[str, Any] = {}
    before = len(problems)
    for key, value in node.value:
        name = str(key.value)
        if name not in keys:
            problems.append(f"{place}: unknown key {name!r}; a row holds {wanted}")
        elif name in found:
            problems.append(f"{place}: {name} is given twice")
        else:
            found[name] = _number(value)
    problems += [f"{place}: {name} is missing" for name in sorted(keys - set(found))]
    for name, value in found.items():
        rule = {"mean": "a number above 0", "count": "an integer above 0"}.get(
            name, "a number of 0 or more"
        )
        right = (
            value is not None
            and value < LARGEST
            and (value > 0 if name in ("mean", "count") else value >= 0)
        )
        if not right or (name == "count" and not isinstance(value, int)):
            problems.append(f"{place}: {name} must be {rule}, got {_spelt(node, name)}")
    return Row(float(found["mean"]), found["count"]) if len(problems) == before else None


def _number(node: yaml.Node) -> int | float | None:
    """Return a scalar that YAML takes for a number; None otherwise."""
    if not isinstance(node, yaml.ScalarNode):
        return None
    try:
        if node.tag == "tag:yaml.org,2002:int":
            return int(node.value)
        return float(node.value) if node.tag == "tag:yaml.org,2002:float" else None
    except ValueError:  # .nan, .inf, 0x1f: no latency is spelt so
        return None


def _spelt(node: yaml.MappingNode, name: str) -> str:
    value = next(value for key, value in node.value if key.value == name)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else "something else"
