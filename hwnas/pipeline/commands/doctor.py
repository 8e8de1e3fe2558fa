"""Checks of the installation, each done for real."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hwnas.device.host_facts import FACTS, readable
from hwnas.errors import HwnasError
from hwnas.io.installed import missing_package

MIN_DISK_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Check:
    """One check's outcome."""

    name: str
    ok: bool
    says: str


def examine(device: str | None = None) -> list[Check]:
    """Carry out every check of this host, or of ``device`` and what reaches it; none raises."""
    if device is not None:
        return _carried_out(_device_checks(device))
    return _carried_out(
        (
            ("cores", _cores),
            *((name, partial(found, Path("/"))) for name, found in FACTS),
            ("disk", _disk),
            ("torch", _torch),
            ("onnxruntime agent", lambda: _agent("onnxruntime")),
            ("litert agent", lambda: _agent("litert")),
            ("litert converter", _converter),
            ("int8", _quantizers),
            ("conversion cache", _cache),
            ("precisions", _precisions),
        )
    )


def _carried_out(checks: Iterable[tuple[str, Callable[[], str]]]) -> list[Check]:
    found = []
    for name, check in checks:
        try:
            found.append(Check(name, True, check()))
        except ImportError as error:
            found.append(Check(name, False, str(missing_package(error) or error)))
        except (OSError, HwnasError) as error:
            found.append(Check(name, False, f"{type(error).__name__}: {error}"))
    return found


def _device_checks(name: str) -> list[tuple[str, Callable[[], str]]]:
    from hwnas.device.device import load_device
    from hwnas.device.runner import make_target, open_runner
    from hwnas.device.transports import TRANSPORTS

    device = load_device(name)  # no such device is a wrong use, told as such
    checks: list[tuple[str, Callable[[], str]]] = [
        (
            "device file",
            lambda: (
                f"{device.description}; {device.transport}, {device.abi}; "
                + ("tested" if device.tested else "not run on the device yet")
            ),
        )
    ]
    transport = TRANSPORTS[device.transport]
    checks += [(name, partial(_program, name, transport.install)) for name in transport.needs]
    for runtime in device.runtimes:

        def reached(runtime: str = runtime) -> str:
            with open_runner(make_target(device, runtime)) as runner:
                info, state = runner.info, runner.state()
            return (
                f"{info['runtime_version']}, python {info['python']} on {info['cpu']}, CPUs "
                f"{','.join(map(str, info['cpus']))}; {readable(state)}"
            )

        checks.append((f"{runtime} agent", reached))
    return checks


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise OSError(f"{name} is not installed. Next: install {package or name}")
    return found


def _disk() -> str:
    from hwnas.export.convert.cache import ConversionCache

    root = Path(ConversionCache().root)
    place = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < MIN_DISK_BYTES:
        raise OSError(
            f"{free / 1e9:.1f} GB are free at {place}, conversions and checkpoints need "
            f"{MIN_DISK_BYTES / 1e9:.0f}. Next: free space, or set HWNAS_CACHE to a "
            "folder elsewhere"
        )
    return f"{free / 1e9:.1f} GB free at {place}"


def _precisions() -> str:
    from hwnas.export.formats import PRECISIONS

    return ", ".join(PRECISIONS)


def _cores() -> str:
    from hwnas.executor.local import available_cores

    load = os.getloadavg()[0]
    cores = available_cores()
    busy = " (busy: measure when it is idle)" if load > 0.5 * cores else ""
    return f"{cores} usable, load {load:.1f}{busy}"


def _torch() -> str:
    import torch

    gpus = torch.cuda.device_count()
    return f"{torch.__version__}, {torch.get_num_threads()} threads, {gpus} GPU(s)"


def _agent(runtime: str) -> str:
    from hwnas.device.device import load_device
    from hwnas.device.runner import make_target, open_runner

    with open_runner(make_target(load_device("host"), runtime)) as runner:
        info = runner.info
    return f"{info['runtime_version']} on {info['cpu']}, python {info['python']}"


def _converter() -> str:
    from importlib.metadata import version
    from importlib.util import find_spec

    if find_spec("litert_torch") is None:
        raise ModuleNotFoundError(name="litert_torch")
    return f"litert-torch {version('litert-torch')}"


def _quantizers() -> str:
    """Quantise one small operation for ONNX Runtime; LiteRT's takes seconds to be imported."""
    from hwnas.export.convert.cache import ConversionCache
    from hwnas.export.convert.conversion import Conversion, InitWeights
    from hwnas.export.formats import FORMATS, quantizer_versions
    from hwnas.export.quantize.float_ops import float_operations
    from hwnas.ops import OpSpec

    op = OpSpec.make("conv", (3, 8, 8), 8, kernel=3, act="relu")
    conversion = Conversion.make([op], InitWeights(), "onnx", precision="int8")
    left = float_operations(ConversionCache().fill([conversion])[conversion])
    if left:
        raise HwnasError(f"ONNX Runtime computes a quantised convolution in float: {left}")
    return "; ".join(
        f"{model_format} by "
        + ", ".join(
            f"{name} {version}" for name, version in quantizer_versions(model_format).items()
        )
        for model_format in FORMATS
    )


def _cache() -> str:
    from hwnas.export.convert.cache import ConversionCache

    root = Path(ConversionCache().root)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=root):
        files = sum(1 for path in root.rglob("*") if path.is_file())
    return f"{root} is writable, {files} files"
