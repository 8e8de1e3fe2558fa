"""The latency of any network of a space on a device without a table, from a few timed networks.

``process.py`` holds the Gaussian process and ``feature_space.py`` its columns; here they are a
latency model of codes, which searches and limits accept like one of a table. Its predictions are
not sums over the factors of the space, so limits on it are kept by listing or rejection
(``hwnas.search.problem.predicted``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.arch import Arch
from hwnas.errors import InputError
from hwnas.io.suggest import command
from hwnas.latency.few_shot.feature_space import FeatureSpace, Measured
from hwnas.latency.few_shot.process import MAX_NETWORKS, MIN_NETWORKS, FewShotProcess
from hwnas.protocols import Codes, SearchSpace

Floats = NDArray[np.float64]

BATCH = 4096  # codes at a time: covariances of a batch with 400 timed networks take 150 MB


class FewShotPredictor:
    """Predicts latencies from networks timed on the device and, optionally, on other devices.

    Implements :class:`hwnas.protocols.LatencyModel`.

    Args:
        space: the space whose codes are predicted.
        timed: 5 to 400 networks timed on the device: codes ``(n, num_choices)`` and ``(n,)`` ms.
        sources: networks timed on other devices, by device name.

    Raises:
        InputError: too few or too many timed networks.
    """

    source = "few-shot"

    def __init__(
        self, space: SearchSpace, timed: Measured, sources: Mapping[str, Measured] | None = None
    ) -> None:
        if not MIN_NETWORKS <= len(timed.codes) <= MAX_NETWORKS:
            raise InputError(
                f"networks timed on {timed.device}",
                [f"{MIN_NETWORKS} to {MAX_NETWORKS} networks are needed, got {len(timed.codes)}"],
                command("predict", space=space.name, archs="ARCHS", suggest=10)
                + " chooses networks to time",
            )
        self.space = space
        self.features = FeatureSpace(space, sources or {})
        self.timed = self.features.pool(timed.codes)
        self.process = FewShotProcess(self.timed, timed.latency_ms)

    def predict_ms(self, codes: Codes) -> Floats:
        """Return ``(num_archs,)`` expected milliseconds of ``(num_archs, num_choices)`` codes."""
        batches = [self.process.predict_ms(self.features.pool(part)) for part in _batches(codes)]
        return np.concatenate([np.empty(0), *batches])

    def predict_with_std_ms(self, codes: Codes) -> tuple[Floats, Floats]:
        """Return ``(num_archs,)`` expected milliseconds and standard deviations of a timing."""
        batches = [self.process.predict(self.features.pool(part)) for part in _batches(codes)]
        means = np.concatenate([np.empty(0), *(mean for mean, _ in batches)])
        return means, np.concatenate([np.empty(0), *(std for _, std in batches)])

    def predict_arch_ms(self, arch: Arch) -> float:
        """Return the expected milliseconds of one architecture."""
        return float(self.predict_ms(self.space.encode([arch]))[0])

    def predict(self, archs: Sequence[Arch]) -> Floats:
        """Return ``(num_archs,)`` expected milliseconds of architectures."""
        return self.predict_ms(self.space.encode(archs))


def _batches(codes: Codes) -> list[Codes]:
    return [codes[start : start + BATCH] for start in range(0, len(codes), BATCH)]
