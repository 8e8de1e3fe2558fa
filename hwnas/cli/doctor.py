"""Checks of the installation, each done for real."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import HwnasError


@dataclass(frozen=True)
class Check:
    """One check's outcome."""

    name: str
    ok: bool
    says: str


def examine() -> list[Check]:
    """Carry out every check; none raises."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("cores", _cores),
        ("torch", _torch),
        ("onnxruntime agent", lambda: _agent("onnxruntime")),
        ("litert agent", lambda: _agent("litert")),
        ("litert converter", _converter),
        ("conversion cache", _cache),
    )
    found = []
    for name, check in checks:
        try:
            found.append(Check(name, True, check()))
        except (ImportError, OSError, HwnasError) as error:
            found.append(Check(name, False, f"{type(error).__name__}: {error}"))
    return found


def _cores() -> str:
    from hwnas.executor import available_cores

    load = os.getloadavg()[0]
    cores = available_cores()
    busy = " (busy: measure when it is idle)" if load > 0.5 * cores else ""
    return f"{cores} usable, load {load:.1f}{busy}"


def _torch() -> str:
    import torch

    gpus = torch.cuda.device_count()
    return f"{torch.__version__}, {torch.get_num_threads()} threads, {gpus} GPU(s)"


def _agent(runtime: str) -> str:
    from hwnas.latency.device import load_device
    from hwnas.latency.runner import make_target, open_runner

    with open_runner(make_target(load_device("host"), runtime)) as runner:
        info = runner.info
    return f"{info['runtime_version']} on {info['cpu']}, python {info['python']}"


def _converter() -> str:
    from importlib.metadata import version
    from importlib.util import find_spec

    if find_spec("litert_torch") is None:
        raise ImportError("litert-torch is not installed. Next: pip install litert-torch")
    return f"litert-torch {version('litert-torch')}"


def _cache() -> str:
    from hwnas.export.cache import ConversionCache

    root = Path(ConversionCache().root)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=root):
        files = sum(1 for path in root.rglob("*") if path.is_file())
    return f"{root} is writable, {files} files"
