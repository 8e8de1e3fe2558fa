"""How far an exported model is from the network it was made of."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.errors import HwnasError, InputError
from hwnas.export.formats import Layout
from hwnas.export.session import Array, Session, open_session

PARITY_LIMIT_FP32 = 1e-4
"""The largest ``max_rel`` of an fp32 export: single precision through some hundred layers."""


class ParityError(HwnasError):
    """An exported model does not compute what its network does."""


@dataclass(frozen=True)
class Parity:
    """Differences between an exported model and torch over ``num_images`` images, batch 1.

    ``max_abs`` is max|model - torch| in the output's unit; ``max_rel`` that over max|torch| of all
    images; ``top1_agreement`` the share, 0..1, of images whose largest output is the same one.
    """

    max_abs: float
    max_rel: float
    num_images: int
    top1_agreement: float

    def to_json(self) -> dict[str, Any]:
        """Return the object an export file holds."""
        return asdict(self)


def parity(network: nn.Module, model: Path, images: Tensor, *, layout: Layout) -> Parity:
    """Compare ``model`` with ``network`` in eval mode over ``images`` (N, C, H, W), one by one.

    ``layout`` is the model file's. ``network`` is left as it was.

    Raises:
        InputError: no images, or the model cannot be loaded or takes another shape.
    """
    session = open_session(model)
    singles = [images[i : i + 1].detach().cpu() for i in range(len(images))]
    inputs = [_in_layout(image, layout) for image in singles]
    _check_inputs(model, session, inputs)
    reference_network = copy.deepcopy(network).cpu().eval()
    with torch.inference_mode():
        reference = np.stack([reference_network(image).numpy()[0] for image in singles])
    got = np.stack([_channel_first(session.run(value), layout)[0] for value in inputs])
    if got.shape != reference.shape:
        raise InputError(str(model), [f"gives outputs {got.shape[1:]} where the network gives "
                                      f"{reference.shape[1:]}"])
    max_abs = float(np.max(np.abs(got - reference)))
    scale = float(np.max(np.abs(reference)))
    agree = got.reshape(len(got), -1).argmax(1) == reference.reshape(len(got), -1).argmax(1)
    return Parity(max_abs, _ratio(max_abs, scale), len(inputs), float(np.mean(agree)))


def check_parity(found: Parity, model: Path, *, limit: float = PARITY_LIMIT_FP32) -> None:
    """Do nothing if ``found.max_rel`` is at most ``limit``.

    Raises:
        ParityError: it is more, or not a number; states value and limit.
    """
    if not found.max_rel <= limit:  # also true of a NaN
        raise ParityError(
            f"{model} differs from its network: max|model - torch| / max|torch| must be at most "
            f"{limit:g}, got {found.max_rel:.3g} (max_abs {found.max_abs:.3g}, top-1 agreement "
            f"{found.top1_agreement:.1%} of {found.num_images} images). "
            "Next: check that the weights file belongs to this network, then export again."
        )


def _ratio(difference: float, scale: float) -> float:
    if scale == 0.0:
        return 0.0 if difference == 0.0 else math.inf
    return difference / scale


def _in_layout(image: Tensor, layout: Layout) -> Array:
    moved = image.permute(0, 2, 3, 1) if layout == "nhwc" else image
    array: Array = np.ascontiguousarray(moved.numpy())
    return array


def _channel_first(output: Array, layout: Layout) -> Array:
    return output.transpose(0, 3, 1, 2) if layout == "nhwc" and output.ndim == 4 else output


def _check_inputs(model: Path, session: Session, inputs: list[Array]) -> None:
    if not inputs:
        raise InputError(str(model), ["parity needs at least one image, got none"])
    expected = session.inputs[0]
    if inputs[0].shape != expected.shape or inputs[0].dtype.name != expected.dtype:
        raise InputError(
            str(model),
            [f"takes {expected.dtype} {expected.shape}, the images give {inputs[0].dtype.name} "
             f"{inputs[0].shape}"],
            "give images of the network's input size, and the layout the file was made with",
        )
