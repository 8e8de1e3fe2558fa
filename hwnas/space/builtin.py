"""The spaces that come with hwnas, as entries of ``catalogue.SPACES``, and its plain chains."""

from __future__ import annotations

from dataclasses import replace

from hwnas.ops import make_divisible
from hwnas.space.catalogue import COMMON_PARAMS, Param, SpaceKind
from hwnas.space.chain import Block, ChainSpace, Head, Identity, LayerOption, Stage


def make_tiny(name: str, *, input_size: int, num_classes: int, stem_channels: int) -> ChainSpace:
    """Return a space of 5 layers that can be enumerated."""
    options: dict[str, LayerOption] = {
        "identity": Identity(),
        "mb3_k3": Block(3, 3, "relu"),
        "mb3_k5": Block(5, 3, "relu"),
        "mb6_k3": Block(3, 6, "relu"),
    }
    plan = ((2, 2), (2, 1), (4, 2), (4, 1), (8, 2))  # width over the stem's, stride
    return ChainSpace(
        name=name,
        input_size=input_size,
        num_classes=num_classes,
        stem_width=stem_channels,
        stem_stride=1,
        stem_act="relu",
        stages=tuple(Stage(m * stem_channels, 1, stride, tuple(options)) for m, stride in plan),
        options=options,
        head=Head(hidden=16 * stem_channels, act="relu"),
    )


def make_macro_cifar(
    name: str, *, input_size: int, num_classes: int, stem_channels: int
) -> ChainSpace:
    """Return a space of 8 layers of MobileNetV2's blocks."""
    options: dict[str, LayerOption] = {
        "identity": Identity(),
        "mb3_k3": Block(3, 3, "relu"),
        "mb6_k5": Block(5, 6, "relu"),
    }
    plan = ((2, 2), (4, 3), (8, 3))  # width over the stem's, layers
    return ChainSpace(
        name=name,
        input_size=input_size,
        num_classes=num_classes,
        stem_width=stem_channels,
        stem_stride=1,
        stem_act="relu",
        stages=tuple(Stage(m * stem_channels, layers, 2, tuple(options)) for m, layers in plan),
        options=options,
        head=Head(hidden=40 * stem_channels, act="relu"),
    )


def make_proxyless(
    name: str, *, input_size: int, num_classes: int, width_mult: float
) -> ChainSpace:
    """Return ProxylessNAS' space (Cai et al., ICLR 2019, §4.2)."""
    options: dict[str, LayerOption] = {
        f"k{kernel}_e{expand}": Block(kernel, expand) for kernel in (3, 5, 7) for expand in (3, 6)
    }
    blocks = tuple(options)
    options["skip"] = Identity()
    plan = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
    first = Stage(make_divisible(16 * width_mult), 1, 1, fixed=Block(3, 1))
    searched = tuple(
        Stage(make_divisible(width * width_mult), layers, stride, blocks, ("skip",))
        for width, layers, stride in plan
    )
    return ChainSpace(
        name=name,
        input_size=input_size,
        num_classes=num_classes,
        stem_width=make_divisible(32 * width_mult),
        stem_stride=2,
        stages=(first, *searched),
        options=options,
        head=Head(hidden=make_divisible(1280 * max(1.0, width_mult))),
        layer_name="block",
    )


def make_fbnet(name: str, *, input_size: int, num_classes: int, width_mult: float) -> ChainSpace:
    """Return FBNet's space (Wu et al., CVPR 2019, Tables 1 and 2).

    The width of the last convolution, 1984, is that of timm's fbnetc_100 and of HW-NAS-Bench.
    """
    return _fbnet_plan(
        name, input_size, num_classes, width_mult, stem_stride=2, second_stride=2, hidden=1984
    )


def make_fbnet_cifar(
    name: str, *, input_size: int, num_classes: int, width_mult: float
) -> ChainSpace:
    """Return the variant for 32 px images of HW-NAS-Bench (Li et al., ICLR 2021).

    Stem and second stage keep the size, and the last convolution has 1504 channels.
    """
    return _fbnet_plan(
        name, input_size, num_classes, width_mult, stem_stride=1, second_stride=1, hidden=1504
    )


