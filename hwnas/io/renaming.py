"""Old names in files: read for one more version, with a warning that names the new one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)


def rename_key(content: dict[str, Any], old: str, new: str, what: str) -> dict[str, Any]:
    """Return ``content`` with the key at ``old`` called ``new``, and log a warning if it was there.

    ``old`` is dotted and leads through objects and the items of lists. A key of the new name wins.
    ``what`` names the file in the warning. ``content`` itself is not changed.
    """
    renamed: dict[str, Any] = _renamed(content, old.split("."), new)
    if renamed is not content:
        warn_of_old_name(what, f"the key {old}", new)
    return renamed


def warn_of_old_name(what: str, old: str, new: str) -> None:
    """Log that ``what`` holds an old name, and which name takes its place."""
    logger.warning(
        "%s: %s is called %s now; the old name is read for one more version", what, old, new
    )


def _renamed(value: Any, path: Sequence[str], new: str) -> Any:
    """Return ``value`` itself where nothing is renamed in it, else a copy."""
    if isinstance(value, list):
        items = [_renamed(item, path, new) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    first, *rest = path
    if not isinstance(value, dict) or first not in value:
        return value
    if rest:
        inner = _renamed(value[first], rest, new)
        return value if inner is value[first] else {**value, first: inner}
    if new in value:
        return value
    return {new if key == first else key: item for key, item in value.items()}
