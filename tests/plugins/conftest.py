"""Plugins for one test; the tree's ``forget_plugins`` forgets what it loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hwnas.plugins import loading

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"


@pytest.fixture
def load() -> Callable[[str | Path], loading.Origin]:
    """Loads a plugin file, or one of ``examples/plugins`` by its name."""

    def load(plugin: str | Path) -> loading.Origin:
        return loading.load_plugin(EXAMPLES / plugin if isinstance(plugin, str) else plugin)

    return load
