"""How much of a network's latency is where in memory it was loaded, told by a profile's visits.

    python benchmarks/latency/load_noise.py table.json [table.json ...]

Reads ``<table>.samples.jsonl``. Of each network a table was calibrated on, each load of each copy
has a latency, the lower quartile of its rounds. What both halves of a load's rounds, odd and even,
share beyond what all networks of the round do, is the load's own: more rounds would not lessen it,
more loads or copies do. Where a table was profiled with one copy visited several times a round,
the copies of a load share it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.device.device import TimingProtocol
from hwnas.device.measurement import reload_of_round
from hwnas.device.rounds import SampleLog, replicas_of
from hwnas.latency.drift.check import arch_of
from hwnas.latency.profile.profiler import CALIBRATING_REPLICAS
from hwnas.latency.table.files import load_table
from hwnas.space.catalogue import load_space

MEDIAN_OF_NORMAL = float(np.sqrt(np.pi / 2))  # its standard error over that of the mean


@dataclass(frozen=True)
class LoadNoise:
    """Relative standard deviations: of a load, what its halves share, what copies of it share."""

    load: float
    halves: float
    copies: float
    num_loads: int

    @property
    def of_latency(self) -> float:
        """The standard error of a latency, the median over the loads of all copies."""
        shared = self.copies**2
        own = max(self.load**2 - shared, 0.0) / CALIBRATING_REPLICAS
        return MEDIAN_OF_NORMAL * float(np.sqrt((shared + own) / self.num_loads))


def visits_of_networks(table_path: Path) -> tuple[NDArray[np.float64], TimingProtocol]:
    """Return (networks, copies, rounds) log medians of visits, fastest first, and the protocol."""
    table = load_table(table_path)
    protocol = table.header.protocol
    if protocol is None:
        raise SystemExit(f"{table_path} has no timing protocol: it was not written by profile")
    log = SampleLog(Path(f"{table_path}.samples.jsonl"), table.header.target())
    log.close()
    records = sorted(
        (n for n in table.networks if n.role == "calibrate"), key=lambda n: n.measurement.latency_ms
    )
    names = [f"net-{load_space(n.space).network_id(arch_of(n))}" for n in records]
    medians = [
        [
            [np.median(log.rounds(copy)[number]) for number in range(protocol.rounds)]
            for copy in replicas_of(name, CALIBRATING_REPLICAS)
        ]
        for name in names
    ]
    return np.log(np.array(medians)), protocol


def load_noise(logs: NDArray[np.float64], protocol: TimingProtocol) -> LoadNoise:
    """Return what the loads of networks tell, after what each round did to all networks."""
    logs = logs - np.median(logs, axis=(1, 2), keepdims=True)
    logs = logs - np.median(logs, axis=(0, 1), keepdims=True)
    load = np.array(
        [reload_of_round(n, protocol.rounds, protocol.reloads) for n in range(protocol.rounds)]
    )

    def latencies(parity: int | None) -> NDArray[np.float64]:
        """Return (networks, copies, loads): all rounds of each load, or every other."""
        chosen = [np.flatnonzero(load == n) for n in range(protocol.reloads)]
        if parity is not None:
            chosen = [rounds[parity::2] for rounds in chosen]
        return np.stack(
            [
                np.percentile(logs[..., rounds], 25, axis=-1, method="median_unbiased")
                for rounds in chosen
            ],
            axis=-1,
        )

    def shared(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        one, other = (x - x.mean(axis=-1, keepdims=True) for x in (one, other))
        return float((one * other).sum(axis=-1).mean() / (protocol.reloads - 1))

    whole, even, odd = latencies(None), latencies(0), latencies(1)
    num_copies = whole.shape[1]
    pairs = [shared(whole[:, a], whole[:, b]) for a in range(num_copies) for b in range(a)]
    return LoadNoise(
        *(
            float(np.sqrt(max(value, 0.0)))
            for value in (shared(whole, whole), shared(even, odd), float(np.mean(pairs)))
        ),
        protocol.reloads,
    )


def main() -> None:
    """Print, for the faster and the slower half of each table's networks, what a load is worth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="+", type=Path)
    print(f"{'':<44}{'a load':>9}{'halves share':>14}{'copies share':>14}{'a latency':>11}")
    for path in parser.parse_args().tables:
        logs, protocol = visits_of_networks(path)
        middle = len(logs) // 2
        for name, part in (("faster half", logs[:middle]), ("slower half", logs[middle:])):
            noise = load_noise(part, protocol)
            print(
                f"{path.stem + ', ' + name:<44}{noise.load:>9.2%}{noise.halves:>14.2%}"
                f"{noise.copies:>14.2%}{noise.of_latency:>11.2%}"
            )


if __name__ == "__main__":
    main()