def _fbnet_plan(
    name: str,
    input_size: int,
    num_classes: int,
    width_mult: float,
    *,
    stem_stride: int,
    second_stride: int,
    hidden: int,
) -> ChainSpace:
    """Return a space of FBNet's blocks.

    As in timm's fbnetc_100, every block has its first 1x1 convolution, expansion 1 included; as in
    HW-NAS-Bench's networks, a skip that changes the shape is a 1x1 convolution + BN + ReLU.
    """
    options: dict[str, LayerOption] = {}
    for kernel in (3, 5):
        options[f"k{kernel}_e1"] = Block(kernel, 1, "relu", expand_conv=True)
        options[f"k{kernel}_e1_g2"] = Block(kernel, 1, "relu", expand_conv=True, groups=2)
        options[f"k{kernel}_e3"] = Block(kernel, 3, "relu")
        options[f"k{kernel}_e6"] = Block(kernel, 6, "relu")
    options["skip"] = Identity("relu")
    plan = (
        (16, 1, 1),
        (24, 4, second_stride),
        (32, 4, 2),
        (64, 4, 2),
        (112, 4, 1),
        (184, 4, 2),
        (352, 1, 1),
    )
    return ChainSpace(
        name=name,
        input_size=input_size,
        num_classes=num_classes,
        stem_width=make_divisible(16 * width_mult),
        stem_stride=stem_stride,
        stem_act="relu",
        stages=tuple(
            Stage(make_divisible(width * width_mult), layers, stride, tuple(options))
            for width, layers, stride in plan
        ),
        options=options,
        head=Head(hidden=make_divisible(hidden * max(1.0, width_mult)), act="relu"),
    )


def _size(side: int, classes: int) -> dict[str, Param]:
    """Return the parameters of a space for images of this side and this number of classes."""
    return {
        key: replace(param, default=default)
        for (key, param), default in zip(COMMON_PARAMS.items(), (side, classes), strict=True)
    }


_STEM, _WIDTH = Param(8, 1, 512), Param(1.0, 0.1, 4.0)
_CELLS, _CHANNELS = Param(20, 1, 100), Param(36, 1, 512)

SPACE_KINDS = (
    SpaceKind(
        "tiny",
        "5 layers at 32 px: small enough to enumerate, real enough to train",
        params={**_size(32, 10), "stem_channels": _STEM},
        make=make_tiny,
    ),
    SpaceKind(
        "macro-cifar",
        "8 layers of MobileNetV2 blocks for 32 px images",
        params={**_size(32, 10), "stem_channels": replace(_STEM, default=32)},
        make=make_macro_cifar,
    ),
    SpaceKind(
        "proxyless",
        "21 blocks, kernel 3/5/7 x expansion 3/6 or skip (ProxylessNAS, ICLR 2019)",
        params={**_size(224, 1000), "width_mult": _WIDTH},
        make=make_proxyless,
    ),
    SpaceKind(
        "ofa-mbv3",
        "resolution 128..224, 5 stages of 2 to 4 blocks, kernel 3/5/7 x expansion 3/4/6 "
        "(Once-for-All, ICLR 2020)",
        params={
            "num_classes": COMMON_PARAMS["num_classes"],
            "width_mult": _WIDTH,
            "resolution": Param(0, 0, 224),  # 0: all of them
        },
        make="hwnas.space.elastic:ofa_mbv3",
    ),
    SpaceKind(
        "fbnet",
        "22 layers, kernel 3/5 x expansion 1/3/6, grouped, or skip (FBNet, CVPR 2019)",
        params={**_size(224, 1000), "width_mult": _WIDTH},
        make=make_fbnet,
    ),
    SpaceKind(
        "fbnet-cifar",
        "FBNet's 22 layers for 32 px images (HW-NAS-Bench, ICLR 2021)",
        params={**_size(32, 100), "width_mult": _WIDTH},
        make=make_fbnet_cifar,
    ),
    SpaceKind(
        "darts",
        "a normal and a reduction cell of 4 nodes, 7 operations (DARTS, ICLR 2019)",
        params={"cells": _CELLS, "channels": _CHANNELS, **_size(32, 10)},
        make="hwnas.space.cells.darts:Darts",
    ),
    SpaceKind(
        "nasbench201",
        "a cell of 4 nodes and 6 edges, 3 stages of it (NAS-Bench-201, ICLR 2020)",
        params={
            "cells": replace(_CELLS, default=5),
            "channels": replace(_CHANNELS, default=16),
            **_size(32, 10),
        },
        make="hwnas.space.cells.nasbench201:NasBench201",
    ),
    SpaceKind(
        "mobile",
        "7 stages of blocks of several families, in which MobileNetV2 to V4, MnasNet and "
        "EfficientNet are codes",
        params=_size(224, 1000),
        make="hwnas.space.mobile.space:mobile",
    ),
)
"""The spaces that come with hwnas."""
