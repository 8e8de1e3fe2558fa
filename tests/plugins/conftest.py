"""Plugins for one test: what it loads is forgotten afterwards, so that no other test sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwnas.plugins import REGISTRIES, loading
from hwnas.plugins.registry import load_object

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"


@pytest.fixture
def load() -> Iterator[Callable[[str | Path], loading.Origin]]:
    """Loads a plugin file, or one of ``examples/plugins`` by its name."""
    before = dict(loading._STATE.files)

    def load(plugin: str | Path) -> loading.Origin:
        return loading.load_plugin(EXAMPLES / plugin if isinstance(plugin, str) else plugin)

    yield load
    for registry in map(load_object, REGISTRIES.values()):
        for name, origin in list(registry._origins.items()):
            if origin is not None and Path(origin.place) not in before:
                del registry._entries[name], registry._origins[name]
    loading._STATE.files = before
