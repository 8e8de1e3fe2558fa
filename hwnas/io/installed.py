"""Which extra installs which package, and what to say where one is absent.

``pip install hwnas`` brings what every command needs. The heavy packages are extras:
``hwnas[device]`` measures model files, ``hwnas[predict]`` predicts and searches without torch, and
``hwnas[all]`` does everything. A module of a heavy package is imported where it is used, so an
absent one shows as a ``ModuleNotFoundError`` there; this module says what to install instead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from hwnas.errors import MissingPackageError

# extra -> top-level modules of the packages that it brings
EXTRAS: dict[str, tuple[str, ...]] = {
    "device": ("onnxruntime", "ai_edge_litert", "tflite_runtime"),
    "predict": ("scipy", "moocore"),
    "all": (
        "torch",
        "torchvision",
        "PIL",
        "safetensors",
        "sklearn",
        "onnx",
        "litert_torch",
        "ai_edge_quantizer",
        "matplotlib",
        "jinja2",
        "markupsafe",
    ),
}

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def missing_package(error: ImportError) -> MissingPackageError | None:
    """Return the error that names the extra to install; None where no extra has the module."""
    module = (error.name or "").partition(".")[0].replace("-", "_")
    for extra, modules in EXTRAS.items():
        if module in modules:
            return MissingPackageError(
                f"this needs the package {module}, which is not installed here",
                next_step=f"pip install 'hwnas[{extra}]'"
                + ("" if extra == "all" else ", or 'hwnas[all]' for everything"),
            )
    return None


def names_missing_packages(
    function: Callable[Parameters, Returned],
) -> Callable[Parameters, Returned]:
    """Make ``function`` raise MissingPackageError where an extra's package is absent."""

    @wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        try:
            return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            told = missing_package(error)
            if told is None:
                raise
            raise told from error

    return wrapped
