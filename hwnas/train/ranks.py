"""Many processes that train one network (torchrun): what each must share with the others.

There is no DDP wrapper: only the parameters of the path that was run have gradients, the same ones
on every rank because the path derives from (seed, step), and those are averaged explicitly. Outside
of torchrun every function here does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Return this process's number, 0 where it is alone."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if is_distributed() else 1


def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the ranks, in place, in one message."""
    if not is_distributed() or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= world_size()
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, part in zip(tensors, torch.split(flat, sizes), strict=True):
        tensor.copy_(part.view(tensor.shape))


def average_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace the gradients by their means over the ranks."""
    average([p.grad for p in parameters if p.grad is not None])


def total(count: int, device: torch.device) -> int:
    """Return the sum of a count over the ranks; ``device`` is where they compute."""
    if not is_distributed():
        return count
    value = torch.tensor(count, device=device)
    distributed.all_reduce(value)
    return int(value)
