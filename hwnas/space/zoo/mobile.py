"""Published networks as architectures of space ``mobile``; their operations are in ``known.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from hwnas.arch import Option
from hwnas.space.mobile.blocks import BLOCK_CHOICES, EXISTING
from hwnas.space.mobile.stages import STAGES


@dataclass(frozen=True)
class _Blocks:
    """``repeats`` blocks with these options; a choice that the family lacks is not used."""

    family: str
    hidden: str = ""
    kernel_size: int = 3
    kernel_start: int = 3
    se: str = "none"
    act: str = "relu"
    repeats: int = 1


@dataclass(frozen=True)
class _Network:
    """``stages`` are (width, blocks); None where a stage is absent."""

    stem_width: int
    stem_act: str
    stages: Sequence[tuple[int, tuple[_Blocks, ...]] | None]
    head: str

    def choices(self) -> Mapping[str, Option]:
        """Return the network's choices."""
        return MappingProxyType(dict(self._choices()))

    def _choices(self) -> Iterator[tuple[str, Option]]:
        yield "stem.width", self.stem_width
        yield "stem.act", self.stem_act
        for number, (stage, offered) in enumerate(zip(self.stages, STAGES, strict=True), start=1):
            if stage is None:
                yield f"stage{number}.depth", 0
                continue
            width, blocks = stage
            each = [block for block in blocks for _ in range(block.repeats)]
            yield f"stage{number}.depth", len(each)
            yield f"stage{number}.width", width
            yield f"stage{number}.stride", offered.stride
            for place, block in enumerate(each, start=1):
                has = (True, *EXISTING[block.family])
                for name, there in zip(BLOCK_CHOICES, has, strict=True):
                    if there:
                        yield f"stage{number}.block{place}.{name}", getattr(block, name)
        yield "head.kind", self.head


def _v2(hidden: str, repeats: int = 1) -> tuple[_Blocks, ...]:
    return (_Blocks("mbconv", hidden, act="relu6", repeats=repeats),)


def _mnas(hidden: str, kernel: int, repeats: int = 1) -> tuple[_Blocks, ...]:
    return (_Blocks("mbconv", hidden, kernel, repeats=repeats),)


def _efficient(hidden: str, kernel: int, repeats: int = 1) -> tuple[_Blocks, ...]:
    return (_Blocks("mbconv", hidden, kernel, se="input", act="swish", repeats=repeats),)


def _v3(hidden: str, kernel: int, se: str, act: str, repeats: int = 1) -> _Blocks:
    return _Blocks("mbconv", hidden, kernel, se=se, act=act, repeats=repeats)


_ATTENTION = _Blocks("mqa")

