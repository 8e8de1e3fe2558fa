"""Which plugins a run was begun with: recorded in its folder, required when it is opened again.

A run folder may come from others, so it never makes hwnas run a file: whoever opens the run names
the plugin again, and its content must be what the run was begun with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hwnas.errors import InputError
from hwnas.io.journal import read_json, write_json
from hwnas.io.schemas import FileSchema, parse_model
from hwnas.plugins.loading import loaded_files, loaded_packages

FILE = "plugins.json"


class PluginFileSchema(FileSchema):
    """A plugin file of a run: the path it was given by, and its content's SHA-256."""

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PluginPackageSchema(FileSchema):
    """An installed plugin that was loaded: its entry point and package, and its version."""

    name: str
    version: str


class PluginsFile(FileSchema):
    """``plugins.json``: absent where a run was begun without plugins."""

    schema_: Literal[1] = Field(alias="schema", default=1)
    files: tuple[PluginFileSchema, ...] = ()
    packages: tuple[PluginPackageSchema, ...] = ()


def record_plugins(folder: Path) -> None:
    """Write down the plugins that this process has loaded, if any."""
    content = PluginsFile(
        files=tuple(PluginFileSchema(path=f.name, sha256=f.content) for f in loaded_files()),
        packages=tuple(
            PluginPackageSchema(name=p.name, version=p.content) for p in loaded_packages()
        ),
    )
    if content.files or content.packages:
        write_json(folder / FILE, content.model_dump(mode="json", by_alias=True))


def require_plugins(folder: Path) -> None:
    """Do nothing if every plugin file the run was begun with is loaded, its content unchanged.

    Raises:
        InputError: names those that are not loaded, or have changed, and how to load them.
    """
    path = folder / FILE
    if not path.is_file():
        return
    recorded = parse_model(PluginsFile, read_json(path), what=str(path))
    loaded = {origin.content: origin.name for origin in loaded_files()}
    problems, options = [], []
    for file in recorded.files:
        if file.sha256 in loaded:
            continue
        options.append(f"--plugin {file.path}")
        if Path(file.path).name in {Path(name).name for name in loaded.values()}:
            problems.append(f"{file.path} has changed since the run was begun (SHA-256 differs)")
        else:
            problems.append(f"was begun with plugin {file.path}, which is not loaded")
    if problems:
        raise InputError(
            f"run folder {folder}",
            problems,
            f"add {' '.join(options)} (in Python, hwnas.load_plugin), with the file as it was; "
            "a run folder never runs a file by itself",
        )
