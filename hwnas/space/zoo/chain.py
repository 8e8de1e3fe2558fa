"""Published networks of the chain spaces: ProxylessNAS-Mobile and FBNet-C.

FBNet-C (Wu et al., CVPR 2019, Table 4) is a code of ``fbnet``. ProxylessNAS-Mobile (Cai et al.,
ICLR 2019, Fig. 5) is not quite one of ``proxyless``: its authors published it with a first searched
stage of 32 channels, while the space, as its published code and latency table describe it, has 24
there. So ``proxyless_mobile`` gives the published network as a chain of operations, and
``proxyless_mobile_24`` are its decisions as a code of the space, 24 channels wide in that stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from hwnas.ops import OpSpec, make_divisible
from hwnas.space.catalogue import load_space
from hwnas.space.chain import ChainSpace

PROXYLESS_MOBILE_FIRST_WIDTH = 32

# stage by stage; how the skips of a stage stand between its blocks changes nothing
_PROXYLESS_MOBILE = (
    "k5_e3 k3_e3 skip skip",
    "k7_e3 k3_e3 k5_e3 k5_e3",
    "k7_e6 k5_e3 k5_e3 k5_e3",
    "k5_e6 k5_e3 k5_e3 k5_e3",
    "k7_e6 k7_e6 k7_e3 k7_e3",
    "k7_e6",
)
_FBNET_C = (
    "k3_e1",
    "k3_e6 k3_e1 k3_e1 skip",
    "k5_e6 k5_e3 k5_e6 k3_e6",
    "k5_e6 k5_e3 k5_e6 k5_e6",
    "k5_e6 k5_e6 k5_e6 k5_e3",
    "k5_e6 k5_e6 k5_e6 k5_e6",
    "k3_e6",
)


def _choices(prefix: str, stages: tuple[str, ...]) -> Mapping[str, str]:
    options = " ".join(stages).split()
    return MappingProxyType({f"{prefix}{n}": option for n, option in enumerate(options, start=1)})


CHAIN_ARCHS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "proxyless": {"proxyless_mobile_24": _choices("block", _PROXYLESS_MOBILE)},
    "fbnet": {"fbnet_c": _choices("layer", _FBNET_C)},
}
"""Base name of a space -> name of a network -> its choices."""


def proxyless_mobile(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return ProxylessNAS-Mobile as published: 23 operations, 32 channels in its first stage.

    Raises:
        InputError: a parameter is out of the range that space ``proxyless`` allows.
    """
    params = {"width_mult": width_mult, "input_size": input_size, "num_classes": num_classes}
    space = _loaded("proxyless", params)
    first, searched, *others = space.stages
    wide = replace(searched, width=make_divisible(PROXYLESS_MOBILE_FIRST_WIDTH * width_mult))
    space = replace(space, stages=(first, wide, *others))
    return space.layers(space.arch(CHAIN_ARCHS["proxyless"]["proxyless_mobile_24"]))


def fbnet_c(
    *, width_mult: float = 1.0, input_size: int = 224, num_classes: int = 1000
) -> tuple[OpSpec, ...]:
    """Return FBNet-C: 23 operations; its parameters are those of timm's ``fbnetc_100``.

    Raises:
        InputError: a parameter is out of the range that space ``fbnet`` allows.
    """
    params = {"width_mult": width_mult, "input_size": input_size, "num_classes": num_classes}
    space = _loaded("fbnet", params)
    return space.layers(space.arch(CHAIN_ARCHS["fbnet"]["fbnet_c"]))


def _loaded(base: str, params: Mapping[str, float]) -> ChainSpace:
    spelt = ",".join(f"{key}={value}" for key, value in sorted(params.items()))
    space = load_space(f"{base}:{spelt}")
    assert isinstance(space, ChainSpace)
    return space
