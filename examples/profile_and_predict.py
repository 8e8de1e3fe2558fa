"""Profile this machine for a space, then predict the latency of networks without timing them.

python examples/profile_and_predict.py table.json
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hwnas.device.device import load_device
from hwnas.device.runner import make_target
from hwnas.latency.lut.predictor import LutPredictor
from hwnas.latency.profile.plan import ProfilePlan
from hwnas.latency.profile.profiler import profile
from hwnas.space.catalogue import load_space


def main(out: Path) -> None:
    """Write the table to ``out`` and print the predictions of five random networks."""
    space = load_space("tiny")
    target = make_target(load_device("host"), "onnxruntime", threads=1)
    # 8 whole networks, timed beside the operations, correct what the sum of operations leaves out
    table = profile(ProfilePlan(space, target, calibrate=8), out, resume=True)

    rng = np.random.default_rng(0)
    num_options = [len(choice.options) for choice in space.choices]
    codes = rng.integers(num_options, size=(5, len(num_options))).astype(np.int16)
    predicted_ms = LutPredictor(space, table).predict_ms(codes)
    for arch, latency_ms in zip(space.decode(codes), predicted_ms, strict=True):
        options = " ".join(str(option) for option in arch.choices.values())
        print(f"{latency_ms:.4f} ms  {options}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
