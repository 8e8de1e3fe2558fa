"""A user's script that goes through the whole API; ``test_typing.py`` checks its types and runs it.

It runs in a folder with a latency table, a device file and a finished run.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

import hwnas


def flow() -> hwnas.SearchResult:
    """From a space to the measured winner."""
    space: hwnas.Space = hwnas.load_space("tiny")
    table: hwnas.Table = hwnas.load_table("table.json")
    latency: hwnas.LatencyModel = hwnas.latency_model(space, table)
    archs: list[hwnas.Arch] = space.sample(100, latency=latency, max_ms=0.08, seed=0)
    milliseconds = latency.predict(archs)
    assert milliseconds.shape == (100,)
    assert float(milliseconds.max()) <= 0.08

    def my_function(arch: hwnas.Arch) -> float:
        return float(space.macs([arch])[0])

    result = hwnas.search(
        space,
        {"latency_ms": (latency, 0.08)},
        strategy="evolution",
        evaluate=my_function,
        evaluations=20,
    )
    network: hwnas.Network = hwnas.build(space, result.best.arch)
    logits: torch.Tensor = network(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, 10)
    images = np.random.default_rng(0).standard_normal((64, 3, 32, 32), dtype=np.float32)
    bundle: hwnas.Bundle = hwnas.export(
        network, "out/", formats=["onnx"], precision=["fp32"], calibration=images
    )
    assert hwnas.load_bundle(bundle.path) == bundle
    rows = hwnas.bench(bundle, "desk.yaml", rounds=2).rows
    assert {row.precision for row in rows} == {"fp32"}
    return result


def ask_and_tell(path: str) -> hwnas.Trial:
    """A study with several limits, resumed from its path."""
    space = hwnas.load_space("tiny")
    first = hwnas.latency_model(space, "table.json")
    second = hwnas.latency_model(space, "other.json", predictor="op-predictor")
    limits: hwnas.Limits = {
        "latency_ms": [(first, 0.09), (second, 0.18)],
        "macs": 3e6,
        "params": 4e4,
    }
    study = hwnas.Study(space, limits, strategy="rl", seed=1, path=path)
    for arch in study.ask_batch(4):
        values: Mapping[str, float] = {"score": float(space.macs([arch])[0]), "loss": 0.1}
        study.tell(arch, values)
    arch = study.ask()
    study.tell(arch, None, error="out of memory")
    return study.best


def runs() -> float:
    """The files of a run, typed."""
    run: hwnas.Run = hwnas.open_run("run")
    best = run.result.answers[0].best
    assert best is not None
    trials = run.evaluate(run.space.sample(2))
    score: float | None = trials[0].score
    return score or best.latency_ms


def mistakes() -> list[str]:
    """Errors of one base class, each with what to do next."""
    messages: list[str] = []
    for name in ("tny", "tiny:num_classes=0"):
        try:
            hwnas.load_space(name)
        except hwnas.InputError as error:
            messages += error.problems
        except hwnas.HwnasError as error:
            messages.append(str(error))
    return messages


if __name__ == "__main__":
    print(flow())
    print(ask_and_tell("study.jsonl"))
    print(ask_and_tell("study.jsonl"))
    print(runs())
    print(mistakes())
