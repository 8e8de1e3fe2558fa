"""fp32 TFLite files to int8 ones, by ai-edge-quantizer: inputs and outputs int8 as well."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.convert.quiet import held_back_output
from hwnas.export.formats import FOREIGN_ERRORS, ConversionError, Layout

Array = NDArray[Any]


def quantized_tflite(payload: bytes, samples: Iterable[list[Array]], *, layout: Layout) -> bytes:
    """Return the serialised TFLite model ``payload`` in int8.

    Weights are symmetric, one scale per output channel; activations asymmetric, one scale per
    tensor, which spans the least to the greatest value over ``samples`` (the model's inputs,
    float32 (1, C, H, W), transposed to ``layout`` here). What int8 kernels do not exist for stays
    float between DEQUANTIZE and QUANTIZE: ``leftovers.py`` lists it.

    Raises:
        ConversionError: the model cannot be quantised; holds the quantiser's reason.
    """
    with held_back_output(), _quiet():
        from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
        from ai_edge_quantizer.utils import qsv_utils

        plan = recipe.static_wi8_ai8()
        rules = recipe_manager.RecipeManager()
        rules.load_quantization_recipe(plan)
        try:
            ranges = calibrator.Calibrator(
                payload,
                num_threads=1,
                mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
                qsv_update_func=qsv_utils.min_max_update,
            )
            ((signature, ends),) = ranges.get_signature_list().items()
            names = sorted(ends["inputs"], key=lambda name: (len(name), name))
            for fed in _fed(samples, names, layout):
                ranges.calibrate({signature: [fed]}, rules)
            result = quantizer.Quantizer(payload, plan).quantize(
                ranges.get_model_qsvs(), enable_progress_bar=False, enable_progress_report=False
            )
        except FOREIGN_ERRORS as error:
            raise ConversionError(f"no int8 TFLite form: {error}") from error
    return bytes(result.quantized_model)


def _fed(
    samples: Iterable[list[Array]], names: list[str], layout: Layout
) -> Iterator[dict[str, Array]]:
    for values in samples:
        if layout == "nhwc":
            values = [np.ascontiguousarray(value.transpose(0, 2, 3, 1)) for value in values]
        yield dict(zip(names, values, strict=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the progress bar, and a warning that the quantiser causes by its own use."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        yield
