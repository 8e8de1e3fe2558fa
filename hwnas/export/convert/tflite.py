"""Networks to TFLite files, by litert-torch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.export.convert.prepare import inference_copy, traced_output
from hwnas.export.convert.quiet import held_back_output
from hwnas.export.formats import FOREIGN_ERRORS, ConversionError, Layout
from hwnas.io.journal import write_whole
from hwnas.nn.cells import Concat
from hwnas.ops import Shape


def to_tflite(network: nn.Module, in_shape: Shape, path: Path, *, layout: Layout = "nhwc") -> None:
    """Write ``network`` to ``path`` whole, as :func:`tflite_bytes` makes it."""
    write_whole(path, tflite_bytes(network, in_shape, layout=layout))


def tflite_bytes(
    network: nn.Module, in_shape: Shape, *, layout: Layout = "nhwc", num_inputs: int = 1
) -> bytes:
    """Return ``network`` as TFLite for one float32 image, (1, H, W, C) or (1, C, H, W).

    ``in_shape`` is (C, H, W) for either layout, of each of ``num_inputs`` tensors. With ``nhwc``
    all inputs and an output of rank 4 are channel-last, so that an operation timed alone has no
    transposes that it would not have inside a network.
    The signature ``serving_default`` takes ``image`` and gives ``logits`` where the output is
    (1, classes), else ``out``, as in ONNX files; an operation of several inputs has the
    converter's names. Batch norms are folded. The first call imports litert-torch (5 s); while it
    works, what the process writes to the file descriptor of stderr is held back.

    Raises:
        ConversionError: the network has no TFLite form; holds the converter's reason and log.
    """
    prepared = with_plain_pools(inference_copy(network))
    output = traced_output(prepared, in_shape, num_inputs)
    channels, height, width = in_shape
    with held_back_output() as log:
        import litert_torch
        from litert_converter.mlir.ir import MLIRError

        shape = (1, channels, height, width)
        if layout == "nhwc":
            if [type(child) for child in prepared.children()] == [Concat]:
                prepared = Concat(dim=3)  # alone it would keep its transposes
            else:
                outputs = [0] if output.ndim == 4 else []
                prepared = litert_torch.to_channel_last_io(
                    prepared, args=list(range(num_inputs)), outputs=outputs
                ).eval()
            shape = (1, height, width, channels)
        try:
            if num_inputs == 1:
                name = "logits" if output.ndim == 2 else "out"
                made = litert_torch.convert(
                    Named(prepared, name).eval(), sample_kwargs={"image": torch.zeros(shape)}
                )
            else:
                # tensors of their own: of one given twice the converter would make one input
                made = litert_torch.convert(
                    prepared, tuple(torch.zeros(shape) for _ in range(num_inputs))
                )
            payload: bytes = made.model_content()
        except (*FOREIGN_ERRORS, MLIRError) as error:
            log.seek(0)
            text = log.read().decode(errors="replace").strip()
            raise ConversionError(f"no TFLite form: {error}\n{text}".strip()) from error
    return payload


class Named(nn.Module):
    """``network`` with names for the file's signature: input ``image``, output ``name``."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return the network's output by its name."""
        return {self.name: self.network(image)}


class PlainAvgPool(nn.Module):
    """``pool`` as zeros around the image, a pool without padding, and a factor at the border.

    Of an average that leaves its padding out and has a stride the converter makes a kernel that
    XNNPACK does not have.
    """

    def __init__(self, pool: nn.AvgPool2d) -> None:
        super().__init__()
        self.kernel = int(pool.kernel_size)  # type: ignore[arg-type]
        self.stride = int(pool.stride)  # type: ignore[arg-type]
        self.padding = int(pool.padding)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Average windows of (1, C, H, W) over the pixels inside the image."""
        mean = F.avg_pool2d(F.pad(x, (self.padding,) * 4), self.kernel, self.stride)
        rows, columns = (self._inside(size) for size in x.shape[2:])
        return mean * (self.kernel**2 / (rows[:, None] * columns[None, :]))

    def _inside(self, size: int) -> Tensor:
        """Return how many pixels of each window lie inside a side of ``size`` pixels."""
        count = (size + 2 * self.padding - self.kernel) // self.stride + 1
        first = [place * self.stride - self.padding for place in range(count)]
        return torch.tensor([float(min(at + self.kernel, size) - max(at, 0)) for at in first])


def with_plain_pools(network: nn.Module) -> nn.Module:
    """Return ``network``, its strided average pools that leave padding out as PlainAvgPool."""

    def is_odd_one(module: nn.Module) -> bool:
        return (
            isinstance(module, nn.AvgPool2d)
            and module.padding == 1
            and module.stride == 2
            and module.kernel_size == 3
            and not module.count_include_pad
        )

    if is_odd_one(network):
        return PlainAvgPool(cast(nn.AvgPool2d, network))
    for owner in list(network.modules()):
        for name, child in list(owner.named_children()):
            if is_odd_one(child):
                setattr(owner, name, PlainAvgPool(cast(nn.AvgPool2d, child)))
    return network


def load_converter() -> None:
    """Import litert-torch (5 s) without its messages; what long-lived workers do first."""
    with held_back_output():
        import litert_torch  # noqa: F401
