"""hwnas: hardware-aware neural architecture search for mobile deployment.

Everything public is a name of this package (``__all__``); other modules may change without notice.
Names are loaded when they are first used: ``import hwnas`` itself loads neither numpy nor torch nor
matplotlib. The package logs to the logger ``hwnas`` and prints nothing.

    space = hwnas.load_space("proxyless:num_classes=5")
    table = hwnas.profile(space, "host", runtime="litert", calibrate=16, out="table.json")
    latency = hwnas.latency_model(space, table)
    result = hwnas.search(space, {"latency_ms": (latency, 20.0)}, evaluate=my_function)
    network = hwnas.build(space, result.best.arch)
    bundle = hwnas.export(network, "out/", formats=["onnx", "tflite"])
    hwnas.bench(bundle, "host")
"""

import importlib
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

logging.getLogger("hwnas").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from hwnas import plot as plot
    from hwnas.api.bundles import Bundle as Bundle
    from hwnas.api.bundles import bench as bench
    from hwnas.api.bundles import export as export
    from hwnas.api.bundles import load_bundle as load_bundle
    from hwnas.api.latency import LatencyModel as LatencyModel
    from hwnas.api.latency import latency_model as latency_model
    from hwnas.api.networks import Network as Network
    from hwnas.api.networks import build as build
    from hwnas.api.problem import Limits as Limits
    from hwnas.api.results import SearchResult as SearchResult
    from hwnas.api.results import Trial as Trial
    from hwnas.api.runs import Run as Run
    from hwnas.api.runs import open_run as open_run
    from hwnas.api.runs import run as run
    from hwnas.api.searching import search as search
    from hwnas.api.spaces import Space as Space
    from hwnas.api.spaces import load_space as load_space
    from hwnas.api.study import Study as Study
    from hwnas.api.tables import Table as Table
    from hwnas.api.tables import load_table as load_table
    from hwnas.api.tables import profile as profile
    from hwnas.arch import Arch as Arch
    from hwnas.arch import Choice as Choice
    from hwnas.device.runtimes import register_runtime as register_runtime
    from hwnas.device.transports import register_transport as register_transport
    from hwnas.errors import DeviceError as DeviceError
    from hwnas.errors import HwnasError as HwnasError
    from hwnas.errors import InfeasibleError as InfeasibleError
    from hwnas.errors import InputError as InputError
    from hwnas.errors import MissingPackageError as MissingPackageError
    from hwnas.errors import MissingRowError as MissingRowError
    from hwnas.errors import StorageError as StorageError
    from hwnas.errors import UsageError as UsageError
    from hwnas.export.formats import ConversionError as ConversionError
    from hwnas.export.formats import register_format as register_format
    from hwnas.export.verify.parity import ParityError as ParityError
    from hwnas.io.progress import reporting as reporting
    from hwnas.ops.kind import register_operation as register_operation
    from hwnas.plugins.loading import load_plugin as load_plugin
    from hwnas.search.evaluators.registry import register_evaluator as register_evaluator
    from hwnas.search.strategies.registry import register_strategy as register_strategy
    from hwnas.space.catalogue import register_space as register_space

# public name -> the module it is defined in
_HOMES = {
    "Arch": "hwnas.arch",
    "Bundle": "hwnas.api.bundles",
    "Choice": "hwnas.arch",
    "ConversionError": "hwnas.export.formats",
    "DeviceError": "hwnas.errors",
    "HwnasError": "hwnas.errors",
    "InfeasibleError": "hwnas.errors",
    "InputError": "hwnas.errors",
    "LatencyModel": "hwnas.api.latency",
    "Limits": "hwnas.api.problem",
    "MissingPackageError": "hwnas.errors",
    "MissingRowError": "hwnas.errors",
    "Network": "hwnas.api.networks",
    "ParityError": "hwnas.export.verify.parity",
    "Run": "hwnas.api.runs",
    "SearchResult": "hwnas.api.results",
    "Space": "hwnas.api.spaces",
    "StorageError": "hwnas.errors",
    "Study": "hwnas.api.study",
    "Table": "hwnas.api.tables",
    "Trial": "hwnas.api.results",
    "UsageError": "hwnas.errors",
    "bench": "hwnas.api.bundles",
    "build": "hwnas.api.networks",
    "export": "hwnas.api.bundles",
    "latency_model": "hwnas.api.latency",
    "load_bundle": "hwnas.api.bundles",
    "load_plugin": "hwnas.plugins.loading",
    "load_space": "hwnas.api.spaces",
    "load_table": "hwnas.api.tables",
    "open_run": "hwnas.api.runs",
    "profile": "hwnas.api.tables",
    "register_evaluator": "hwnas.search.evaluators.registry",
    "register_format": "hwnas.export.formats",
    "register_operation": "hwnas.ops.kind",
    "register_runtime": "hwnas.device.runtimes",
    "register_space": "hwnas.space.catalogue",
    "register_strategy": "hwnas.search.strategies.registry",
    "register_transport": "hwnas.device.transports",
    "reporting": "hwnas.io.progress",
    "run": "hwnas.api.runs",
    "search": "hwnas.api.searching",
}
# public names that are folders of this package; those in _HOMES are also functions
_ROOMS = ("export", "plot", "search")

__all__ = [
    "Arch",
    "Bundle",
    "Choice",
    "ConversionError",
    "DeviceError",
    "HwnasError",
    "InfeasibleError",
    "InputError",
    "LatencyModel",
    "Limits",
    "MissingPackageError",
    "MissingRowError",
    "Network",
    "ParityError",
    "Run",
    "SearchResult",
    "Space",
    "StorageError",
    "Study",
    "Table",
    "Trial",
    "UsageError",
    "__version__",
    "bench",
    "build",
    "export",
    "latency_model",
    "load_bundle",
    "load_plugin",
    "load_space",
    "load_table",
    "open_run",
    "plot",
    "profile",
    "register_evaluator",
    "register_format",
    "register_operation",
    "register_runtime",
    "register_space",
    "register_strategy",
    "register_transport",
    "reporting",
    "run",
    "search",
]


class _CallableRoom(ModuleType):
    """A room whose name is also that of a public function: ``hwnas.search(...)`` calls it."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(_HOMES[name]), name)(*args, **kwargs)


class _Package(ModuleType):
    """This package: it makes rooms callable when the import system binds them to it.

    ``hwnas.search`` and ``hwnas.export`` are a function for users and a room of modules inside. The
    import system overwrites an attribute with the module of that name at any time, so the module
    itself has to be callable.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in _ROOMS and name in _HOMES and isinstance(value, ModuleType):
            value.__class__ = _CallableRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

if not TYPE_CHECKING:  # type checkers read the imports above, and so report names with a typo

    def __getattr__(name):
        """Load a public name when it is first used (PEP 562)."""
        if name in _ROOMS:
            return importlib.import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            from hwnas.io.installed import missing_package

            told = missing_package(error)
            if told is None:
                raise
            raise told from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
