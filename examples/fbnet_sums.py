"""Published latencies of FBNet's networks, as lines that ``hwnas lut import --format sums`` reads.

    python examples/fbnet_sums.py fbnet.npz pixel3 > pixel3.jsonl
    hwnas lut import --format sums pixel3.jsonl --space fbnet-cifar --device pixel-3 --out pixel3

``fbnet.npz`` holds ``arch (n, 22)``, the option of each layer, ``device (d,)`` names and
``latency_ms (d, n)``: the 5,000 networks of github.com/HayeonLee/HELP (NeurIPS 2021) in the space
of HW-NAS-Bench. Its numbers for ``pixel3`` and ``raspi4`` are sums of a per-layer table, which the
import solves for; those of phones and GPUs that were measured as a whole are refused.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from hwnas.space.catalogue import load_space


def main(file: str, device: str) -> None:
    """Print a line for each network."""
    data = np.load(Path(file), allow_pickle=False)
    names = data["device"].tolist()
    if device not in names:
        raise SystemExit(f"{file} has no device {device!r}; it has {', '.join(names)}")
    space = load_space("fbnet-cifar")
    latencies_ms = data["latency_ms"][names.index(device)].tolist()
    for arch, latency_ms in zip(
        space.decode(data["arch"].astype(np.int16)), latencies_ms, strict=True
    ):
        print(json.dumps({"arch": arch.to_json(), "latency_ms": latency_ms}))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
