"""What moves the gates in a real search: the loss of a supernet on images of the ``arch`` split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.data import Dataset
from hwnas.nn.supernet import Path, Supernet
from hwnas.train import DivergedError, ranks

SPLIT = "arch"


class SupernetProblem:
    """Gate gradients and accuracies of paths; implements ``gate_search.GateProblem``.

    Architecture steps are counted from 0 over a search: step t sees the t-th batch of an endless,
    reshuffled pass over ``arch``, without augmentation. Nothing here changes weights, their
    gradients or batch norms, which work in training mode on the statistics of the batch.
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        *,
        batch_size: int,
        seed: int,
        torch_device: str | torch.device = "cpu",
    ) -> None:
        self.supernet = supernet
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(torch_device)
        self.per_epoch = len(dataset.batch_sizes((SPLIT,), batch_size=batch_size, training=True))
        self._next = -1
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())

    def network(self, path: Path) -> nn.Module:
        """Return the network that a weight step on ``path`` trains."""
        return self.supernet.network(path)

    def macs(self, path: Path) -> int:
        """Return the MACs of one image along ``path``."""
        return self.supernet.macs(path)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return images and labels of a step, whichever step was asked for before."""
        epoch, first = divmod(step, self.per_epoch)
        if step != self._next or first == 0:  # another epoch has another order
            self._batches = self.dataset.batches(
                (SPLIT,),
                batch_size=self.batch_size,
                seed=self.seed,
                epoch=epoch,
                shuffle=True,
                torch_device=self.device,
                part=(ranks.rank(), ranks.world_size()),
                first=first,
            )
        self._next = step + 1
        return next(self._batches)

    def gate_gradients(
        self, path: Path, wanted: Sequence[Sequence[int]], step: int
    ) -> list[list[float]]:
        """Return dL/dg of the ``wanted`` options of each choice, at the gates of ``path``.

        With gates g, a choice's output is ``sum_k g_k o_k(x)`` and only the active gate is 1, so
        dL/dg_k is the inner product of o_k(x) with the loss's gradient by that output
        (ProxylessNAS, eq. 3). The passes run the path alone; the other outputs are computed
        afterwards, one at a time and without gradients: the memory is that of one path.

        Raises:
            DivergedError: a gradient is not finite.
        """
        images, labels = self.batch(step)
        self.supernet.train()
        x = images.requires_grad_()
        inputs: list[Tensor] = []
        outputs: list[Tensor] = []
        for slot, module in zip(self.supernet.slots, self.supernet.modules_of(path), strict=True):
            y = module(x)
            if slot.choice is not None:
                inputs.append(x)
                outputs.append(y)
            x = y
        loss = functional.cross_entropy(x, labels)
        # only gradients by activations are asked for, so none by weights are computed
        slopes = torch.autograd.grad(loss, outputs)
        del loss, x, y
        found: list[list[Tensor]] = []
        with torch.no_grad():
            for number, candidates in enumerate(self._searched()):
                choice = path[number]
                row = []
                for option in wanted[number]:
                    output = (
                        outputs[number] if option == choice else candidates[option](inputs[number])
                    )
                    row.append((output * slopes[number]).sum())
                found.append(row)
        flat = torch.stack([value for row in found for value in row])
        ranks.average([flat])
        self._require_finite(flat, images, step)
        values = iter(flat.tolist())
        return [[next(values) for _ in row] for row in found]

    def accuracies(self, paths: Sequence[Path], step: int) -> list[float]:
        """Return the accuracy of each path, all on the batch of ``step``.

        Raises:
            DivergedError: a network's outputs are not finite.
        """
        images, labels = self.batch(step)
        self.supernet.train()
        with torch.no_grad():
            outputs = torch.stack([self.supernet(images, path) for path in paths])
            self._require_finite(outputs, images, step)
            correct = (outputs.argmax(2) == labels).float().mean(1)
        ranks.average([correct])
        found: list[float] = correct.tolist()
        return found

    def _require_finite(self, values: Tensor, images: Tensor, step: int) -> None:
        if bool(torch.isfinite(values).all()):
            return
        cause = (
            "lower the supernet's lr or set grad_clip"
            if bool(torch.isfinite(images).all())
            else f"the images of {SPLIT} hold NaN or infinite values: repair the data"
        )
        raise DivergedError(
            f"architecture step {step + 1} gave values that are not finite; the "
            f"last checkpoint is from before it. Next: {cause}."
        )

    def _searched(self) -> list[list[nn.Module]]:
        return [
            list(candidates)
            for slot, candidates in zip(self.supernet.slots, self.supernet.candidates, strict=True)
            if slot.choice is not None
        ]
