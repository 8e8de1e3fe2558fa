"""OPS, the registry of kinds of operations, and what a kind declares. No torch here.

A kind gives the attributes of its operations and, as functions of one, shape, multiply-accumulates
and parameters; the torch module that computes it; and, where users may offer it as a layer, how a
space's YAML file spells it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from hwnas.plugins.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import nn

    from hwnas.ops.spec import OpSpec

Attr: TypeAlias = int | str | bool
Shape: TypeAlias = tuple[int, int, int]

ACTIVATIONS = ("none", "relu", "relu6", "hswish", "swish", "gelu")
SE_GATES = ("hsigmoid", "sigmoid")


class Spec(Protocol):
    """What a kind's functions read of an operation (``hwnas.ops.OpSpec``)."""

    @property
    def in_shape(self) -> Shape:
        """Input (C, H, W) at batch 1."""

    @property
    def out_channels(self) -> int:
        """Channels of the output."""

    @property
    def out_shape(self) -> Shape:
        """Output (C, H, W)."""

    def __getitem__(self, name: str) -> Any:
        """Return attribute ``name``."""


@dataclass(frozen=True)
class AttrRule:
    """What values an attribute may take; ``default`` None means it must be given.

    ``added`` marks an attribute that tables written before it lack: see ``Spec.to_json``.
    """

    default: Attr | None
    allowed: tuple[Attr, ...] = ()
    minimum: int | None = None
    added: bool = False

    def check(self, kind: str, name: str, value: Attr | None) -> None:
        """Raise ValueError unless ``value`` follows the rule."""
        if value is None:
            raise ValueError(f"{kind} needs attribute {name!r}")
        if self.allowed and not any(value == a and type(value) is type(a) for a in self.allowed):
            raise ValueError(f"{kind}.{name} must be one of {self.allowed}, got {value!r}")
        if self.minimum is not None and (type(value) is not int or value < self.minimum):
            raise ValueError(f"{kind}.{name} must be an integer >= {self.minimum}, got {value!r}")


@dataclass(frozen=True)
class OpKind(Entry):
    """A kind of operation: its attributes, and its shape, cost and size as functions of a spec.

    ``module`` makes the torch module: (N, C, H, W) to the output's shape. ``num_inputs`` is the
    number of tensors of shape ``in_shape`` it takes. ``parts`` splits an operation into those that
    a runtime executes one by one; None: it is one. ``layer`` is the schema of a layer's option in
    a space file (``space.custom.LayerSchema``); None: space files do not offer it. Each of the
    three may be an import path, ``package.module:name``.
    """

    attrs: Mapping[str, AttrRule]
    out_shape: Callable[[Spec], Shape]
    macs: Callable[[Spec], int]
    params: Callable[[Spec], int]
    module: Callable[[OpSpec], nn.Module] | str
    check: Callable[[Spec], object] = lambda spec: None
    num_inputs: Callable[[Spec], int] = lambda spec: 1
    parts: Callable[[OpSpec], tuple[OpSpec, ...]] | str | None = None
    layer: type[Any] | str | None = None


OPS: Registry[OpKind] = Registry(
    "operation kind",
    builtin=("hwnas.ops.basic:KINDS", "hwnas.ops.cells:KINDS", "hwnas.ops.mobile:KINDS"),
)


def register_operation(
    name: str,
    help: str,
    *,
    attrs: Mapping[str, AttrRule],
    out_shape: Callable[[Spec], Shape],
    macs: Callable[[Spec], int],
    params: Callable[[Spec], int],
    module: Callable[[OpSpec], nn.Module] | str,
    check: Callable[[Spec], object] | None = None,
    layer: type[Any] | None = None,
) -> OpKind:
    """Add a kind of operation, which spaces, tables, searches and exports then know.

    ``macs`` counts multiply-accumulates of convolutions and linear layers at batch 1; ``params``
    all trainable parameters, those of batch norms included. ``module`` makes the torch module of
    an operation: (N, C, H, W) to (N, ``out_channels``, H', W') as ``out_shape`` says. ``check``
    raises ValueError for attributes that do not fit each other. ``layer`` is a subclass of
    ``hwnas.LayerSchema`` that offers the operation to space files.

    Example: ``examples/plugins/operation.py``.

    Raises:
        UsageError: the name is taken.
    """
    kind = OpKind(
        name,
        help,
        attrs=attrs,
        out_shape=out_shape,
        macs=macs,
        params=params,
        module=module,
        check=check or (lambda spec: None),
        layer=layer,
    )
    return OPS.register(kind)


def strided(size: int, stride: int) -> int:
    """Return the output size of a 'same'-padded convolution (odd sizes as torch rounds them)."""
    return (size - 1) // stride + 1


def spatial_out(spec: Spec) -> Shape:
    """Return the output shape of an operation with a ``stride``."""
    _, height, width = spec.in_shape
    return spec.out_channels, strided(height, spec["stride"]), strided(width, spec["stride"])


def classes_out(spec: Spec) -> Shape:
    """Return the output shape of a classifier: (classes, 1, 1)."""
    return spec.out_channels, 1, 1


ACT = AttrRule("relu6", allowed=ACTIVATIONS)
