"""The blocks of space ``mobile``: from a block's options to its operation.

The variants of MobileNetV4's universal inverted bottleneck are families here, by the names of its
paper (Qin et al., ECCV 2024, §3): ``extradw`` has both depthwise convolutions, ``convnext`` the
first, ``ffn`` none; with the second alone it is ``mbconv``. Families that end in ``_scaled`` have
a layer scale, as the paper's hybrid networks do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwnas.ops import Attr, OpSpec, Shape, make_divisible

BLOCK_CHOICES = ("family", "kernel_start", "kernel_size", "hidden", "se", "act")

EXISTING: Mapping[str, tuple[bool, bool, bool, bool, bool]] = {
    # family: has kernel_start, kernel_size, hidden, se, act
    "mbconv": (False, True, True, True, True),
    "fused_mbconv": (False, True, True, False, True),
    "fused_mbconv_act": (False, True, True, False, True),
    "extradw": (True, True, True, False, True),
    "convnext": (True, False, True, False, True),
    "ffn": (False, False, True, False, True),
    "extradw_scaled": (True, True, True, False, True),
    "convnext_scaled": (True, False, True, False, True),
    "ffn_scaled": (False, False, True, False, True),
    "mqa": (False, False, False, False, False),
}
"""Which choices of a block exist beside its family, in the order of ``BLOCK_CHOICES``."""

HEADS, KEY_DIM = 4, 64  # of attention: those of MobileNetV4-Hybrid-M


@dataclass(frozen=True)
class BlockOptions:
    """One option of each choice a block has; None where the family has no such choice.

    ``hidden`` is the hidden width over the input's, as text (``2.5``), rounded to a multiple of 8.
    ``se`` is ``none``, ``hidden`` (a quarter of the hidden width, as MobileNetV3) or ``input`` (a
    quarter of the input's, as EfficientNet).
    """

    family: str
    kernel_start: int | None = None
    kernel_size: int | None = None
    hidden: str | None = None
    se: str | None = None
    act: str | None = None

    def op(self, in_shape: Shape, out_channels: int, stride: int, kv_stride: int) -> OpSpec:
        """Return the operation of this block; attention, which keeps its shape, has ``kv_stride``.

        Raises:
            ValueError: the family cannot have this stride or change of width.
        """
        if self.family == "mqa":
            if stride != 1:
                raise ValueError("mqa has stride 1")
            return OpSpec.make(
                "mqa",
                in_shape,
                out_channels,
                heads=HEADS,
                key_dim=KEY_DIM,
                kv_stride=kv_stride,
                layer_scale=True,
            )
        if self.hidden is None or self.act is None:
            raise ValueError(f"{self.family} needs hidden and act")
        hidden = make_divisible(in_shape[0] * float(self.hidden))
        attrs: dict[str, Attr] = {
            "stride": stride,
            "hidden": hidden,
            "act": self.act,
            "residual": stride == 1 and in_shape[0] == out_channels,
        }
        if self.family == "mbconv":
            return OpSpec.make(
                "mbconv",
                in_shape,
                out_channels,
                kernel=self.kernel_size or 0,
                expand=hidden != in_shape[0],
                **attrs,
                **self._squeeze(in_shape[0], hidden),
            )
        if self.family.startswith("fused_mbconv"):
            return OpSpec.make(
                "fused_mbconv",
                in_shape,
                out_channels,
                kernel=self.kernel_size or 0,
                project_act=self.family.endswith("_act"),
                **attrs,
            )
        return OpSpec.make(
            "uib",
            in_shape,
            out_channels,
            kernel_start=self.kernel_start or 0,
            kernel=self.kernel_size or 0,
            layer_scale=self.family.endswith("_scaled"),
            **attrs,
        )

    def _squeeze(self, in_channels: int, hidden: int) -> dict[str, Attr]:
        if self.se == "hidden":
            return {"se_width": make_divisible(hidden // 4), "se_gate": "hsigmoid"}
        if self.se == "input":
            return {"se_width": max(1, in_channels // 4), "se_gate": "sigmoid", "se_act": "swish"}
        return {}


HEAD_KINDS: Mapping[str, Mapping[str, Attr]] = {
    "conv_relu6": {"hidden": 1280, "act": "relu6"},
    "conv_relu": {"hidden": 1280, "act": "relu"},
    "conv_swish": {"hidden": 1280, "act": "swish"},
    "features1024_hswish": {"features": 1024, "act": "hswish"},
    "features1280_hswish": {"features": 1280, "act": "hswish"},
    "normed1280_relu": {"hidden": 960, "features": 1280, "features_norm": True, "act": "relu"},
}
"""Attributes of each kind of head: of MobileNetV2, MnasNet, EfficientNet, V3-Small, V3-Large, V4.

Where ``hidden`` is not given it is six times the last block's channels, as in MobileNetV3.
"""


def head_op(kind: str, in_shape: Shape, num_classes: int) -> OpSpec:
    """Return the head of this kind on ``in_shape``."""
    return OpSpec.make(
        "head", in_shape, num_classes, **{"hidden": 6 * in_shape[0], **HEAD_KINDS[kind]}
    )
