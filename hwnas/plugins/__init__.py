"""What a plugin needs: registration functions, and the types its entries are made of.

A plugin is one Python file, or an installed package with an entry point in the group
``hwnas.plugins``. It adds operations, spaces, strategies, evaluators, runtimes, transports or
formats by name; every command and configuration then knows them. Names are loaded when they are
first used; only ``conv_bn_act`` imports torch. ``examples/plugins/`` has one file of each kind.
"""

import importlib
from typing import TYPE_CHECKING

from hwnas.plugins.loading import load_plugin
from hwnas.plugins.registry import Entry, Registry

if TYPE_CHECKING:
    from hwnas.device.runner import Target as Target
    from hwnas.device.runtimes import register_runtime as register_runtime
    from hwnas.device.transports import register_transport as register_transport
    from hwnas.export.formats import FormatKind as FormatKind
    from hwnas.export.formats import Quantizer as Quantizer
    from hwnas.export.formats import register_format as register_format
    from hwnas.io.schemas import FileSchema as FileSchema
    from hwnas.latency.models import LatencyData as LatencyData
    from hwnas.latency.models import register_latency_model as register_latency_model
    from hwnas.nn.layers import conv_bn_act as conv_bn_act
    from hwnas.ops.kind import AttrRule as AttrRule
    from hwnas.ops.kind import Shape as Shape
    from hwnas.ops.kind import Spec as Spec
    from hwnas.ops.kind import register_operation as register_operation
    from hwnas.ops.kind import spatial_out as spatial_out
    from hwnas.ops.spec import OpSpec as OpSpec
    from hwnas.ops.spec import make_divisible as make_divisible
    from hwnas.protocols import Codes as Codes
    from hwnas.protocols import Runner as Runner
    from hwnas.protocols import SearchSpace as SearchSpace
    from hwnas.search.evaluators.registry import EvaluatorContext as EvaluatorContext
    from hwnas.search.evaluators.registry import register_evaluator as register_evaluator
    from hwnas.search.strategies.population import History as History
    from hwnas.search.strategies.population import collect as collect
    from hwnas.search.strategies.population import draw_new as draw_new
    from hwnas.search.strategies.population import mutate as mutate
    from hwnas.search.strategies.registry import SearchProblem as SearchProblem
    from hwnas.search.strategies.registry import register_strategy as register_strategy
    from hwnas.space.catalogue import Param as Param
    from hwnas.space.catalogue import register_space as register_space
    from hwnas.space.chain import Block as Block
    from hwnas.space.chain import ChainSpace as ChainSpace
    from hwnas.space.chain import Conv as Conv
    from hwnas.space.chain import Head as Head
    from hwnas.space.chain import Identity as Identity
    from hwnas.space.chain import LayerOption as LayerOption
    from hwnas.space.chain import Stage as Stage
    from hwnas.space.custom import LayerSchema as LayerSchema

# public name -> the module it is defined in
_HOMES = {
    "AttrRule": "hwnas.ops.kind",
    "Block": "hwnas.space.chain",
    "ChainSpace": "hwnas.space.chain",
    "Codes": "hwnas.protocols",
    "Conv": "hwnas.space.chain",
    "EvaluatorContext": "hwnas.search.evaluators.registry",
    "FileSchema": "hwnas.io.schemas",
    "FormatKind": "hwnas.export.formats",
    "Head": "hwnas.space.chain",
    "History": "hwnas.search.strategies.population",
    "Identity": "hwnas.space.chain",
    "LatencyData": "hwnas.latency.models",
    "LayerOption": "hwnas.space.chain",
    "LayerSchema": "hwnas.space.custom",
    "OpSpec": "hwnas.ops.spec",
    "Param": "hwnas.space.catalogue",
    "Quantizer": "hwnas.export.formats",
    "Runner": "hwnas.protocols",
    "SearchProblem": "hwnas.search.strategies.registry",
    "SearchSpace": "hwnas.protocols",
    "Shape": "hwnas.ops.kind",
    "Spec": "hwnas.ops.kind",
    "Stage": "hwnas.space.chain",
    "Target": "hwnas.device.runner",
    "collect": "hwnas.search.strategies.population",
    "conv_bn_act": "hwnas.nn.layers",
    "draw_new": "hwnas.search.strategies.population",
    "make_divisible": "hwnas.ops.spec",
    "mutate": "hwnas.search.strategies.population",
    "register_evaluator": "hwnas.search.evaluators.registry",
    "register_format": "hwnas.export.formats",
    "register_latency_model": "hwnas.latency.models",
    "register_operation": "hwnas.ops.kind",
    "register_runtime": "hwnas.device.runtimes",
    "register_space": "hwnas.space.catalogue",
    "register_strategy": "hwnas.search.strategies.registry",
    "register_transport": "hwnas.device.transports",
    "spatial_out": "hwnas.ops.kind",
}

REGISTRIES = {
    "operations": "hwnas.ops.kind:OPS",
    "spaces": "hwnas.space.catalogue:SPACES",
    "strategies": "hwnas.search.strategies.registry:STRATEGIES",
    "evaluators": "hwnas.search.evaluators.registry:EVALUATORS",
    "latency models": "hwnas.latency.models:LATENCY_MODELS",
    "runtimes": "hwnas.device.runtimes:RUNTIMES",
    "transports": "hwnas.device.transports:TRANSPORTS",
    "formats": "hwnas.export.formats:FORMATS",
    "precisions": "hwnas.export.formats:PRECISIONS",
}
"""The registries by what they hold, each by its import path (``registry.load_object``)."""

__all__ = [
    "REGISTRIES",
    "AttrRule",
    "Block",
    "ChainSpace",
    "Codes",
    "Conv",
    "Entry",
    "EvaluatorContext",
    "FileSchema",
    "FormatKind",
    "Head",
    "History",
    "Identity",
    "LatencyData",
    "LayerOption",
    "LayerSchema",
    "OpSpec",
    "Param",
    "Quantizer",
    "Registry",
    "Runner",
    "SearchProblem",
    "SearchSpace",
    "Shape",
    "Spec",
    "Stage",
    "Target",
    "collect",
    "conv_bn_act",
    "draw_new",
    "load_plugin",
    "make_divisible",
    "mutate",
    "register_evaluator",
    "register_format",
    "register_latency_model",
    "register_operation",
    "register_runtime",
    "register_space",
    "register_strategy",
    "register_transport",
    "spatial_out",
]

if not TYPE_CHECKING:

    def __getattr__(name):
        """Load a public name when it is first used (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
