"""Weights published for torchvision's and timm's models, read into networks of ``build_layers``.

A model of another library is mapped part by part: every operation is split into named parts
(expansion, its norm, depthwise convolution, ...) with their places in our modules, and a
:class:`Naming` says what the other library calls each part. A published file of another library
that builds the same chains needs one more row in ``REFERENCES``.

Where a model was trained with another epsilon of batch normalisation than ours, the difference is
added to the running variances: ``(x - mean) / sqrt(var + eps)`` is the same function then, and it
stays so in every file the network is saved to, which an epsilon on the module would not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas.errors import InputError
from hwnas.nn.build import build_layers
from hwnas.ops import OpSpec
from hwnas.space.zoo.chain import fbnet_c
from hwnas.space.zoo.layers import KNOWN, KnownNetwork

OUR_EPS = 1e-5  # torch's default, which every module here has

Part = tuple[str, str]  # its role in an operation, its module's name in our network
CONV, NORM = ".conv", ".norm"


def _conv(role: str, place: str) -> list[Part]:
    return [(role + CONV, f"{place}.0"), (role + NORM, f"{place}.1")]


def _mbconv(op: OpSpec) -> list[Part]:
    wanted = ["expand"] * op["expand"] + ["depthwise"] + ["squeeze"] * bool(op["se_width"])
    parts: list[Part] = []
    for index, role in enumerate([*wanted, "project"]):
        if role == "squeeze":
            parts += [
                ("squeeze.reduce", f"body.{index}.reduce"),
                ("squeeze.expand", f"body.{index}.expand"),
            ]
        else:
            parts += _conv(role, f"body.{index}")
    return parts


def _uib(op: OpSpec) -> list[Part]:
    return [
        *(_conv("start", "start") if op["kernel_start"] else []),
        *_conv("expand", "expand"),
        *(_conv("depthwise", "middle") if op["kernel"] else []),
        *_conv("project", "project"),
        *([("scale", "scale")] if op["layer_scale"] else []),
    ]


def _mqa(op: OpSpec) -> list[Part]:
    parts = [("norm", "norm"), ("query", "query")]
    for role in ("key", "value"):
        if op["kv_stride"] > 1:
            parts += _conv(f"{role}.down", f"{role}.0")
        parts.append((role, f"{role}.{int(op['kv_stride'] > 1)}"))
    return [*parts, ("project", "project"), *([("scale", "scale")] if op["layer_scale"] else [])]


def _head(op: OpSpec) -> list[Part]:
    parts = _conv("hidden", "conv") if op["hidden"] else []
    if op["features_norm"]:
        parts += _conv("features", "features")
    elif op["features"]:
        parts.append(("features", "classifier.0"))
    is_linear = op["features"] and not op["features_norm"]
    last = (2 if op["act"] != "none" else 1) if is_linear else 0
    return [*parts, ("classifier", f"classifier.{last}")]


PARTS: Mapping[str, Callable[[OpSpec], list[Part]]] = {
    "conv": lambda op: [("conv", "0"), ("norm", "1")],
    "mbconv": _mbconv,
    "fused_mbconv": lambda op: [*_conv("expand", "expand"), *_conv("project", "project")],
    "uib": _uib,
    "mqa": _mqa,
    "head": _head,
}
"""The parts with weights of each kind of operation, in order of execution."""

Naming = Callable[[Sequence[OpSpec], Sequence[int]], Iterator[Mapping[str, str]]]
"""From a network's operations and the blocks of each stage: its parts' names, per operation."""


def _places(stages: Sequence[int]) -> list[tuple[int, int]]:
    return [(stage, block) for stage, size in enumerate(stages) for block in range(size)]


def _torchvision_v2(layers: Sequence[OpSpec], stages: Sequence[int]) -> Iterator[Mapping[str, str]]:
    yield {"conv": "features.0.0", "norm": "features.0.1"}
    for number, op in enumerate(layers[1:-1], start=1):
        names: dict[str, str] = {}
        depthwise = int(op["expand"])
        for index, role in enumerate(["expand"] * op["expand"] + ["depthwise"]):
            names |= dict(_conv(role, f"features.{number}.conv.{index}"))
        yield names | {
            "project.conv": f"features.{number}.conv.{depthwise + 1}",
            "project.norm": f"features.{number}.conv.{depthwise + 2}",
        }
    yield dict(_conv("hidden", f"features.{len(layers) - 1}")) | {"classifier": "classifier.1"}


def _block_parts(op: OpSpec, prefix: str) -> dict[str, str]:
    """Return the names in a torchvision block, whose parts are numbered in order."""
    ending = {"reduce": "fc1", "expand": "fc2"}
    names = {}
    for role, place in _mbconv(op):
        _, index, last = place.split(".")
        names[role] = f"{prefix}.{index}.{ending.get(last, last)}"
    return names


def _torchvision_v3(layers: Sequence[OpSpec], stages: Sequence[int]) -> Iterator[Mapping[str, str]]:
    yield {"conv": "features.0.0", "norm": "features.0.1"}
    for number, op in enumerate(layers[1:-1], start=1):
        yield _block_parts(op, f"features.{number}.block")
    yield dict(_conv("hidden", f"features.{len(layers) - 1}")) | {
        "features": "classifier.0",
        "classifier": "classifier.3",
    }


def _torchvision_efficientnet(
    layers: Sequence[OpSpec], stages: Sequence[int]
) -> Iterator[Mapping[str, str]]:
    yield {"conv": "features.0.0", "norm": "features.0.1"}
    for op, (stage, block) in zip(layers[1:-1], _places(stages), strict=True):
        yield _block_parts(op, f"features.{stage + 1}.{block}.block")
    yield dict(_conv("hidden", f"features.{len(stages) + 1}")) | {"classifier": "classifier.1"}


def _torchvision_mnasnet(
    layers: Sequence[OpSpec], stages: Sequence[int]
) -> Iterator[Mapping[str, str]]:
    def pairs(prefix: str, first: int, roles: Sequence[str]) -> dict[str, str]:
        # convolution, norm, activation, each a module of one flat sequence
        return {
            role + part: f"{prefix}.{first + 3 * place + offset}"
            for place, role in enumerate(roles)
            for offset, part in enumerate((CONV, NORM))
        }

    yield {"conv": "layers.0", "norm": "layers.1"}
    yield pairs("layers", 3, ("depthwise", "project"))
    for stage, block in _places(stages):
        yield pairs(f"layers.{stage + 8}.{block}.layers", 0, ("expand", "depthwise", "project"))
    yield pairs("layers", len(stages) + 8, ("hidden",)) | {"classifier": "classifier.1"}


def _timm(layers: Sequence[OpSpec], stages: Sequence[int]) -> Iterator[Mapping[str, str]]:
    yield {"conv": "conv_stem", "norm": "bn1"}
    is_v4 = layers[-1]["features_norm"]
    for op, (stage, block) in zip(layers[1:-1], _places(stages), strict=True):
        prefix = f"blocks.{stage}.{block}"
        if op.kind == "fused_mbconv" and op["project_act"]:
            # two plain convolutions in timm, blocks 0 and 1 of the stage
            yield {
                f"{role}{ours}": f"blocks.{stage}.{index}.{theirs}"
                for index, role in enumerate(("expand", "project"))
                for ours, theirs in ((CONV, "conv"), (NORM, "bn1"))
            }
        else:
            kind = "uib" if is_v4 and op.kind == "mbconv" else op.kind
            yield {role: f"{prefix}.{name}" for role, name in TIMM_BLOCKS[kind](op).items()}
    if is_v4:
        yield {
            "hidden.conv": f"blocks.{len(stages)}.0.conv",
            "hidden.norm": f"blocks.{len(stages)}.0.bn1",
            "features.conv": "conv_head",
            "features.norm": "norm_head",
            "classifier": "classifier",
        }
    else:
        yield {"hidden.conv": "conv_head", "hidden.norm": "bn2", "classifier": "classifier"}


def _timm_mbconv(op: OpSpec) -> dict[str, str]:
    squeeze = {"squeeze.reduce": "se.conv_reduce", "squeeze.expand": "se.conv_expand"}
    if not op["expand"]:
        return {
            "depthwise.conv": "conv_dw",
            "depthwise.norm": "bn1",
            "project.conv": "conv_pw",
            "project.norm": "bn2",
            **squeeze,
        }
    return {
        "expand.conv": "conv_pw",
        "expand.norm": "bn1",
        "depthwise.conv": "conv_dw",
        "depthwise.norm": "bn2",
        "project.conv": "conv_pwl",
        "project.norm": "bn3",
        **squeeze,
    }


def _timm_uib(op: OpSpec) -> dict[str, str]:
    """Name a universal bottleneck's parts; an mbconv is one of these in MobileNetV4."""
    theirs = {"start": "dw_start", "expand": "pw_exp", "depthwise": "dw_mid", "project": "pw_proj"}
    return {"scale": "layer_scale.gamma"} | {
        role + part: f"{name}.{end}"
        for role, name in theirs.items()
        for part, end in ((CONV, "conv"), (NORM, "bn"))
    }


