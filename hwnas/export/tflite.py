"""Networks to TFLite files, by litert-torch."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch
from torch import nn

from hwnas.export.formats import FOREIGN_ERRORS, ConversionError, Layout
from hwnas.export.prepare import inference_copy, traced_output
from hwnas.journal import write_whole
from hwnas.ops import Shape

_PROGRESS_SWITCH = "LITERT_TORCH_SHOW_PROGRESS"


def to_tflite(
    network: nn.Module, in_shape: Shape, path: Path, *, layout: Layout = "nhwc"
) -> None:
    """Write ``network`` to ``path`` whole, as :func:`tflite_bytes` makes it."""
    write_whole(path, tflite_bytes(network, in_shape, layout=layout))


def tflite_bytes(network: nn.Module, in_shape: Shape, *, layout: Layout = "nhwc") -> bytes:
    """Return ``network`` as TFLite for one float32 image, (1, H, W, C) or (1, C, H, W).

    ``in_shape`` is (C, H, W) for either layout. With ``nhwc`` an output of rank 4 is channel-last
    too, so that a block timed alone has no transposes that it would not have inside a network.
    Batch norms are folded. The first call imports litert-torch (5 s); while it works, what the
    process writes to the file descriptor of stderr is held back.

    Raises:
        ConversionError: the network has no TFLite form; holds the converter's reason and log.
    """
    prepared = inference_copy(network)
    output = traced_output(prepared, in_shape)
    channels, height, width = in_shape
    with _held_back_output() as log:
        import litert_torch
        from litert_converter.mlir.ir import MLIRError

        example = torch.zeros(1, channels, height, width)
        if layout == "nhwc":
            outputs = [0] if output.ndim == 4 else []
            prepared = litert_torch.to_channel_last_io(prepared, args=[0], outputs=outputs).eval()
            example = torch.zeros(1, height, width, channels)
        try:
            payload: bytes = litert_torch.convert(prepared, (example,)).model_content()
        except (*FOREIGN_ERRORS, MLIRError) as error:
            log.seek(0)
            text = log.read().decode(errors="replace").strip()
            raise ConversionError(f"no TFLite form: {error}\n{text}".strip()) from error
    return payload


def load_converter() -> None:
    """Import litert-torch (5 s) without its messages; what long-lived workers do first."""
    with _held_back_output():
        import litert_torch  # noqa: F401


@contextlib.contextmanager
def _held_back_output() -> Iterator[BinaryIO]:
    """Keep the converter's progress off stdout; catch what its C++ parts write to stderr."""
    before = os.environ.get(_PROGRESS_SWITCH)
    os.environ[_PROGRESS_SWITCH] = "n"
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            yield log
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        if before is None:
            del os.environ[_PROGRESS_SWITCH]
        else:
            os.environ[_PROGRESS_SWITCH] = before
