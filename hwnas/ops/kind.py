"""What a kind of operation declares: its attributes, and its shape, cost and size. No torch here.

The kinds themselves are in ``hwnas.ops`` and the files it collects them from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

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
class OpKind:
    """A kind of operation: its attributes, and its shape, cost and size as functions of a spec.

    ``num_inputs`` says how many tensors of shape ``in_shape`` it takes.
    """

    attrs: Mapping[str, AttrRule]
    out_shape: Callable[[Spec], Shape]
    macs: Callable[[Spec], int]
    params: Callable[[Spec], int]
    check: Callable[[Spec], None] = lambda spec: None
    num_inputs: Callable[[Spec], int] = lambda spec: 1


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