_NETWORKS: Mapping[str, _Network] = {
    "mobilenet_v2": _Network(
        32,
        "relu6",
        (
            (16, _v2("1")),
            (24, _v2("6", 2)),
            (32, _v2("6", 3)),
            (64, _v2("6", 4)),
            (96, _v2("6", 3)),
            (160, _v2("6", 3)),
            (320, _v2("6")),
        ),
        "conv_relu6",
    ),
    "mobilenet_v3_small": _Network(
        16,
        "hswish",
        (
            None,
            (16, (_v3("1", 3, "hidden", "relu"),)),
            (24, (_v3("4.5", 3, "none", "relu"), _v3("3.67", 3, "none", "relu"))),
            (40, (_v3("4", 5, "hidden", "hswish"), _v3("6", 5, "hidden", "hswish", 2))),
            (48, (_v3("3", 5, "hidden", "hswish", 2),)),
            (96, (_v3("6", 5, "hidden", "hswish", 3),)),
            None,
        ),
        "features1024_hswish",
    ),
    "mobilenet_v3_large": _Network(
        16,
        "hswish",
        (
            (16, (_v3("1", 3, "none", "relu"),)),
            (24, (_v3("4", 3, "none", "relu"), _v3("3", 3, "none", "relu"))),
            (40, (_v3("3", 5, "hidden", "relu", 3),)),
            (
                80,
                (
                    _v3("6", 3, "none", "hswish"),
                    _v3("2.5", 3, "none", "hswish"),
                    _v3("2.3", 3, "none", "hswish", 2),
                ),
            ),
            (112, (_v3("6", 3, "hidden", "hswish", 2),)),
            (160, (_v3("6", 5, "hidden", "hswish", 3),)),
            None,
        ),
        "features1280_hswish",
    ),
    "mnasnet1_0": _Network(
        32,
        "relu",
        (
            (16, _mnas("1", 3)),
            (24, _mnas("3", 3, 3)),
            (40, _mnas("3", 5, 3)),
            (80, _mnas("6", 5, 3)),
            (96, _mnas("6", 3, 2)),
            (192, _mnas("6", 5, 4)),
            (320, _mnas("6", 3)),
        ),
        "conv_relu",
    ),
    "efficientnet_b0": _Network(
        32,
        "swish",
        (
            (16, _efficient("1", 3)),
            (24, _efficient("6", 3, 2)),
            (40, _efficient("6", 5, 2)),
            (80, _efficient("6", 3, 3)),
            (112, _efficient("6", 5, 3)),
            (192, _efficient("6", 5, 4)),
            (320, _efficient("6", 3)),
        ),
        "conv_swish",
    ),
    "mobilenetv4_conv_small": _Network(
        32,
        "relu",
        (
            None,
            (32, (_Blocks("fused_mbconv_act", "1"),)),
            (64, (_Blocks("fused_mbconv_act", "3"),)),
            (
                96,
                (
                    _Blocks("extradw", "3", 5, 5),
                    _Blocks("mbconv", "2", 3, repeats=4),
                    _Blocks("convnext", "4"),
                ),
            ),
            None,
            (
                128,
                (
                    _Blocks("extradw", "6"),
                    _Blocks("extradw", "4", 5, 5),
                    _Blocks("mbconv", "4", 5),
                    _Blocks("mbconv", "3", 5),
                    _Blocks("mbconv", "4", 3, repeats=2),
                ),
            ),
            None,
        ),
        "normed1280_relu",
    ),
    "mobilenetv4_hybrid_medium": _Network(
        32,
        "relu",
        (
            None,
            (48, (_Blocks("fused_mbconv", "4"),)),
            (80, (_Blocks("extradw_scaled", "4", 5), _Blocks("extradw_scaled", "2"))),
            (
                160,
                (
                    _Blocks("extradw_scaled", "6", 5),
                    _Blocks("ffn_scaled", "2"),
                    _Blocks("extradw_scaled", "4"),
                    _Blocks("extradw_scaled", "4", 5),
                    *(_ATTENTION, _Blocks("extradw_scaled", "4")),
                    *(_ATTENTION, _Blocks("convnext_scaled", "4")),
                    *(_ATTENTION, _Blocks("extradw_scaled", "4")),
                    *(_ATTENTION, _Blocks("convnext_scaled", "4")),
                ),
            ),
            None,
            (
                256,
                (
                    _Blocks("extradw_scaled", "6", 5, 5),
                    _Blocks("extradw_scaled", "4", 5, 5),
                    _Blocks("extradw_scaled", "4", 5, repeats=2),
                    _Blocks("ffn_scaled", "2"),
                    _Blocks("extradw_scaled", "2", 5),
                    _Blocks("ffn_scaled", "2"),
                    _Blocks("ffn_scaled", "4"),
                    *(_ATTENTION, _Blocks("convnext_scaled", "4")),
                    *(_ATTENTION, _Blocks("extradw_scaled", "4", 5, 5)),
                    *(_ATTENTION, _Blocks("convnext_scaled", "4", kernel_start=5)),
                    *(_ATTENTION, _Blocks("convnext_scaled", "4", kernel_start=5)),
                ),
            ),
            None,
        ),
        "normed1280_relu",
    ),
}

MOBILE_ARCHS: Mapping[str, Mapping[str, Mapping[str, Option]]] = {
    "mobile": {name: network.choices() for name, network in _NETWORKS.items()}
}
"""Base name of the space -> name of a network -> its choices."""