def _timm_mqa(op: OpSpec) -> dict[str, str]:
    names = {
        "norm": "norm",
        "query": "attn.query.proj",
        "project": "attn.output.proj",
        "scale": "layer_scale.gamma",
    }
    for role in ("key", "value"):
        names |= {
            role: f"attn.{role}.proj",
            f"{role}.down.conv": f"attn.{role}.down_conv",
            f"{role}.down.norm": f"attn.{role}.norm",
        }
    return names


TIMM_BLOCKS: Mapping[str, Callable[[OpSpec], dict[str, str]]] = {
    "conv": lambda op: {"conv": "conv", "norm": "bn1"},
    "mbconv": _timm_mbconv,
    "fused_mbconv": lambda op: {
        "expand.conv": "conv_exp",
        "expand.norm": "bn1",
        "project.conv": "conv_pwl",
        "project.norm": "bn2",
    },
    "uib": _timm_uib,
    "mqa": _timm_mqa,
}
"""What timm's blocks call their parts, in the way of ``PARTS``."""


@dataclass(frozen=True)
class Reference:
    """A published model: its operations, how its library names them, blocks of each stage.

    ``eps`` is the epsilon of its batch norms.
    """

    layers: KnownNetwork
    naming: Naming
    stages: tuple[int, ...] = ()
    eps: float = OUR_EPS


