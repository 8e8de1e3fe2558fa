"""RUNTIMES: what executes models on a device, and in which format it takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from hwnas.errors import UsageError
from hwnas.export.formats import FORMATS, Format, Layout
from hwnas.plugins.fields import NameOf
from hwnas.plugins.registry import Entry, Registry


@dataclass(frozen=True)
class RuntimeKind(Entry):
    """A runtime: the format and layout of the models it takes.

    ``agent`` is the Python file that executes them on the device; None: the agent itself does. It
    is sent to the device next to the agent, so it may import numpy, the runtime and the agent
    (``hwnas_agent``), but not hwnas, at its top. It defines ``Model(path, threads)`` with the
    methods of ``hwnas.device.agent.Model``, and ``version()``, the runtime's name and version.
    """

    format: str
    layout: Layout
    agent: Path | None = None


RUNTIMES: Registry[RuntimeKind] = Registry(
    "runtime", builtin=("hwnas.device.runtimes:RUNTIME_KINDS",)
)
RUNTIME_KINDS = (
    RuntimeKind(
        "litert",
        "LiteRT's interpreter with XNNPACK, or the older tflite-runtime",
        needs=("ai-edge-litert",),
        format="tflite",
        layout="nhwc",
    ),
    RuntimeKind(
        "onnxruntime",
        "ONNX Runtime's CPU provider",
        needs=("onnxruntime",),
        format="onnx",
        layout="nchw",
    ),
)

Runtime: TypeAlias = Annotated[str, NameOf(RUNTIMES)]


def usual_runtimes() -> dict[str, str]:
    """Return the runtime that executes files of each format unless another is asked for."""
    usual: dict[str, str] = {}
    for name, kind in RUNTIMES.items():
        usual.setdefault(kind.format, name)
    return usual


def register_runtime(
    name: str,
    help: str,
    *,
    format: Format,
    agent: str | Path,
    layout: Layout | None = None,
    needs: tuple[str, ...] = (),
) -> RuntimeKind:
    """Add a runtime, which profiles, checks and benchmarks of every device can then use.

    ``agent`` is the file that executes models on the device, usually ``__file__``; see
    :class:`RuntimeKind`. ``layout`` None is the format's usual one. ``needs`` are the packages that
    must be installed on the device. A device file does not have to list the runtime.

    Example: ``examples/plugins/runtime.py``.

    Raises:
        UsageError: the name is taken, the format is not known, or there is no such file.
    """
    kind = FORMATS[format]
    file = Path(agent).resolve()
    if not file.is_file():
        raise UsageError(f"runtime {name!r}: there is no file {file}. Next: give agent=__file__")
    return RUNTIMES.register(
        RuntimeKind(
            name,
            help,
            needs=needs,
            format=format,
            layout=layout or kind.layouts[0],
            agent=file,
        )
    )
