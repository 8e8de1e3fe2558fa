"""Weights that somebody published, as what a run's trainings begin with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from hwnas.arch import Arch
from hwnas.artifacts.training import InitPart, SupernetStartFile
from hwnas.errors import UsageError
from hwnas.nn.elastic_supernet import ElasticSupernet
from hwnas.nn.pretrained import reference_network
from hwnas.nn.supernet import supernet_of
from hwnas.ops import OpSpec
from hwnas.pipeline.config.search import SupernetConfig
from hwnas.pipeline.context import Context
from hwnas.rng import derived_seed
from hwnas.space.catalogue import load_space, with_params
from hwnas.train.checkpoint import read_tensors, save_tensors, save_weights
from hwnas.train.ofa_weights import load_ofa_supernet, num_classes
from hwnas.train.published_supernet import begin_with

logger = logging.getLogger(__name__)

State = dict[str, Tensor]


@dataclass(frozen=True)
class Init:
    """A file of published weights: Once-for-All's supernet, or of the known model ``arch``."""

    path: Path
    arch: str | None = None

    @cached_property
    def sha256(self) -> str:
        """The hash of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def part(self, *, fine_tuned: bool) -> InitPart:
        """Return what result files hold of it."""
        return InitPart(
            file=self.path.name, sha256=self.sha256, arch=self.arch, fine_tuned=fine_tuned
        )


def published_weights(
    context: Context, init: Init, archs: Mapping[str, Arch], *, whole: bool = False
) -> dict[str, Path]:
    """Write the weights that networks begin with; return the files by network_id.

    From a supernet every network has its share, from a model only the network that is this model
    has weights; which ones is said. Where the weights have other classes than the run's data, the
    classifier is left out, which ``whole`` forbids, as it forbids networks without weights.

    Raises:
        UsageError: the retraining was begun with other weights; no network is the model; what
            ``whole`` forbids.
        InputError: not a file of such weights; lists all differences.
    """
    classes, share = (_of_supernet if init.arch is None else _of_model)(context, init)
    replaced = classes != context.space.num_classes
    if replaced and whole:
        raise UsageError(
            f"{init.path} has {classes} classes, the data {context.space.num_classes}: "
            "without training the classifier would be random. Next: --epochs 1 or "
            "more, or data of the weights' classes"
        )
    if replaced:
        logger.info(
            f"{init.path} has {classes} classes, the data {context.space.num_classes}: the "
            "classifier is trained from scratch"
        )
    found = {}
    for network_id, arch in archs.items():
        state = share(arch)
        if state is None:
            logger.info(f"{arch.arch_id} is not {init.arch}: it is trained from scratch")
            continue
        if replaced:
            *_, weight, bias = state
            del state[weight], state[bias]
        if init.arch is not None:
            logger.info(f"{arch.arch_id} is {init.arch}: {len(state)} tensors from {init.path}")
        found[network_id] = _kept(context, init, network_id, state)
    if not found or (whole and len(found) < len(archs)):
        raise UsageError(
            f"{'some' if found else 'all'} of the networks to train are not "
            f"{init.arch}, whose weights {init.path} holds. Next: search with "
            "--seed-archs known, or leave out --init"
        )
    return found


def supernet_start(context: Context, settings: SupernetConfig) -> Path | None:
    """Write the weights that the run's supernets begin with; None: they are drawn at random.

    ``supernet-start.json`` lists which tensors they fill, how far, and which are left as drawn.

    Raises:
        UsageError: the space has no such supernet; the search was begun with another file.
        InputError: not a file of such weights; lists all differences.
    """
    path = context.folder.supernet_start
    if settings.init is None:
        return None
    init = Init(Path(settings.init), settings.init_arch)
    listing = SupernetStartFile.path(context.folder.path)
    if not path.is_file() or not listing.is_file():
        supernet = supernet_of(
            context.space, seed=derived_seed(context.execution.seed, "supernet", 0)
        )
        if not isinstance(supernet, ElasticSupernet):
            raise UsageError(
                f"published weights begin supernets of elastic spaces (ofa-mbv3, "
                f"mobile), not of {context.space.name}. Next: leave out --init"
            )
        covered = begin_with(supernet, init.path, init.arch)
        save_weights(supernet, path)
        SupernetStartFile(
            file=init.path.name,
            sha256=init.sha256,
            arch=init.arch,
            share=round(covered.share, 6),
            num_filled=len(covered.filled),
            num_drawn=len(covered.drawn),
            filled=dict(covered.filled),
            drawn=covered.drawn,
        ).save(context.folder.path)
    known = SupernetStartFile.load(context.folder.path)
    if known.sha256 != init.sha256:
        raise UsageError(
            f"{context.folder.path} was begun with another file than {init.path}. Next: "
            "give the same file again, or search into another folder"
        )
    logger.info(
        f"{init.path.name} fills {known.num_filled} of "
        f"{known.num_filled + known.num_drawn} tensors of the supernet, "
        f"{known.share:.1%} of its values; {listing} lists them"
    )
    return path


Share = Callable[[Arch], State | None]


def _of_supernet(context: Context, init: Init) -> tuple[int, Share]:
    classes = num_classes(init.path)
    space = load_space(with_params(context.data.space_name, num_classes=classes))
    supernet = load_ofa_supernet(init.path, space)
    return classes, lambda arch: dict(supernet.extract(space.arch(arch.choices)).state_dict())


def _of_model(context: Context, init: Init) -> tuple[int, Share]:
    assert init.arch is not None
    layers, network = reference_network(init.arch, read_tensors(init.path))

    def share(arch: Arch) -> State | None:
        same = _sizeless(context.space.layers(arch)) == _sizeless(layers)
        return dict(network.state_dict()) if same else None

    return layers[-1].out_channels, share


def _sizeless(layers: Sequence[OpSpec]) -> list[object]:
    """Return what decides a chain's weights, but for the classes: no sizes of images."""
    return [
        (op.kind, op.in_shape[0], op.attrs, op.out_channels if place < len(layers) - 1 else 0)
        for place, op in enumerate(layers)
    ]


def _kept(context: Context, init: Init, network_id: str, state: State) -> Path:
    """Write the weights a network begins with, or make sure that they are those on file."""
    path = context.folder.initial(network_id)
    if not path.exists():
        save_tensors(state, path)
        return path
    kept = read_tensors(path)
    if set(kept) != set(state) or not all(torch.equal(kept[name], state[name]) for name in kept):
        raise UsageError(
            f"the retraining in {context.folder.path} was begun with other weights "
            f"than those of {init.path}. Next: give the same file again, or search "
            "into another folder"
        )
    return path
