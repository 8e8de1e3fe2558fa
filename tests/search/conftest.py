"""Made-up tables for the built-in spaces, and an evaluator that costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from hwnas.arch import Arch
from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import Measurement
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.table.schemas import Calibration, TableHeader
from hwnas.latency.table.table import LatencyTable
from hwnas.ops import OpSpec
from hwnas.protocols import Evaluation, Objective, SearchSpace
from hwnas.rng import stream

HEADER = TableHeader(
    device="bench",
    runtime="onnxruntime",
    runtime_version="1.0",
    precision="fp32",
    threads=1,
    affinity=None,
    layout="nchw",
    protocol=TimingProtocol(),
    host={},
    date="2026-01-01",
)


def random_ms(op: OpSpec, seed: int) -> float:
    """About what the work of ``op`` would take, times a random factor of its own."""
    factor = stream(seed, op.key).uniform(0.5, 2.0)
    return float(factor * (0.02 + op.macs / 5e7))


def _measurement(ms: float, repeatability: float) -> Measurement:
    return Measurement(
        latency_ms=ms,
        p5_ms=ms,
        p50_ms=ms,
        p90_ms=ms,
        p95_ms=ms,
        num_rounds=12,
        num_runs=36,
        repeatability=repeatability,
    )


@pytest.fixture(scope="session")
def make_predictor() -> Callable[..., LutPredictor]:
    def make(
        space: SearchSpace,
        *,
        seed: int = 0,
        ms: Callable[[OpSpec], float] | None = None,
        without: Collection[OpSpec] = (),
        repeatability: float = 0.01,
    ) -> LutPredictor:
        """A calibrated predictor; operations ``without`` a row are missing from its table."""
        ops = {op for factor in space.factors() for op in factor.ops.ravel() if op is not None}
        entries = {
            op: _measurement(ms(op) if ms else random_ms(op, seed), repeatability)
            for op in sorted(ops - set(without), key=lambda op: op.key)
        }
        calibration = Calibration(
            scale=0.9,
            per_op_ms=0.003,
            constant_ms=0.05,
            num_networks=16,
            mean_abs_rel_error=0.01,
            max_abs_rel_error=0.03,
        )
        table = LatencyTable(HEADER, entries, {space.name: calibration})
        return LutPredictor(space, table)

    return make


@dataclass
class FakeEvaluator:
    """A score drawn from the network_id; yields last first, and counts what it was asked."""

    space: SearchSpace
    asked: list[Arch] = field(default_factory=list)

    def evaluate(self, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        for place in reversed(range(len(archs))):
            self.asked.append(archs[place])
            drawn = stream(0, self.space.network_id(archs[place])).random(2).tolist()
            yield (
                place,
                Evaluation(
                    archs[place],
                    {
                        "top1": Objective(drawn[0], "fraction", "max", "table"),
                        "loss": Objective(drawn[1], "nats", "min", "table"),
                    },
                    {"images_trained": 100.0, "core_s": 0.5},
                ),
            )


@pytest.fixture
def fake_evaluator() -> Callable[[SearchSpace], FakeEvaluator]:
    return FakeEvaluator
