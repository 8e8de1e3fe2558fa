"""OpSpec, the unit that is timed. No torch here.

An OpSpec holds everything that decides an operation's time on a device, and nothing else, so that
one measured table serves every space in which the same operation occurs. A multiply-accumulate
counts as one MAC; BN and activations are folded or free by convention (as in fvcore's counters of
convolution and linear layers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hwnas.io.journal import canonical_json
from hwnas.ops.kind import ACTIVATIONS, OPS, SE_GATES, Attr, Shape

__all__ = ["ACTIVATIONS", "OPS", "SE_GATES", "Attr", "OpSpec", "Shape", "make_divisible"]


MAX_SIZE = 2**20  # of a shape or an attribute in a file


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel count to a multiple of ``divisor``, never below 90 % of ``value``.

    The rounding of MobileNetV2's published code, shared by torchvision, timm and Once-for-All.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@dataclass(frozen=True)
class OpSpec:
    """One operation: its kind, input shape (C, H, W) at batch 1, output channels and attributes.

    ``attrs`` are sorted pairs, complete (defaults filled in) and checked by :meth:`make`.
    """

    kind: str
    in_shape: Shape
    out_channels: int
    attrs: tuple[tuple[str, Attr], ...]

    @staticmethod
    def make(kind: str, in_shape: Shape, out_channels: int, **attrs: Attr) -> OpSpec:
        """Return the operation, its attributes completed by the kind's defaults.

        Raises:
            ValueError: unknown kind, unknown or missing attribute, or a value not allowed.
        """
        if kind not in OPS:
            raise ValueError(
                f"unknown operation kind {kind!r}; known: {', '.join(OPS)}; one of a plugin is "
                "known after --plugin FILE.py"
            )
        declared = OPS[kind].attrs
        unknown = sorted(set(attrs) - set(declared))
        if unknown:
            raise ValueError(f"{kind} has no attribute {unknown}; it has {sorted(declared)}")
        full = {name: attrs.get(name, attr.default) for name, attr in declared.items()}
        for name, value in full.items():
            declared[name].check(kind, name, value)
        if min(in_shape) < 1 or out_channels < 1:
            raise ValueError(f"{kind}: empty shape {in_shape} -> {out_channels} channels")
        spec = OpSpec(kind, in_shape, out_channels, tuple(sorted(full.items())))  # type: ignore[arg-type]
        OPS[kind].check(spec)
        return spec

    def __getitem__(self, name: str) -> Any:
        """Return attribute ``name``."""
        return self._attrs[name]

    @cached_property
    def _attrs(self) -> dict[str, Attr]:
        return dict(self.attrs)

    @property
    def out_shape(self) -> Shape:
        """Output shape (C, H, W); a classifier's is (classes, 1, 1)."""
        return OPS[self.kind].out_shape(self)

    @property
    def num_inputs(self) -> int:
        """How many tensors of shape ``in_shape`` the operation takes; 1 for all but summations."""
        return OPS[self.kind].num_inputs(self)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions and linear layers, batch 1."""
        return OPS[self.kind].macs(self)

    @property
    def params(self) -> int:
        """Trainable parameters: weights, biases, BN scales and shifts."""
        return OPS[self.kind].params(self)

    @cached_property
    def key(self) -> str:
        """The one-line spelling used as a key in files; equal specs have equal keys."""
        return canonical_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the object a table holds for this operation.

        Attributes that a kind was given later are there only where they differ from the default,
        so that an operation older than they are keeps its key.
        """
        rules = OPS[self.kind].attrs
        return {
            "kind": self.kind,
            "in_shape": list(self.in_shape),
            "out_channels": self.out_channels,
            "attrs": {
                name: value
                for name, value in self.attrs
                if not (rules[name].added and value == rules[name].default)
            },
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> OpSpec:
        """Read :meth:`to_json`'s object back.

        Raises:
            ValueError: the object is not an operation; says what is wrong.
        """
        expected = {"kind", "in_shape", "out_channels", "attrs"}
        if not isinstance(value, Mapping) or set(value) != expected:
            raise ValueError(f"an operation has exactly the keys {sorted(expected)}, got {value}")
        shape, attrs = value["in_shape"], value["attrs"]
        is_shape = isinstance(shape, list) and len(shape) == 3
        if not is_shape or not all(type(size) is int for size in shape):
            raise ValueError(f"in_shape must be three integers (C, H, W), got {shape}")
        if not isinstance(attrs, Mapping) or type(value["out_channels"]) is not int:
            raise ValueError(f"attrs must be an object and out_channels an integer, got {value}")
        reserved = sorted(set(attrs) & {"kind", "in_shape", "out_channels"})
        if not isinstance(value["kind"], str) or reserved:
            raise ValueError(
                f"kind must be text, and no attribute may be called {reserved}, got {value}"
            )
        sizes = [*shape, value["out_channels"], *(v for v in attrs.values() if type(v) is int)]
        if max(sizes) > MAX_SIZE:
            raise ValueError(f"no size may be above {MAX_SIZE}, got {str(max(sizes))[:30]}")
        return OpSpec.make(value["kind"], tuple(shape), value["out_channels"], **attrs)

    def __str__(self) -> str:
        shape = "x".join(str(size) for size in self.in_shape)
        declared = OPS[self.kind].attrs
        shown = [f"{k}={v}" for k, v in self.attrs if v != declared[k].default]
        return f"{self.kind} {shape}->{self.out_channels} {' '.join(shown)}".strip()
