"""Spaces by name: ``NAME[:key=value,...]`` for the built-in ones, a path for a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import InputError
from hwnas.ops import make_divisible
from hwnas.protocols import SearchSpace
from hwnas.space.cells.darts import Darts
from hwnas.space.cells.nasbench201 import NasBench201
from hwnas.space.chain import Block, ChainSpace, Head, Identity, LayerOption, Stage
from hwnas.space.custom import load_chain_space
from hwnas.space.elastic import ElasticSpace, ofa_mbv3
from hwnas.space.mobile.space import mobile

Params = Mapping[str, int | float]


@dataclass(frozen=True)
class Entry:
    """A built-in space: its parameters with their defaults, how to make it, where it is from."""

    defaults: Params
    make: Callable[[str, Params], SearchSpace]
    summary: str


def _tiny(name: str, params: Params) -> ChainSpace:
    options: dict[str, LayerOption] = {
        "identity": Identity(),
        "mb3_k3": Block(3, 3, "relu"),
        "mb3_k5": Block(5, 3, "relu"),
        "mb6_k3": Block(3, 6, "relu"),
    }
    stem = int(params["stem_channels"])
    plan = ((2, 2), (2, 1), (4, 2), (4, 1), (8, 2))  # width over the stem's, stride
    return ChainSpace(
        name=name,
        input_size=int(params["input_size"]),
        num_classes=int(params["num_classes"]),
        stem_width=stem,
        stem_stride=1,
        stem_act="relu",
        stages=tuple(Stage(m * stem, 1, stride, tuple(options)) for m, stride in plan),
        options=options,
        head=Head(hidden=16 * stem, act="relu"),
    )


def _macro_cifar(name: str, params: Params) -> ChainSpace:
    options: dict[str, LayerOption] = {
        "identity": Identity(),
        "mb3_k3": Block(3, 3, "relu"),
        "mb6_k5": Block(5, 6, "relu"),
    }
    stem = int(params["stem_channels"])
    plan = ((2, 2), (4, 3), (8, 3))  # width over the stem's, layers
    return ChainSpace(
        name=name,
        input_size=int(params["input_size"]),
        num_classes=int(params["num_classes"]),
        stem_width=stem,
        stem_stride=1,
        stem_act="relu",
        stages=tuple(Stage(m * stem, layers, 2, tuple(options)) for m, layers in plan),
        options=options,
        head=Head(hidden=40 * stem, act="relu"),
    )


def _proxyless(name: str, params: Params) -> ChainSpace:
    options: dict[str, LayerOption] = {
        f"k{kernel}_e{expand}": Block(kernel, expand) for kernel in (3, 5, 7) for expand in (3, 6)
    }
    blocks = tuple(options)
    options["skip"] = Identity()
    width_mult = float(params["width_mult"])
    plan = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))
    first = Stage(make_divisible(16 * width_mult), 1, 1, fixed=Block(3, 1))
    searched = tuple(
        Stage(make_divisible(width * width_mult), layers, stride, blocks, ("skip",))
        for width, layers, stride in plan
    )
    return ChainSpace(
        name=name,
        input_size=int(params["input_size"]),
        num_classes=int(params["num_classes"]),
        stem_width=make_divisible(32 * width_mult),
        stem_stride=2,
        stages=(first, *searched),
        options=options,
        head=Head(hidden=make_divisible(1280 * max(1.0, width_mult))),
        layer_name="block",
    )


def _ofa_mbv3(name: str, params: Params) -> ElasticSpace:
    return ofa_mbv3(name, float(params["width_mult"]), int(params["num_classes"]))


def _fbnet(name: str, params: Params) -> ChainSpace:
    """Make FBNet's space (Wu et al., CVPR 2019, Tables 1 and 2).

    The width of the last convolution, 1984, is that of timm's fbnetc_100 and of HW-NAS-Bench.
    """
    return _fbnet_plan(name, params, stem_stride=2, second_stride=2, hidden=1984)


def _fbnet_cifar(name: str, params: Params) -> ChainSpace:
    """Make the variant for 32 px images of HW-NAS-Bench (Li et al., ICLR 2021).

    Stem and second stage keep the size, and the last convolution has 1504 channels.
    """
    return _fbnet_plan(name, params, stem_stride=1, second_stride=1, hidden=1504)


def _fbnet_plan(
    name: str, params: Params, *, stem_stride: int, second_stride: int, hidden: int
) -> ChainSpace:
    """Make a space of FBNet's blocks.

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
    width_mult = float(params["width_mult"])
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
        input_size=int(params["input_size"]),
        num_classes=int(params["num_classes"]),
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


def _darts(name: str, params: Params) -> Darts:
    return Darts(name, **{key: int(value) for key, value in params.items()})


def _nasbench201(name: str, params: Params) -> NasBench201:
    return NasBench201(name, **{key: int(value) for key, value in params.items()})


def _mobile(name: str, params: Params) -> SearchSpace:
    return mobile(name, int(params["input_size"]), int(params["num_classes"]))


