"""Networks to ONNX files."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from hwnas.export.convert.onnx_file import check_onnx
from hwnas.export.convert.prepare import inference_copy, traced_output
from hwnas.export.formats import FOREIGN_ERRORS, ONNX_OPSET, ConversionError, Layout
from hwnas.io.journal import write_whole
from hwnas.ops import Shape

# The TorchScript exporter announces its own end; the new one takes 40 times as long a block.
_EXPECTED_WARNINGS = (
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed. Please remove usage of this function",
)


def to_onnx(network: nn.Module, in_shape: Shape, path: Path) -> None:
    """Write ``network`` to ``path`` whole, as :func:`onnx_bytes` makes it."""
    write_whole(path, onnx_bytes(network, in_shape))


def onnx_bytes(
    network: nn.Module, in_shape: Shape, *, layout: Layout = "nchw", num_inputs: int = 1
) -> bytes:
    """Return ``network`` as ONNX for one image: input ``image``, float32 (1, C, H, W).

    A network of several inputs, all of this shape, has ``image1``, ``image2``... The output is
    called ``logits`` when it is (1, classes), else ``out``. Batch norms are folded and constants
    evaluated; the model has passed ONNX's full check.

    Raises:
        ConversionError: the network has no ONNX form; holds the exporter's reason.
    """
    assert layout == "nchw", layout
    prepared = inference_copy(network)
    output = traced_output(prepared, in_shape, num_inputs)
    names = [f"image{place + 1}" for place in range(num_inputs)] if num_inputs > 1 else ["image"]
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        raw = Path(folder, "model.onnx")
        try:
            with _expected_warnings():
                torch.onnx.export(
                    prepared,
                    tuple(torch.zeros(1, *in_shape) for _ in names),
                    raw,
                    dynamo=False,
                    opset_version=ONNX_OPSET,
                    do_constant_folding=True,
                    input_names=names,
                    output_names=["logits" if output.ndim == 2 else "out"],
                )
        except FOREIGN_ERRORS as error:
            raise ConversionError(f"no ONNX form: {error}") from error
        payload = raw.read_bytes()
    check_onnx(payload)
    return payload


@contextlib.contextmanager
def _expected_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        yield