REFERENCES: Mapping[str, Reference] = {
    "mobilenet_v2": Reference(KNOWN["mobilenet_v2"], _torchvision_v2),
    "mobilenet_v3_small": Reference(KNOWN["mobilenet_v3_small"], _torchvision_v3, eps=1e-3),
    "mobilenet_v3_large": Reference(KNOWN["mobilenet_v3_large"], _torchvision_v3, eps=1e-3),
    "mnasnet1_0": Reference(KNOWN["mnasnet1_0"], _torchvision_mnasnet, (3, 3, 3, 2, 4, 1)),
    "efficientnet_b0": Reference(
        KNOWN["efficientnet_b0"], _torchvision_efficientnet, (1, 2, 2, 3, 3, 4, 1)
    ),
    "mobilenetv4_conv_small": Reference(KNOWN["mobilenetv4_conv_small"], _timm, (1, 1, 6, 6)),
    "mobilenetv4_hybrid_medium": Reference(
        KNOWN["mobilenetv4_hybrid_medium"], _timm, (1, 2, 12, 16)
    ),
    "fbnetc_100": Reference(fbnet_c, _timm, (1, 3, 4, 4, 4, 4, 1)),
}
"""Published models by the names their libraries give them."""


def key_names(name: str) -> dict[str, str]:
    """Return the published model's state-dict key of each of our network's keys.

    Keys of batch-norm counters are not among them: nothing depends on them.

    Raises:
        InputError: no such model; lists those there are.
    """
    if name not in REFERENCES:
        raise InputError(
            f"published weights of {name!r}",
            [f"no such model is known; known: {', '.join(REFERENCES)}"],
        )
    reference = REFERENCES[name]
    layers, names = reference.layers(), {}
    for number, (op, theirs) in enumerate(
        zip(layers, reference.naming(layers, reference.stages), strict=True)
    ):
        for role, place in PARTS[op.kind](op):
            for ending in _endings(op, role):
                names[f"{number}.{place}{ending}"] = f"{theirs[role]}{ending}"
    return names


