"""The exponential moving average of a network's weights, with torch's own averaging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """Averages weights and batch norm statistics over steps; the early steps count for less.

    The decay of step t is ``min(decay, (1 + t) / (10 + t))``, so that a short training is not
    dominated by its first weights (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = AveragedModel(network, use_buffers=True)

    @staticmethod
    def of(network: nn.Module, decay: float) -> WeightAverage | None:
        """Return an average, or None where ``decay`` is 0."""
        return WeightAverage(network, decay) if decay else None

    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after step ``step`` (from 0) into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        self.model.multi_avg_fn = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self.model.update_parameters(network)

    def copy_to(self, network: nn.Module) -> None:
        """Put the average into ``network``."""
        network.load_state_dict(self.model.module.state_dict())

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return dict(self.model.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` returned."""
        self.model.load_state_dict(dict(state))
