"""One conversion carried out: a network's module made, converted, and if need be quantised.

torch and the converters are imported only here, when something is missing from the cache.
"""

from __future__ import annotations

import functools
import gc
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import InputError
from hwnas.export.convert.conversion import Conversion, InitWeights, read_weights
from hwnas.export.formats import FORMATS, ConversionError, Format
from hwnas.export.quantize.calibration import CalibrationData
from hwnas.plugins.registry import resolved

if TYPE_CHECKING:
    from torch import nn


@functools.cache
def settle_worker(model_format: Format) -> None:
    """Once a process: import the converter and keep its objects out of garbage collections.

    A full collection walks the million objects that torch and jax hold; without it a TFLite
    conversion takes an eighth less time.
    """
    import torch

    torch.set_num_threads(1)  # the processes are as many as the cores
    warm_up = FORMATS[model_format].warm_up
    if warm_up is not None:
        resolved(warm_up)()
    gc.freeze()


def model_bytes(conversion: Conversion, float_file: Path | None) -> bytes:
    """Return the model file; an int8 one is made from ``float_file``, its fp32 form.

    Raises:
        HwnasError: it cannot be converted, or its weights are not there.
    """
    if conversion.calibration is not None:
        return _quantized_bytes(conversion, float_file, conversion.calibration)
    network = _network(conversion)
    payload: bytes = resolved(FORMATS[conversion.format].convert)(
        network,
        conversion.layers[0].in_shape,
        layout=conversion.layout,
        num_inputs=conversion.num_inputs,
    )
    return payload


def _quantized_bytes(
    conversion: Conversion, float_file: Path | None, calibration: CalibrationData
) -> bytes:
    if float_file is None:
        raise ConversionError("its fp32 file has gone from the cache since it was put there")
    payload = float_file.read_bytes()
    samples = calibration.samples(conversion.layers[0].in_shape, conversion.num_inputs)
    quantizer = FORMATS[conversion.format].quantizers[conversion.precision]
    quantised: bytes = resolved(quantizer.quantize)(payload, samples, layout=conversion.layout)
    return quantised


def _network(conversion: Conversion) -> nn.Module:
    from hwnas.nn.build import build_network

    weights = conversion.weights
    if isinstance(weights, InitWeights):
        return build_network(conversion.layers, conversion.wiring, seed=weights.seed)
    from safetensors import SafetensorError
    from safetensors.torch import load

    payload = read_weights(weights.path)
    if hashlib.sha256(payload).hexdigest() != weights.sha256:
        raise InputError(
            str(weights.path), ["has changed since its SHA-256 was taken"], "repeat the command"
        )
    network = build_network(conversion.layers, conversion.wiring)
    try:
        network.load_state_dict(load(payload))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(
            str(weights.path),
            [f"does not hold this network's weights: {error}"],
            "give the weights file of the same architecture",
        ) from error
    return network
