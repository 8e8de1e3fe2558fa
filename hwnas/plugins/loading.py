"""Plugins: files and installed packages that add entries to the registries.

A plugin is a Python file that a user names (``--plugin FILE.py``, ``plugins: [..]`` in a run's
YAML, :func:`load_plugin`), or a package with an entry point in the group ``hwnas.plugins``. Both
are code that runs in this process with all its rights. hwnas runs a file only when a person names
it in a command, a script or a configuration that they pass: never because a run folder, a table or
another data file names it.

A plugin registers when it is imported, or in a function ``register()`` that hwnas calls after the
import (for files that must be importable without hwnas, as a runtime's that is sent to a device).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hwnas.errors import HwnasError, InputError

if TYPE_CHECKING:
    import importlib.metadata

ENTRY_POINT_GROUP = "hwnas.plugins"


@dataclass(frozen=True)
class Origin:
    """Where entries come from: a plugin file, an installed package, or the running program.

    ``name`` is what messages say: the path as it was given, or the entry point and its package.
    ``content`` is the file's SHA-256 or the package's version. ``place`` tells origins apart.
    """

    name: str
    content: str
    place: str

    def __str__(self) -> str:
        return f"plugin {self.name}" if self.content else self.name


_SESSION = Origin("this program", "", "")


class _State:
    """What this process has loaded. One per process, as ``sys.modules`` is."""

    files: dict[Path, Origin]
    packages: list[Origin]
    current: list[Origin]
    pending: list[importlib.metadata.EntryPoint] | None

    def __init__(self) -> None:
        self.files, self.packages, self.current, self.pending = {}, [], [], None


_STATE = _State()


def current_origin() -> Origin:
    """Return the plugin that is being loaded now, or else the running program."""
    return _STATE.current[-1] if _STATE.current else _SESSION


def loaded_files() -> tuple[Origin, ...]:
    """Return the plugin files this process has loaded, in their order."""
    return tuple(_STATE.files.values())


def loaded_packages() -> tuple[Origin, ...]:
    """Return the installed plugins this process has loaded, in their order."""
    return tuple(_STATE.packages)


def load_plugin(path: str | Path) -> Origin:
    """Run the plugin file at ``path`` once; a file that has changed since is run again.

    Example:
        >>> hwnas.load_plugin("ghost.py")  # doctest: +SKIP
        >>> space = hwnas.load_space("my_space.yaml")  # doctest: +SKIP

    Raises:
        InputError: it is no Python file, cannot be read, or fails; names the line.
    """
    import hashlib  # here and below: every command reads registries, few load a plugin

    file = Path(path).resolve()
    if file.suffix != ".py":
        raise InputError(f"plugin {path}", ["is not a Python file (.py)"])
    try:
        content = file.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise InputError(f"plugin {path}", [problem], "check the path") from None
    digest = hashlib.sha256(content).hexdigest()
    known = _STATE.files.get(file)
    if known is not None and known.content == digest:
        return known
    origin = Origin(str(path), digest, str(file))
    # the same name in every process, so that workers can unpickle what the file defines
    name = f"hwnas_plugin_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{file.stem}"
    with _loading(origin, f"plugin {path}", "correct the file"):
        _registered(_executed(name, file))
    _STATE.files[file] = origin
    return origin


def load_plugins(paths: Iterable[str | Path]) -> None:
    """Run each of these plugin files once, in their order; see :func:`load_plugin`."""
    for path in paths:
        load_plugin(path)


def load_entry_points() -> None:
    """Load every installed plugin once.

    Raises:
        InputError: one fails; names it and its package.
    """
    if _STATE.current:
        return  # a plugin reads a registry while it is loaded
    if _STATE.pending is None:
        import importlib.metadata

        _STATE.pending = sorted(
            importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name
        )
    while _STATE.pending:
        point = _STATE.pending[0]
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
        version = point.dist.version if point.dist else "unknown"
        origin = Origin(f"{point.name} of {package}", version, point.value)
        with _loading(origin, f"plugin {origin.name}", f"update or remove {package}"):
            _registered(point.load())
        _STATE.packages.append(origin)
        _STATE.pending.pop(0)


@contextlib.contextmanager
def _loading(origin: Origin, what: str, next_step: str) -> Iterator[None]:
    _STATE.current.append(origin)
    try:
        yield
    except Exception as error:
        raise InputError(what, [_reason(error)], next_step) from error
    finally:
        _STATE.current.pop()


def _reason(error: Exception) -> str:
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"line {frame.lineno} of {Path(frame.filename).name}: "
    if isinstance(error, SyntaxError) and error.lineno is not None:
        place = f"line {error.lineno}: "
    if isinstance(error, HwnasError):
        return str(error)
    return f"{place}{type(error).__name__}: {error}"


def _executed(name: str, file: Path) -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _registered(loaded: Any) -> None:
    """Call the function an entry point names, or a module's ``register``, where there is one."""
    register = getattr(loaded, "register", None) if isinstance(loaded, ModuleType) else loaded
    if callable(register):
        register()
