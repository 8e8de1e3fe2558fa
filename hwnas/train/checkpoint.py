"""Weights and training states on disk: whole files; nothing in them is ever executed."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from hwnas.arch import short_hash
from hwnas.errors import HwnasWarning, InputError
from hwnas.io.journal import canonical_json, write_whole

SCHEMA = 2


def save_weights(network: nn.Module, path: Path) -> None:
    """Write parameters and buffers as safetensors, whole.

    Raises:
        StorageError: the file cannot be written.
    """
    save_tensors(network.state_dict(), path)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write named tensors as safetensors, whole; StorageError where that fails."""
    # safetensors stores rows: channels-last convolutions are written in the plain layout
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_whole(path, tensors_to_bytes(plain))


def load_weights(network: nn.Module, path: Path) -> None:
    """Read a safetensors file into ``network`` in place; names and shapes must agree exactly.

    Raises:
        InputError: the file is absent, broken, or of another network; lists what differs.
    """
    try:
        tensors = tensors_from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise InputError(str(path), ["there is no such file"]) from None
    except (OSError, SafetensorError) as error:
        raise InputError(str(path), [f"not a whole safetensors file: {error}"]) from error
    problems = _differences(network.state_dict(), tensors)
    if problems:
        raise InputError(
            str(path),
            problems,
            "give the weights of this architecture, of the same space and classes",
        )
    network.load_state_dict(tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a safetensors or torch file, in CPU memory.

    A torch file is a dictionary of tensors, or one that holds it under a name of WRAPPINGS, as
    published weights are; nothing in it is executed. A prefix that all names share, as parallel
    training leaves it (``module.``), is left out.

    Raises:
        InputError: the file is absent, broken, or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return _without_prefix(tensors_from_bytes(path.read_bytes()))
        with warnings.catch_warnings():  # torch warns of pickle protocols before it refuses them
            warnings.simplefilter("ignore", UserWarning)
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(str(path), ["there is no such file"]) from None
    except Exception as error:  # a broken file can make torch raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            str(path),
            [f"cannot be read as a file of tensors alone: {reason}"],
            "give weights as safetensors, or a state_dict saved by torch.save",
        ) from error
    wrapping = next(
        (name for name in WRAPPINGS if isinstance(state, Mapping) and name in state), None
    )
    if wrapping is not None and isinstance(state[wrapping], Mapping):
        state = state[wrapping]
    if not isinstance(state, Mapping):
        raise InputError(
            str(path),
            [f"holds {type(state).__name__}, not named tensors"],
            "save a network's state_dict by torch.save",
        )
    others = [
        f"{name}: {type(value).__name__}, not a tensor"
        for name, value in state.items()
        if not isinstance(value, Tensor)
    ]
    if others:
        raise InputError(str(path), others, "save a network's state_dict by torch.save")
    return _without_prefix({str(name): value for name, value in state.items()})


WRAPPINGS = ("state_dict", "model", "model_state_dict", "model_ema", "state_dict_ema")
"""Names under which training programs keep the weights in a checkpoint, the usual ones first."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _without_prefix(
                {name.removeprefix(prefix): value for name, value in tensors.items()}
            )
    return tensors


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return one line for each tensor that is missing, of another network, or of another shape."""
    problems = [f"{name}: missing" for name in expected if name not in found]
    problems += [f"{name}: not in this network" for name in found if name not in expected]
    return problems + [
        f"{name}: the network has {tuple(value.shape)}, the file {tuple(found[name].shape)}"
        for name, value in expected.items()
        if name in found and value.shape != found[name].shape
    ]


@dataclass(frozen=True)
class Machine:
    """What bit-equality of a resumed training depends on."""

    threads: int
    instruction_set: str

    @staticmethod
    def here() -> Machine:
        """Return this process's threads and instruction set."""
        return Machine(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability())


@dataclass(frozen=True)
class Progress:
    """How far a training is, what it has cost so far, and what its companion said last."""

    epochs: int = 0
    steps: int = 0
    images_trained: int = 0
    wall_s: float = 0.0
    core_s: float = 0.0
    loss: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)


def network_digest(network: nn.Module) -> str:
    """Return 16 hex digits of a network's modules and the shapes of its tensors."""
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    return short_hash(canonical_json([str(network), shapes]))


def save_checkpoint(
    path: Path, identity: Mapping[str, Any], parts: Mapping[str, Any], progress: Progress
) -> None:
    """Write the state after an epoch, whole; ``identity`` says what training it belongs to."""
    stream = io.BytesIO()
    torch.save(
        {
            "schema": SCHEMA,
            "identity": dict(identity),
            "machine": asdict(Machine.here()),
            "progress": asdict(progress),
            **parts,
        },
        stream,
    )
    write_whole(path, stream.getvalue())


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Any], Progress]:
    """Return the parts and the progress; warns if bit-equality cannot be kept here.

    Raises:
        InputError: not a checkpoint, or of another training; lists what differs.
    """
    state = _read_state(path)
    other = state["identity"]
    problems = [
        f"{key}: the checkpoint has {other.get(key)!r}, this training {value!r}"
        for key, value in identity.items()
        if other.get(key) != value
    ]
    if problems:
        raise InputError(
            f"checkpoint {path}",
            problems,
            "resume with what it was made with, or remove it to start anew",
        )
    if state["machine"] != asdict(Machine.here()):
        warnings.warn(
            f"{path} was made with {state['machine']}, this is "
            f"{asdict(Machine.here())}: the result can differ in the last digits from "
            "an unbroken run",
            HwnasWarning,
            stacklevel=3,
        )
    try:
        progress = Progress(**state["progress"])
    except TypeError as error:
        raise InputError(
            f"checkpoint {path}",
            [f"its progress cannot be read: {error}"],
            "remove it to start anew",
        ) from error
    return {key: state[key] for key in PARTS}, progress


PARTS = ("network", "optimiser", "average", "companion")


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can make torch raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"checkpoint {path}", [f"cannot be read: {reason}"], "remove it to start anew"
        ) from error
    keys = {"schema", "identity", "machine", "progress", *PARTS}
    schema = state.get("schema") if isinstance(state, dict) else None
    if isinstance(schema, int) and schema != SCHEMA:
        raise InputError(
            f"checkpoint {path}",
            [f"has schema {schema}, this version of hwnas reads schema {SCHEMA}"],
            "continue with the version that wrote it, or remove it to start anew",
        )
    if (
        schema != SCHEMA
        or set(state) != keys
        or not isinstance(state["identity"], dict)
        or not isinstance(state["progress"], dict)
    ):
        raise InputError(
            f"checkpoint {path}",
            [f"is not a training checkpoint of schema {SCHEMA}"],
            "remove it to start anew",
        )
    return dict(state)
