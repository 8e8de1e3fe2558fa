"""Weights that somebody published, as what a run's trainings begin with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hwnas.arch import Arch
from hwnas.errors import UsageError
from hwnas.io.journal import read_json, write_json
from hwnas.nn.elastic_supernet import ElasticSupernet
from hwnas.nn.pretrained import reference_network
from hwnas.nn.supernet import supernet_of
from hwnas.ops import OpSpec
from hwnas.pipeline.context import Run
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

    def record(self) -> dict[str, Any]:
        """Return what result files say of it: name and hash of the file, the model."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return {"file": self.path.name, "sha256": digest, "arch": self.arch}


def published_weights(
    run: Run, init: Init, archs: Mapping[str, dict[str, Any]], *, whole: bool = False
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
    classes, share = (_of_supernet if init.arch is None else _of_model)(run, init)
    replaced = classes != run.space.num_classes
    if replaced and whole:
        raise UsageError(
            f"{init.path} has {classes} classes, the data {run.space.num_classes}: "
            "without training the classifier would be random. Next: --epochs 1 or "
            "more, or data of the weights' classes"
        )
    if replaced:
        logger.info(
            f"{init.path} has {classes} classes, the data {run.space.num_classes}: the "
            "classifier is trained from scratch"
        )
    found = {}
    for network_id, value in archs.items():
        state = share(run.arch(value))
        if state is None:
            logger.info(f"{value_id(run, value)} is not {init.arch}: it is trained from scratch")
            continue
        if replaced:
            *_, weight, bias = state
            del state[weight], state[bias]
        if init.arch is not None:
            logger.info(
                f"{value_id(run, value)} is {init.arch}: {len(state)} tensors from {init.path}"
            )
        found[network_id] = _kept(run, init, network_id, state)
    if not found or (whole and len(found) < len(archs)):
        raise UsageError(
            f"{'some' if found else 'all'} of the networks to train are not "
            f"{init.arch}, whose weights {init.path} holds. Next: search with "
            "--seed-archs known, or leave out --init"
        )
    return found


def supernet_start(run: Run) -> Path | None:
    """Write the weights that the run's supernets begin with; None: they are drawn at random.

    ``supernet-start.json`` lists which tensors they fill, how far, and which are left as drawn.

    Raises:
        UsageError: the space has no such supernet; the search was begun with another file.
        InputError: not a file of such weights; lists all differences.
    """
    config, path = run.config.search.supernet, run.folder.supernet_start
    if config.init is None:
        return None
    init = Init(Path(config.init), config.init_arch)
    listing = run.folder.file("supernet-start.json")
    if not path.is_file() or not listing.is_file():
        supernet = supernet_of(run.space, seed=derived_seed(run.config.seed, "supernet", 0))
        if not isinstance(supernet, ElasticSupernet):
            raise UsageError(
                f"published weights begin supernets of elastic spaces (ofa-mbv3, "
                f"mobile), not of {run.space.name}. Next: leave out --init"
            )
        covered = begin_with(supernet, init.path, init.arch)
        save_weights(supernet, path)
        write_json(listing, {"schema": 1, **init.record(), **covered.to_json()})
    known = read_json(listing)
    if known["sha256"] != init.record()["sha256"]:
        raise UsageError(
            f"{run.folder.path} was begun with another file than {init.path}. Next: "
            "give the same file again, or search into another folder"
        )
    logger.info(
        f"{init.path.name} fills {known['num_filled']} of "
        f"{known['num_filled'] + known['num_drawn']} tensors of the supernet, "
        f"{known['share']:.1%} of its values; {listing} lists them"
    )
    return path


def value_id(run: Run, value: dict[str, Any]) -> str:
    """Return the arch_id of a run file's architecture."""
    return run.arch(value).arch_id


Share = Callable[[Arch], State | None]


def _of_supernet(run: Run, init: Init) -> tuple[int, Share]:
    classes = num_classes(init.path)
    space = load_space(with_params(run.config.space, num_classes=classes))
    supernet = load_ofa_supernet(init.path, space)
    return classes, lambda arch: dict(supernet.extract(space.arch(arch.choices)).state_dict())


def _of_model(run: Run, init: Init) -> tuple[int, Share]:
    assert init.arch is not None
    layers, network = reference_network(init.arch, read_tensors(init.path))

    def share(arch: Arch) -> State | None:
        same = _sizeless(run.space.layers(arch)) == _sizeless(layers)
        return dict(network.state_dict()) if same else None

    return layers[-1].out_channels, share


def _sizeless(layers: Sequence[OpSpec]) -> list[object]:
    """Return what decides a chain's weights, but for the classes: no sizes of images."""
    return [
        (op.kind, op.in_shape[0], op.attrs, op.out_channels if place < len(layers) - 1 else 0)
        for place, op in enumerate(layers)
    ]


def _kept(run: Run, init: Init, network_id: str, state: State) -> Path:
    """Write the weights a network begins with, or make sure that they are those on file."""
    path = run.folder.initial(network_id)
    if not path.exists():
        save_tensors(state, path)
        return path
    kept = read_tensors(path)
    if set(kept) != set(state) or not all(torch.equal(kept[name], state[name]) for name in kept):
        raise UsageError(
            f"the retraining in {run.folder.path} was begun with other weights "
            f"than those of {init.path}. Next: give the same file again, or search "
            "into another folder"
        )
    return path
