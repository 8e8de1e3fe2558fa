"""Modules of the operations in ``hwnas.ops.mobile``."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.nn.layers import SqueezeExcite, conv_bn_act
from hwnas.ops import OpSpec

LAYER_SCALE_INIT = 1e-5  # Touvron et al., ICCV 2021, "CaiT", §2; MobileNetV4's value as well


def _layer_scale(channels: int, is_wanted: bool) -> nn.Parameter | None:
    return nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE_INIT)) if is_wanted else None


class FusedMBConv(nn.Module):
    """Fused inverted residual block (Tan and Le, ICML 2021, Fig. 2): expand, project."""

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        self.expand = conv_bn_act(
            spec.in_shape[0], spec["hidden"], spec["kernel"], spec["stride"], 1, spec["act"]
        )
        self.project = conv_bn_act(
            spec["hidden"],
            spec.out_channels,
            1,
            1,
            1,
            spec["act"] if spec["project_act"] else "none",
        )
        self.residual: bool = spec["residual"]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        out: Tensor = self.project(self.expand(x))
        return x + out if self.residual else out


class UIB(nn.Module):
    """Universal inverted bottleneck (Qin et al., ECCV 2024, §3).

    Depthwise (optional, linear), expand, depthwise (optional), project, layer scale (optional).
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        channels, hidden = spec.in_shape[0], spec["hidden"]
        start, middle, stride = spec["kernel_start"], spec["kernel"], spec["stride"]
        self.start: nn.Module = nn.Identity()
        if start:
            start_stride = 1 if middle else stride
            self.start = conv_bn_act(channels, channels, start, start_stride, channels, "none")
        self.expand = conv_bn_act(channels, hidden, 1, 1, 1, spec["act"])
        self.middle: nn.Module = nn.Identity()
        if middle:
            self.middle = conv_bn_act(hidden, hidden, middle, stride, hidden, spec["act"])
        self.project = conv_bn_act(hidden, spec.out_channels, 1, 1, 1, "none")
        self.scale = _layer_scale(spec.out_channels, spec["layer_scale"])
        self.residual: bool = spec["residual"]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        out: Tensor = self.project(self.middle(self.expand(self.start(x))))
        if self.scale is not None:
            out = out * self.scale
        return x + out if self.residual else out


class MQA(nn.Module):
    """Mobile multi-query attention (Qin et al., ECCV 2024, §4), its input added to its output.

    All heads share one key and one value per pixel, so the heads' queries are rows of one matrix.
    """

    def __init__(self, spec: OpSpec) -> None:
        super().__init__()
        channels, self.heads, self.key_dim = spec.in_shape[0], spec["heads"], spec["key_dim"]
        inner = self.heads * self.key_dim
        self.norm = nn.BatchNorm2d(channels)
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = self._pixels(channels, spec["kv_stride"])
        self.value = self._pixels(channels, spec["kv_stride"])
        self.project = nn.Conv2d(inner, channels, 1, bias=False)
        self.scale = _layer_scale(channels, spec["layer_scale"])

    def _pixels(self, channels: int, stride: int) -> nn.Sequential:
        down = [conv_bn_act(channels, channels, 3, stride, channels, "none")] if stride > 1 else []
        return nn.Sequential(*down, nn.Conv2d(channels, self.key_dim, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        normed = self.norm(x)
        query = self.query(normed) * self.key_dim**-0.5
        # (N, heads * dim, H, W) -> (N, heads * pixels, dim)
        query = query.flatten(2).unflatten(1, (self.heads, self.key_dim)).transpose(2, 3)
        query = query.flatten(1, 2)
        key, value = self.key(normed).flatten(2), self.value(normed).flatten(2)  # (N, dim, pixels)
        seen = (query @ key).softmax(-1) @ value.transpose(1, 2)
        seen = seen.unflatten(1, (self.heads, -1)).transpose(2, 3).flatten(1, 2)
        out: Tensor = self.project(seen.unflatten(2, (x.shape[2], x.shape[3])))
        if self.scale is not None:
            out = out * self.scale
        return x + out


def make_squeeze_excite(spec: OpSpec) -> nn.Module:
    """Return a block's channel attention alone."""
    return SqueezeExcite(spec.in_shape[0], spec["width"], spec["gate"], spec["act"])
