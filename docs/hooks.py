"""Reference pages that are generated from the command line, schemas and registries.

mkdocs calls ``on_pre_build`` before it reads the pages. Generated pages are written only where
their content changed, so that ``mkdocs serve`` does not loop.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def on_pre_build(config: Any) -> None:
    """Write the generated reference pages."""
    pages = runpy.run_path(str(HERE / "generate.py"))["pages"]()
    for name, text in pages.items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
