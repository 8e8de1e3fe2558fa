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
from hwnas.export.quantize.float_ops import float_operations
from hwnas.export.verify.session import Array, Session, open_session

PARITY_IMAGES = 64
"""How many images an exported model is compared with its network on."""

PARITY_LIMIT_FP32 = 1e-4
"""The largest ``max_rel`` of an fp32 export: single precision through some hundred layers."""

SQNR_LIMIT_DB = 10.0
"""The least ``sqnr_db`` of an int8 export: the error's power is a tenth of the logits'."""

AGREEMENT_LIMIT = 0.9
"""The least ``top1_agreement`` of an int8 export."""


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
    got, reference = _outputs(network, model, images, layout)
    max_abs = float(np.max(np.abs(got - reference)))
    scale = float(np.max(np.abs(reference)))
    return Parity(max_abs, _ratio(max_abs, scale), len(got), _agreement(got, reference))


@dataclass(frozen=True)
class Int8Parity:
    """What quantisation did to a network's outputs over ``num_images`` images, batch 1.

    ``sqnr_db`` is 10 log10 of sum(torch^2) over sum((model - torch)^2), None where they are equal;
    ``top1_agreement`` the share, 0..1, of images whose largest output is the same one;
    ``float_operations`` the operations that the runtime still computes in float, by kind.
    """

    sqnr_db: float | None
    num_images: int
    top1_agreement: float
    float_operations: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the object an export file holds."""
        return asdict(self)


def int8_parity(network: nn.Module, model: Path, images: Tensor, *, layout: Layout) -> Int8Parity:
    """Compare an int8 ``model`` with its float ``network``, as :func:`parity` does."""
    got, reference = _outputs(network, model, images, layout)
    return Int8Parity(
        sqnr_db(reference, got), len(got), _agreement(got, reference), float_operations(model)
    )


def sqnr_db(reference: Array, got: Array) -> float | None:
    """Return the signal to quantisation noise ratio in dB; None where there is no noise.

    Where there is no signal, or ``got`` is not finite, it is minus infinity.
    """
    noise = float(np.sum(np.square(got.astype(np.float64) - reference)))
    signal = float(np.sum(np.square(reference.astype(np.float64))))
    if noise == 0.0:
        return None
    if signal == 0.0 or not math.isfinite(noise):
        return -math.inf
    return 10.0 * math.log10(signal / noise)


def check_int8_parity(
    found: Int8Parity,
    model: Path,
    *,
    least_sqnr_db: float = SQNR_LIMIT_DB,
    least_agreement: float = AGREEMENT_LIMIT,
) -> None:
    """Do nothing if quantisation kept the network's outputs well enough.

    Raises:
        ParityError: it did not; states both values, both limits and what to do.
    """
    sqnr = math.inf if found.sqnr_db is None else found.sqnr_db
    if sqnr >= least_sqnr_db and found.top1_agreement >= least_agreement:
        return
    raise ParityError(
        f"{model}: quantisation to int8 broke the network: the logits' signal to noise ratio must "
        f"be at least {least_sqnr_db:g} dB, got {sqnr:.1f} dB, and top-1 agreement at least "
        f"{least_agreement:.0%}, got {found.top1_agreement:.1%} of {found.num_images} images. "
        "Next: export --precision fp32, or take a network without what quantises badly "
        "(h-swish and squeeze-excite gates, layers trained with large outliers)."
    )


def _outputs(
    network: nn.Module, model: Path, images: Tensor, layout: Layout
) -> tuple[Array, Array]:
    """Return what the model and the network give for each image, (N, ...) channel-first."""
    session = open_session(model)
    singles = [images[i : i + 1].detach().cpu() for i in range(len(images))]
    inputs = [_in_layout(image, layout) for image in singles]
    _check_inputs(model, session, inputs)
    reference_network = copy.deepcopy(network).cpu().eval()
    with torch.inference_mode():
        reference = np.stack([reference_network(image).numpy()[0] for image in singles])
    got = np.stack([_channel_first(session.run_real(value), layout)[0] for value in inputs])
    if got.shape != reference.shape:
        raise InputError(
            str(model),
            [f"gives outputs {got.shape[1:]} where the network gives {reference.shape[1:]}"],
        )
    return got, reference


def _agreement(got: Array, reference: Array) -> float:
    same = got.reshape(len(got), -1).argmax(1) == reference.reshape(len(got), -1).argmax(1)
    return float(np.mean(same))


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
    takes = "float32" if expected.scale is not None else expected.dtype  # integers stand for reals
    if inputs[0].shape != expected.shape or inputs[0].dtype.name != takes:
        raise InputError(
            str(model),
            [
                f"takes {takes} {expected.shape}, the images give {inputs[0].dtype.name} "
                f"{inputs[0].shape}"
            ],
            "give images of the network's input size, and the layout the file was made with",
        )