def _endings(op: OpSpec, role: str) -> tuple[str, ...]:
    if role == "scale":
        return ("",)
    if role == "norm" or role.endswith(NORM):
        return ".weight", ".bias", ".running_mean", ".running_var"
    has_bias = role in ("classifier", "squeeze.reduce", "squeeze.expand") or (
        role == "features" and op["features_bias"]
    )
    return (".weight", ".bias") if has_bias else (".weight",)


def renamed(name: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a published model under our network's keys.

    Raises:
        InputError: unknown model, or keys that are missing or unexpected; lists all of them.
    """
    names = key_names(name)
    theirs = {
        key: value for key, value in state_dict.items() if not key.endswith(".num_batches_tracked")
    }
    problems = [f"{key}: missing" for key in names.values() if key not in theirs]
    problems += [f"{key}: unexpected" for key in sorted(set(theirs) - set(names.values()))]
    if problems:
        raise InputError(
            f"weights of {name}",
            problems,
            f"give the state dict of this model; known models: {', '.join(REFERENCES)}",
        )
    shift = REFERENCES[name].eps - OUR_EPS
    return {
        ours: theirs[key] + shift if ours.endswith(".running_var") and shift else theirs[key]
        for ours, key in names.items()
    }


def load_reference(network: nn.Module, name: str, state_dict: Mapping[str, Tensor]) -> None:
    """Copy a published model's weights into ``network``, of the same operations, in place.

    Layer scales, which are vectors elsewhere, are (C, 1, 1) here. Outputs in evaluation are those
    of the published model.

    Raises:
        InputError: unknown model; missing or unexpected keys; shapes that differ, or a network of
            other operations. All are listed, and the network is left as it was.
    """
    tensors = renamed(name, state_dict)
    own = {
        key: value
        for key, value in network.state_dict().items()
        if not key.endswith(".num_batches_tracked")
    }
    problems = [f"{key}: not among the weights of {name}" for key in own if key not in tensors]
    problems += [f"{key}: not in the network" for key in tensors if key not in own]
    problems += [
        f"{key}: the network has {tuple(own[key].shape)}, the weights {tuple(value.shape)}"
        for key, value in tensors.items()
        if key in own and not _fits(key, own[key], value)
    ]
    if problems:
        raise InputError(
            f"weights of {name}",
            problems,
            f"build the network with the classes and the width of the weights, as "
            f"{name} of hwnas.space.zoo.layers does",
        )
    with torch.no_grad():
        for key, value in tensors.items():
            own[key].copy_(value.reshape(own[key].shape))


def reference_network(
    name: str, state_dict: Mapping[str, Tensor]
) -> tuple[tuple[OpSpec, ...], nn.Module]:
    """Return a published model's operations and its network with these weights.

    It has as many classes as the weights have.

    Raises:
        InputError: as :func:`load_reference`.
    """
    *_, bias = key_names(name).values()  # the classifier's is the last
    given = state_dict.get(bias)
    classes = len(given) if given is not None and given.ndim == 1 and len(given) > 1 else 1000
    layers = REFERENCES[name].layers(num_classes=classes)
    network = build_layers(layers)
    load_reference(network, name, state_dict)
    return layers, network


def _fits(key: str, own: Tensor, value: Tensor) -> bool:
    """Say whether shapes agree; a layer scale may be a vector."""
    return own.shape == value.shape or (key.endswith(".scale") and own.shape[:1] == value.shape)
