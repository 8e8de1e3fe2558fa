"""Broken and hostile files made of valid ones: what a reader must survive.

A reader gives a value or a HwnasError, whatever the bytes are. ``survives(read, valid)`` tries
about fifty files: bytes at random, the valid file cut off, with bytes changed, and, if it is JSON
(of one document, or of a document a line), with a value somewhere replaced, removed or doubled.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwnas.errors import HwnasError

NUM_EXAMPLES = 50


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


HOSTILE = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        2**31,
        2**63,
        -(2**70),
        10**300,
        0.5,
        -0.0,
        3.0,
        1e-320,
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
        "",
        "x",
        "1",
        "nan",
        "../../escape",
        "/etc/passwd",
        "\x00",
        "\ud800",
        "é\u202e" * 50,
        "a" * 100_000,
        "!!python/object:os.system",
        "~",
        "${HOME}",
        [],
        [None],
        {},
        {"": None},
        {"a": {"b": [1]}},
        nested(70),
        [1] * 1000,
        "0-99999999999",
        "*.json",
        {"schema": 1},
        {"latency_ms": 1e-3},
        [[]],
        [{}],
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value within ``value``, its own first."""
    found = [path]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        found += places(item, (*path, key))
    return found


@st.composite
def changed(draw: Any, document: Any) -> Any:
    """Draw ``document`` with one to three values replaced, removed, doubled or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(document)))
        hostile = copy.deepcopy(draw(HOSTILE))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return hostile
            continue
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "double"]))
        if action == "remove":
            del parent[path[-1]]
        elif action == "add" and isinstance(parent, dict):
            parent[draw(st.sampled_from(["", "x", "schema", "op", "../x", "__class__"]))] = hostile
        elif action == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]))
        else:
            parent[path[-1]] = hostile
    return document


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@st.composite
def broken(draw: Any, valid: bytes) -> bytes:
    """Draw bytes that are no file, or a valid file with a few bytes changed or its end missing."""
    kind = draw(st.sampled_from(["any", "cut", "bytes", "insert"]))
    if kind == "any" or not valid:
        return draw(st.binary(max_size=200))
    place = draw(st.integers(0, len(valid) - 1))
    if kind == "cut":
        return valid[:place]
    few = draw(
        st.sampled_from(
            [
                b"\xff",
                b"\x00",
                b"[" * 3000,
                b"{" * 3000,
                b"9" * 5000,
                b"NaN",
                b"-",
                b'"',
                b"&a [*a]",
                b"\n",
                b"1e999",
                b"\xed\xa0\x80",
                b"? [a]",
            ]
        )
    )
    return valid[:place] + few + valid[place + (len(few) if kind == "bytes" else 0) :]


def files(valid: bytes, *, lines: bool = False, is_json: bool = True) -> st.SearchStrategy[bytes]:
    """Return the strategy of files like ``valid`` that may be wrong anywhere."""
    if not is_json:
        return broken(valid)
    if lines:
        documents = [json.loads(line) for line in valid.splitlines()]
        return st.one_of(
            broken(valid),
            changed(documents).map(
                lambda found: (
                    b"\n".join(map(as_json, found)) + b"\n"
                    if isinstance(found, list)
                    else as_json(found)
                )
            ),
        )
    return st.one_of(broken(valid), *[changed(json.loads(valid)).map(as_json)] * 3)


def survives(
    read: Callable[[bytes], Any],
    valid: bytes,
    *,
    lines: bool = False,
    is_json: bool = True,
    examples: int = NUM_EXAMPLES,
) -> None:
    """Check that ``read`` takes ``valid``, and gives a value or a HwnasError for what is like it.

    ``read`` writes the bytes where it wants them, reads them and uses the value.
    """
    read(valid)

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(files(valid, lines=lines, is_json=is_json))
    def run(payload: bytes) -> None:
        try:
            read(payload)
        except HwnasError:
            return

    run()
