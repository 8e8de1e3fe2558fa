"""Operations: :class:`OpSpec`, the unit that is timed, and OPS, the kinds of operations."""

from hwnas.ops.spec import ACTIVATIONS, OPS, SE_GATES, Attr, OpSpec, Shape, make_divisible

__all__ = ["ACTIVATIONS", "OPS", "SE_GATES", "Attr", "OpSpec", "Shape", "make_divisible"]
