"""The suites also run over plugins: ``HWNAS_TEST_PLUGINS=a.py:b.py pytest tests/conformance``."""

from __future__ import annotations

import os

from hwnas.plugins import load_plugin

for path in filter(None, os.environ.get("HWNAS_TEST_PLUGINS", "").split(os.pathsep)):
    load_plugin(path)  # before the suites list what is registered