CATALOGUE: Mapping[str, Entry] = {
    "tiny": Entry(
        {"input_size": 32, "num_classes": 10, "stem_channels": 8},
        _tiny,
        "5 layers at 32 px: small enough to enumerate, real enough to train",
    ),
    "macro-cifar": Entry(
        {"input_size": 32, "num_classes": 10, "stem_channels": 32},
        _macro_cifar,
        "8 layers of MobileNetV2 blocks for 32 px images",
    ),
    "proxyless": Entry(
        {"input_size": 224, "num_classes": 1000, "width_mult": 1.0},
        _proxyless,
        "21 blocks, kernel 3/5/7 x expansion 3/6 or skip (ProxylessNAS, ICLR 2019)",
    ),
    "ofa-mbv3": Entry(
        {"num_classes": 1000, "width_mult": 1.0},
        _ofa_mbv3,
        "resolution 128..224, 5 stages of 2 to 4 blocks, kernel 3/5/7 x expansion 3/4/6 "
        "(Once-for-All, ICLR 2020)",
    ),
    "fbnet": Entry(
        {"input_size": 224, "num_classes": 1000, "width_mult": 1.0},
        _fbnet,
        "22 layers, kernel 3/5 x expansion 1/3/6, grouped, or skip (FBNet, CVPR 2019)",
    ),
    "fbnet-cifar": Entry(
        {"input_size": 32, "num_classes": 100, "width_mult": 1.0},
        _fbnet_cifar,
        "FBNet's 22 layers for 32 px images (HW-NAS-Bench, ICLR 2021)",
    ),
    "darts": Entry(
        {"cells": 20, "channels": 36, "input_size": 32, "num_classes": 10},
        _darts,
        "a normal and a reduction cell of 4 nodes, 7 operations (DARTS, ICLR 2019)",
    ),
    "nasbench201": Entry(
        {"cells": 5, "channels": 16, "input_size": 32, "num_classes": 10},
        _nasbench201,
        "a cell of 4 nodes and 6 edges, 3 stages of it (NAS-Bench-201, ICLR 2020)",
    ),
    "mobile": Entry(
        {"input_size": 224, "num_classes": 1000},
        _mobile,
        "7 stages of blocks of several families, in which MobileNetV2 to V4, MnasNet and "
        "EfficientNet are codes",
    ),
}

FILE_ENDINGS = (".yaml", ".yml")
# what may replace a space file's own numbers; the values here only give the type
FILE_PARAMS: Params = {"input_size": 224, "num_classes": 1000}

LIMITS_OF_PARAMS: Mapping[str, tuple[float, float]] = {
    "cells": (1, 100),
    "channels": (1, 512),
    "input_size": (8, 1024),
    "num_classes": (2, 100_000),
    "stem_channels": (1, 512),
    "width_mult": (0.1, 4.0),
}


def load_space(name: str) -> SearchSpace:
    """Return the space called ``name``: ``proxyless``, ``tiny:num_classes=5``, ``my_space.yaml``.

    Raises:
        InputError: unknown space or parameter, or a value out of range; lists what is known.
    """
    base, text = _split(name)
    if base.endswith(FILE_ENDINGS):
        sizes = _parse_params(name, FILE_PARAMS, text)
        return load_chain_space(Path(base), **{k: int(v) for k, v in sizes.items()})
    entry = _entry(name, base)
    params = {**entry.defaults, **_parse_params(name, entry.defaults, text)}
    return entry.make(canonical_name(base, params), params)


def _entry(name: str, base: str) -> Entry:
    """Return the built-in space called ``base``; InputError if there is none."""
    if base not in CATALOGUE:
        raise InputError(
            f"space {name[:80]!r}",
            [f"there is no space {base[:80]!r}; built in: {', '.join(CATALOGUE)}"],
            "choose one of these, or give the path of a space file ending in .yaml",
        )
    return CATALOGUE[base]


def _split(name: str) -> tuple[str, str]:
    """Split a space's name at the colon before its parameters (a path may hold a colon)."""
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "=" in tail else (name, "")


def canonical_name(base: str, params: Params) -> str:
    """Return ``base:key=value,...`` with sorted keys and without the defaults."""
    defaults = CATALOGUE[base].defaults
    differing = [f"{key}={params[key]}" for key in sorted(params) if params[key] != defaults[key]]
    return f"{base}:{','.join(differing)}" if differing else base


def with_params(name: str, **params: int) -> str:
    """Return the name of the same space with these parameters set (``num_classes=5``).

    Raises:
        InputError: the space has no such parameter.
    """
    base, text = _split(name)
    if base.endswith(FILE_ENDINGS):
        merged = {**_parse_params(name, FILE_PARAMS, text), **params}
        return f"{base}:{','.join(f'{key}={merged[key]}' for key in sorted(merged))}"
    defaults = _entry(name, base).defaults
    unknown = sorted(set(params) - set(defaults))
    if unknown:
        allowed = ", ".join(f"{key}={value}" for key, value in defaults.items())
        raise InputError(
            f"space {name!r}",
            [f"{key!r} is not one of its parameters; they are {allowed}" for key in unknown],
        )
    return canonical_name(base, {**defaults, **_parse_params(name, defaults, text), **params})


def _parse_params(name: str, defaults: Params, text: str) -> dict[str, int | float]:
    problems: list[str] = []
    params: dict[str, int | float] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if key not in defaults or not equals:
            allowed = ", ".join(f"{k}={v}" for k, v in defaults.items())
            problems.append(f"{part!r} is not one of its parameters; they are {allowed}")
            continue
        try:
            number = type(defaults[key])(value)
        except ValueError:
            problems.append(f"{key} must be a number, got {value!r}")
            continue
        low, high = LIMITS_OF_PARAMS[key]
        if key in params:
            problems.append(f"{key} is given twice")
        elif not low <= number <= high:
            problems.append(f"{key} must be between {low:g} and {high:g}, got {value}")
        params[key] = number
    if problems:
        raise InputError(f"space {name!r}", problems)
    return params
